//! One subject in one scenario, from the first caller to the last count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::befall::{self, Fell};
use crate::load::{Load, Patience};
use crate::outcome::Outcome;
use crate::quiet;
use crate::scenario::Scenario;
use crate::stage::Stage;
use crate::subject::{Subject, Witness};

/// Readers, and as many writers.
pub(crate) const PAIRS: u32 = 12;

/// How long a subject may take to take writes again before it counts as one that never does.
const GIVES_UP_AFTER: Duration = Duration::from_secs(30);

/// Puts `subject` under load, lets `scenario` befall the server for about `time`, and counts.
/// `None` where the scenario does not apply to the subject or to its server.
///
/// The subject is not closed, except by [`Scenario::DrainUnderLoad`]: it can go through one
/// scenario after another, with another `first` row each.
///
/// # Panics
///
/// The server does not do as it is told.
///
/// # Cancel safety
///
/// Not cancel safe: the fault stays.
pub async fn run<S: Subject, W: Witness>(
    scenario: Scenario,
    stage: &Stage<W>,
    subject: &Arc<S>,
    first: i64,
    time: Duration,
    patience: Patience,
) -> Option<Outcome> {
    let prepared = befall::prepare(scenario, &**subject).await?;
    let load = Load::begin(subject, PAIRS, first, patience);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let fell = befall::befall(prepared, stage, subject, load.notes(), time).await;
    if fell.is_some() && scenario != Scenario::DrainUnderLoad {
        until_served(&load).await;
    }
    let notes = load.end().await;
    let Fell {
        accepting,
        attempts_per_s,
        over_the_maximum,
    } = fell?;

    let leaked = if scenario == Scenario::DrainUnderLoad {
        left_after_the_end(stage).await
    } else {
        leaks(stage, &**subject).await
    };
    let kept = std::mem::take(&mut *notes.kept());
    let mut lost_writes = 0;
    for rows in kept.acknowledged.chunks(2_000) {
        lost_writes += (rows.len() - stage.witness.present(rows).await.len()) as u64;
    }
    let first_acknowledged = |accepting: Instant| {
        let after = kept.acknowledged_at.iter().filter(|at| **at > accepting);
        after.min().map(|at| *at - accepting)
    };
    Some(Outcome {
        successes: kept.successes,
        failures: kept.failures,
        given_up: kept.given_up,
        lost_writes,
        wrong_reads: kept.wrong_reads,
        late_acquires: kept.late_acquires,
        slowest_acquire: kept.slowest_acquire,
        recovery: accepting.and_then(first_acknowledged),
        was_down: accepting.is_some(),
        leaked_connections: leaked + over_the_maximum,
        attempts_per_s,
        attempts_allowed: subject.attempts_allowed(),
        errors_without_cause: kept.without_cause,
        last_failure: kept.last_failure,
    })
}

/// Until a write is acknowledged again, or it can no longer be called a recovery.
async fn until_served(load: &Load) {
    let since = Instant::now();
    while since.elapsed() < GIVES_UP_AFTER {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let kept = load.notes().kept();
        if kept.acknowledged_at.last().is_some_and(|at| *at > since) {
            return;
        }
    }
}

/// How far the server's count and the subject's are apart, once nobody uses it, and how many
/// callers the subject still sees.
async fn leaks<S: Subject, W: Witness>(stage: &Stage<W>, subject: &S) -> u32 {
    let apart = async || {
        let seen = stage.witness.connections().await;
        let apart = match subject.open() {
            Some(own) => own.abs_diff(seen),
            None => seen.saturating_sub(befall::MAX),
        };
        apart + subject.taken().unwrap_or(0)
    };
    quiet::until_none(apart).await
}

/// How many connections of a subject that was closed the server still has.
///
/// # Cancel safety
///
/// Cancel safe: it only looks.
pub async fn left_after_the_end<W: Witness>(stage: &Stage<W>) -> u32 {
    quiet::until_none(async || stage.witness.connections().await).await
}
