//! How many callers there are, and when: closed loops behind a gate.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::meter::Meter;
use crate::subjects::{HOLD, Subject};

/// How many callers there are at rest: as many as the minimum has connections.
pub const FEW: u32 = 5;

/// How many callers there are under load.
pub const MANY: u32 = 80;

/// Between two operations of a caller: anything from nothing to this, 5 ms on average. A caller is
/// in an operation for four fifths of its time, so that five of them leave five connections a fifth
/// of theirs: a pool that is used without a pause is always due to grow.
const THINK_MICROS: u64 = 10_000;

/// From the rise until waits count: what a pool has to open its connections.
pub const GRACE: Duration = Duration::from_millis(200);

/// A number of callers for some time, then another.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub name: &'static str,
    phases: &'static [(u32, Duration)],
    /// When the plateau begins and ends, for a load that has one.
    pub plateau: Option<(Duration, Duration)>,
    /// Whether waits count on the plateau only.
    pub only_plateau: bool,
}

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const STEP: Load = Load {
    name: "step",
    phases: &[(FEW, ms(12_000)), (MANY, ms(10_000)), (FEW, ms(18_000))],
    plateau: Some((ms(12_000), ms(22_000))),
    only_plateau: true,
};

const SPIKE: Load = Load {
    name: "spike",
    phases: &[
        (FEW, ms(5_000)),
        (MANY, ms(500)),
        (FEW, ms(4_500)),
        (MANY, ms(500)),
        (FEW, ms(4_500)),
        (MANY, ms(500)),
        (FEW, ms(4_500)),
    ],
    plateau: None,
    only_plateau: false,
};

const FALL: Load = Load {
    name: "fall",
    phases: &[(MANY, ms(6_000)), (FEW, ms(14_000))],
    plateau: Some((ms(0), ms(6_000))),
    only_plateau: false,
};

/// As [`STEP`], for a look.
const QUICK_STEP: Load = Load {
    phases: &[(FEW, ms(2_000)), (MANY, ms(3_000)), (FEW, ms(5_000))],
    plateau: Some((ms(2_000), ms(5_000))),
    ..STEP
};

const QUICK_SPIKE: Load = Load {
    phases: &[(FEW, ms(1_500)), (MANY, ms(500)), (FEW, ms(3_000))],
    ..SPIKE
};

const QUICK_FALL: Load = Load {
    phases: &[(MANY, ms(2_000)), (FEW, ms(5_000))],
    plateau: Some((ms(0), ms(2_000))),
    ..FALL
};

impl Load {
    pub const ALL: [Self; 3] = [STEP, SPIKE, FALL];

    /// The same, shorter.
    pub const QUICK: [Self; 3] = [QUICK_STEP, QUICK_SPIKE, QUICK_FALL];

    /// From the first caller to the end.
    pub fn lasts(&self) -> Duration {
        self.phases.iter().map(|(_, lasts)| *lasts).sum()
    }

    /// The part of the run whose waits and operations count.
    pub fn judged(&self) -> (Duration, Duration) {
        match self.plateau {
            Some((rise, fall)) if self.only_plateau => (rise + GRACE, fall),
            _ => (Duration::ZERO, self.lasts()),
        }
    }
}

/// Puts `subject` under `load` from `began` on.
pub async fn drive<S: Subject>(
    subject: &Arc<S>,
    meter: &Arc<Meter>,
    load: &Load,
    began: Instant,
) -> Result<()> {
    let (gate, _) = watch::channel(Some(0));
    let mut callers = JoinSet::new();
    for number in 0..MANY {
        let (subject, meter) = (Arc::clone(subject), Arc::clone(meter));
        callers.spawn(call(subject, meter, number, gate.subscribe()));
    }
    let mut at = began;
    sleep_until(at).await;
    for &(count, lasts) in load.phases {
        gate.send_replace(Some(count));
        at += lasts;
        sleep_until(at).await;
    }
    gate.send_replace(None);
    while let Some(ended) = callers.join_next().await {
        ended?;
    }
    Ok(())
}

/// One caller: operations with pauses, while the gate is open for it.
async fn call<S: Subject>(
    subject: Arc<S>,
    meter: Arc<Meter>,
    number: u32,
    mut gate: watch::Receiver<Option<u32>>,
) {
    loop {
        let open = |count: &Option<u32>| count.is_none_or(|count| number < count);
        match gate.wait_for(open).await.map(|count| *count) {
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => return,
        }
        let asked = Instant::now();
        match subject.operate(&meter).await {
            Ok(()) => meter.done(asked, asked.elapsed().saturating_sub(HOLD)),
            Err(error) => meter.failed(&error),
        }
        sleep(Duration::from_micros(fastrand::u64(..=THINK_MICROS))).await;
    }
}
