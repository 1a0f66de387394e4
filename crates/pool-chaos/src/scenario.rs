//! What can befall a server, and what is counted while it does.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use pool_testkit::Fault;
use tokio::task::JoinSet;

use crate::load::{Load, Notes, Patience};
use crate::outcome::Outcome;
use crate::stage::Stage;
use crate::subject::{Subject, Witness};

/// The most connections that a subject is given.
pub(crate) const MAX: u32 = 8;

/// Readers, and as many writers.
const PAIRS: u32 = 12;

/// How long the server's count may take to follow the pool's.
const QUIET_WITHIN: Duration = Duration::from_secs(10);

macro_rules! scenarios {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// Something that can befall a server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Scenario {
            $($(#[$doc])* $name,)*
        }

        impl Scenario {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name on command lines and in reports.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

scenarios! {
    /// Killed with -9, and started again.
    KillRestart = "kill-restart",
    /// Frozen with SIGSTOP: sockets stay open, nothing answers.
    Freeze = "freeze",
    /// Packets vanish, also those of connections that exist.
    Blackhole = "blackhole",
    /// All connections are reset, again and again.
    ResetStorm = "reset-storm",
    /// New connections fall silent after the first bytes.
    HalfOpen = "half-open",
    /// Each packet comes later.
    Slow = "slow",
    /// Existing connections are reset and new ones refused.
    Refuse = "refuse",
    /// The server is at its limit.
    TooManyClients = "too-many-clients",
    /// The password is changed at the server, and changed back.
    BadCredentials = "bad-credentials-rotation",
    /// The primary of a replica set is killed.
    Failover = "failover",
    /// Callers give up at random points.
    CancelStorm = "cancel-storm",
    /// The maximum changes a hundred times a second.
    ResizeStorm = "resize-storm",
    /// A listener never returns.
    SlowConsumer = "slow-consumer",
    /// The pool is closed while everybody uses it.
    DrainUnderLoad = "drain-under-load",
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|scenario| scenario.name() == name);
        found
            .copied()
            .ok_or_else(|| format!("no scenario `{name}`"))
    }
}

/// What the time of the fault has shown.
struct Fell {
    /// When the server was as before again; `None` where it never was away.
    accepting: Option<Instant>,
    attempts_per_s: Option<f64>,
}

/// Puts `subject` under load, lets `scenario` befall the server for about `time`, and counts.
/// `None` where the scenario does not apply to the subject or to its server.
///
/// The subject is not closed, except by [`Scenario::DrainUnderLoad`]: it can go through one
/// scenario after another, with another `first` row each.
///
/// # Panics
///
/// The server does not do as it is told.
pub async fn run<S: Subject, W: Witness>(
    scenario: Scenario,
    stage: &Stage<W>,
    subject: &Arc<S>,
    first: i64,
    time: Duration,
    patience: Patience,
) -> Option<Outcome> {
    if !applies(scenario, &**subject) {
        return None;
    }
    let load = Load::begin(subject, PAIRS, first, patience);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let fell = befall(scenario, stage, subject, load.notes(), time).await;
    if fell.is_some() && scenario != Scenario::DrainUnderLoad {
        // Until it is served again, or can no longer be called a recovery.
        let since = Instant::now();
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let served = load
                .notes()
                .kept()
                .successes
                .last()
                .is_some_and(|at| *at > since);
            if served || since.elapsed() > Duration::from_secs(30) {
                break;
            }
        }
    }
    let notes = load.end().await;
    let fell = fell?;

    let mut leaked = leaks(stage, &**subject).await;
    if scenario == Scenario::DrainUnderLoad {
        leaked = left_after_the_end(stage).await;
    }
    let kept = std::mem::take(&mut *notes.kept());
    let mut lost_writes = 0;
    for rows in kept.acknowledged.chunks(2_000) {
        lost_writes += (rows.len() - stage.witness.present(rows).await.len()) as u64;
    }
    let first_success = |accepting: Instant| {
        let after = kept.successes.iter().filter(|at| **at > accepting).min();
        after.map(|at| *at - accepting)
    };
    Some(Outcome {
        successes: kept.successes.len() as u64,
        failures: kept.failures,
        given_up: kept.given_up,
        lost_writes,
        wrong_reads: kept.wrong_reads,
        late_acquires: kept.late_acquires,
        slowest_acquire: kept.slowest_acquire,
        recovery: fell.accepting.and_then(first_success),
        was_down: fell.accepting.is_some(),
        leaked_connections: leaked,
        attempts_per_s: fell.attempts_per_s,
        errors_without_cause: kept.without_cause,
        last_failure: kept.last_failure,
    })
}

fn applies<S: Subject>(scenario: Scenario, subject: &S) -> bool {
    match scenario {
        Scenario::ResizeStorm => subject.resize(MAX),
        Scenario::SlowConsumer => subject.add_hanging_listener(),
        _ => true,
    }
}

