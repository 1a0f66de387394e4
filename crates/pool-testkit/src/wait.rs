//! Waiting for a condition, never for a guessed time.

use std::future::Future;
use std::time::Duration;

/// How long [`eventually`] and [`in_time`] wait before they call it a failure.
const DEADLINE: Duration = Duration::from_secs(20);

/// Returns once `condition` holds.
///
/// Looks every millisecond of `tokio`'s time, so that it works with paused time as well.
///
/// # Panics
///
/// After 20 s without it.
///
/// # Cancel safety
///
/// Cancel safe.
#[track_caller]
pub fn eventually(what: &str, condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    let mut condition = condition;
    async move {
        let began = tokio::time::Instant::now();
        while !condition() {
            assert!(
                began.elapsed() < DEADLINE,
                "{caller}: not within {DEADLINE:?}: {what}"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Awaits `future`, which has 20 s.
///
/// # Panics
///
/// After that.
///
/// # Cancel safety
///
/// As `future`.
#[track_caller]
pub fn in_time<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(output) => output,
            Err(_) => panic!("{caller}: not within {DEADLINE:?}: {what}"),
        }
    }
}

/// Lets every task that can go on do so, without letting paused time pass.
///
/// For runtimes of one thread: there each yield gives each ready task a turn.
///
/// # Cancel safety
///
/// Cancel safe.
pub async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}
