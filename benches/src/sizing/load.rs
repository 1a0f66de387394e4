//! How many callers there are, and when: closed loops behind a gate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::meter::Meter;
use crate::subjects::{HOLD, Subject};

/// How many callers there are at rest: as many as the minimum has connections.
pub const FEW: u32 = 5;

/// How many callers there are under load. They do not pause: so many operations are wanted at once.
pub const MANY: u32 = 80;

/// Between two operations of a caller at rest: anything from nothing to this, 5 ms on average. It is
/// in an operation for four fifths of its time, so that five of them leave five connections a fifth
/// of theirs: a pool that is used without a pause is always due to grow.
const PAUSE_MICROS: u64 = 10_000;

/// From the rise until waits count: what a pool has to open its connections.
pub const GRACE: Duration = Duration::from_millis(200);

/// Callers for some time.
#[derive(Clone, Copy, Debug)]
struct Phase {
    callers: u32,
    pauses: bool,
    lasts: Duration,
}

const fn few(millis: u64) -> Phase {
    Phase {
        callers: FEW,
        pauses: true,
        lasts: ms(millis),
    }
}

const fn many(millis: u64) -> Phase {
    Phase {
        callers: MANY,
        pauses: false,
        lasts: ms(millis),
    }
}

/// A number of callers for some time, then another.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub name: &'static str,
    phases: &'static [Phase],
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
    phases: &[few(12_000), many(10_000), few(18_000)],
    plateau: Some((ms(12_000), ms(22_000))),
    only_plateau: true,
};

const SPIKE: Load = Load {
    name: "spike",
    phases: &[
        few(5_000),
        many(500),
        few(4_500),
        many(500),
        few(4_500),
        many(500),
        few(4_500),
    ],
    plateau: None,
    only_plateau: false,
};

const FALL: Load = Load {
    name: "fall",
    phases: &[many(6_000), few(14_000)],
    plateau: Some((ms(0), ms(6_000))),
    only_plateau: false,
};

/// As [`STEP`], for a look.
const QUICK_STEP: Load = Load {
    phases: &[few(2_000), many(3_000), few(5_000)],
    plateau: Some((ms(2_000), ms(5_000))),
    ..STEP
};

const QUICK_SPIKE: Load = Load {
    phases: &[few(1_500), many(500), few(3_000)],
    ..SPIKE
};

const QUICK_FALL: Load = Load {
    phases: &[many(2_000), few(5_000)],
    plateau: Some((ms(0), ms(2_000))),
    ..FALL
};

impl Load {
    pub const ALL: [Self; 3] = [STEP, SPIKE, FALL];

    /// The same, shorter.
    pub const QUICK: [Self; 3] = [QUICK_STEP, QUICK_SPIKE, QUICK_FALL];

    /// From the first caller to the end.
    pub fn lasts(&self) -> Duration {
        self.phases.iter().map(|phase| phase.lasts).sum()
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
    let shut = Phase {
        callers: 0,
        ..few(0)
    };
    let (gate, _) = watch::channel(Some(shut));
    let mut callers = JoinSet::new();
    for number in 0..MANY {
        let (subject, meter) = (Arc::clone(subject), Arc::clone(meter));
        callers.spawn(call(subject, meter, number, gate.subscribe()));
    }
    let mut at = began;
    sleep_until(at.into()).await;
    for phase in load.phases {
        gate.send_replace(Some(*phase));
        at += phase.lasts;
        sleep_until(at.into()).await;
    }
    gate.send_replace(None);
    while let Some(ended) = callers.join_next().await {
        ended?;
    }
    Ok(())
}

/// One caller: operations, with pauses where the phase has them, while the gate is open for it.
async fn call<S: Subject>(
    subject: Arc<S>,
    meter: Arc<Meter>,
    number: u32,
    mut gate: watch::Receiver<Option<Phase>>,
) {
    loop {
        let open = |phase: &Option<Phase>| phase.is_none_or(|phase| number < phase.callers);
        let Ok(Some(phase)) = gate.wait_for(open).await.map(|phase| *phase) else {
            return;
        };
        let asked = Instant::now();
        match subject.operate(&meter).await {
            Ok(()) => meter.done(asked, asked.elapsed().saturating_sub(HOLD)),
            Err(error) => meter.failed(&error),
        }
        if phase.pauses {
            sleep(Duration::from_micros(fastrand::u64(..=PAUSE_MICROS))).await;
        }
    }
}