async fn befall<S: Subject, W: Witness>(
    scenario: Scenario,
    stage: &Stage<W>,
    subject: &Arc<S>,
    notes: &Arc<Notes>,
    time: Duration,
) -> Option<Fell> {
    let proxy = &stage.proxy;
    let before = proxy.accepted();
    let began = Instant::now();
    let per_second = || {
        let attempts = proxy.accepted() - before;
        Some(attempts as f64 / began.elapsed().as_secs_f64())
    };
    let mut attempts_per_s = None;
    let accepting = match scenario {
        Scenario::KillRestart => {
            stage
                .with_server(|server| server.kill().expect("it is ours"))
                .await;
            tokio::time::sleep(time).await;
            attempts_per_s = per_second();
            stage
                .with_server(|server| server.restart().expect("it comes back"))
                .await;
            Some(Instant::now())
        }
        Scenario::Freeze => {
            stage
                .with_server(|server| server.pause().expect("it is ours"))
                .await;
            tokio::time::sleep(time).await;
            attempts_per_s = per_second();
            stage
                .with_server(|server| server.resume().expect("it is ours"))
                .await;
            Some(Instant::now())
        }
        Scenario::Blackhole => {
            proxy.set(Fault::Blackhole).await;
            tokio::time::sleep(time).await;
            attempts_per_s = per_second();
            // What was swallowed is gone for good: connections of that time are dead.
            proxy.set(Fault::Pass).await;
            proxy.cut_all().await;
            Some(Instant::now())
        }
        Scenario::ResetStorm => {
            while began.elapsed() < time {
                proxy.cut_all().await;
                tokio::time::sleep(Duration::from_millis(fastrand::u64(20..150))).await;
            }
            Some(Instant::now())
        }
        Scenario::HalfOpen => {
            proxy.cut_all().await;
            proxy.set(Fault::HalfOpen(20)).await;
            tokio::time::sleep(time).await;
            attempts_per_s = per_second();
            proxy.set(Fault::Pass).await;
            proxy.cut_all().await;
            Some(Instant::now())
        }
        Scenario::Slow => {
            proxy.set(Fault::Delay(Duration::from_millis(10))).await;
            tokio::time::sleep(time).await;
            proxy.set(Fault::Pass).await;
            Some(Instant::now())
        }
        Scenario::Refuse => {
            // Resets at once what it takes, so that attempts can be counted.
            proxy.set(Fault::Reset).await;
            tokio::time::sleep(time).await;
            attempts_per_s = per_second();
            proxy.set(Fault::Pass).await;
            Some(Instant::now())
        }
        Scenario::TooManyClients => {
            if !stage.witness.set_full(true).await {
                return None;
            }
            proxy.cut_all().await;
            tokio::time::sleep(time).await;
            attempts_per_s = per_second();
            stage.witness.set_full(false).await;
            Some(Instant::now())
        }
        Scenario::BadCredentials => {
            stage.witness.set_password(false).await;
            proxy.cut_all().await;
            tokio::time::sleep(time).await;
            attempts_per_s = per_second();
            stage.witness.set_password(true).await;
            Some(Instant::now())
        }
        Scenario::Failover => Some(stage.fail_over(time).await),
        Scenario::CancelStorm => {
            cancel_storm(subject, notes, began + time).await;
            None
        }
        Scenario::ResizeStorm => {
            while began.elapsed() < time {
                subject.resize(fastrand::u32(1..=MAX));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            subject.resize(MAX);
            None
        }
        Scenario::SlowConsumer => {
            tokio::time::sleep(time).await;
            None
        }
        Scenario::DrainUnderLoad => {
            subject.close(Duration::from_secs(5)).await;
            None
        }
    };
    Some(Fell {
        accepting,
        attempts_per_s,
    })
}

/// Callers beside the load that give up after up to 5 ms, wherever they are then.
async fn cancel_storm<S: Subject>(subject: &Arc<S>, notes: &Arc<Notes>, until: Instant) {
    let mut callers = JoinSet::new();
    for _ in 0..PAIRS {
        let (subject, notes) = (Arc::clone(subject), Arc::clone(notes));
        callers.spawn(async move {
            while Instant::now() < until && !notes.is_stopped() {
                let patience = Duration::from_micros(fastrand::u64(0..5_000));
                let work = async {
                    let mut guard = subject.acquire().await?;
                    subject.read(&mut guard, 0).await
                };
                let _ = tokio::time::timeout(patience, work).await;
                tokio::task::yield_now().await;
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended.expect("no caller panics");
    }
}

/// How far the server's count and the subject's are apart, once nobody uses it.
async fn leaks<S: Subject, W: Witness>(stage: &Stage<W>, subject: &S) -> u32 {
    let end = Instant::now() + QUIET_WITHIN;
    loop {
        let seen = stage.witness.connections().await;
        let apart = match subject.open() {
            Some(own) => own.abs_diff(seen),
            None => seen.saturating_sub(MAX),
        };
        if apart == 0 || Instant::now() > end {
            return apart;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn left_after_the_end<W: Witness>(stage: &Stage<W>) -> u32 {
    let end = Instant::now() + QUIET_WITHIN;
    loop {
        let seen = stage.witness.connections().await;
        if seen == 0 || Instant::now() > end {
            return seen;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
