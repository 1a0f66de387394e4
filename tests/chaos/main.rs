//! Short forms of what `cargo xtask chaos` runs for long.
//!
//! A program of its own, whose tests take turns: how often a connect found nobody listening is
//! counted by the kernel, for all of the machine.

mod mongo;
mod postgres;

use std::sync::Arc;
use std::time::Duration;

use pool_chaos::{Patience, Scenario, Stage, Subject, Witness, run};
use tokio::sync::Mutex;

/// Whose turn it is.
static TURN: Mutex<()> = Mutex::const_new(());

/// What a busy machine may add to the time of a caller.
const NOISE: Duration = Duration::from_secs(1);

/// What befalls is to cost nothing that was acknowledged, no connection, and no caller's time. Its rows
/// begin with `first`.
async fn costs_nothing<S: Subject, W: Witness>(
    scenario: Scenario,
    stage: &Stage<W>,
    subject: &Arc<S>,
    first: i64,
    patience: Patience,
) {
    let fault = scenario.short_time();
    let outcome = run(scenario, stage, subject, first, fault, patience).await;
    let outcome = outcome.expect("it applies");
    let complaints = outcome.complaints(Duration::from_secs(1) + NOISE);
    assert!(
        complaints.is_empty(),
        "{scenario}: {complaints:?}\n{outcome:#?}"
    );
}
