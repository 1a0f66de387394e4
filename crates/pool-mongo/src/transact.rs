//! The retry rules of a transaction.

use std::time::Duration;

use mongodb::error::{
    Error, ErrorKind, Result, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
    WriteFailure,
};
use mongodb::{ClientSession, Database};
use tokio::time::Instant;

/// No attempt begins after this, counted from the first.
const PATIENCE: Duration = Duration::from_secs(120);

const FIRST_PAUSE: f64 = 0.005;
const LONGEST_PAUSE: f64 = 0.5;

/// The code of an operation that ran into its own time limit.
const MAX_TIME_EXPIRED: i32 = 50;

/// Runs `work` in a transaction and commits it, by the rules of the "Convenient API for
/// Transactions" specification of MongoDB's drivers, with its numbers.
///
/// The driver's own version of this cannot be called from a task with work that was given to us:
/// its future is not `Send` then (rust-lang/rust#96865).
pub(crate) async fn transact<T>(
    database: Database,
    session: &mut ClientSession,
    mut work: impl AsyncFnMut(Database, &mut ClientSession) -> Result<T>,
) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    let mut attempt = 0;
    loop {
        session.start_transaction().await?;
        let failure = match work(database.clone(), session).await {
            Ok(value) => match commit(session, end).await {
                Ok(()) => return Ok(value),
                Err(error) => error,
            },
            Err(error) => {
                // Fails where the work has ended the transaction itself; then nothing is open.
                let _ = session.abort_transaction().await;
                error
            }
        };
        attempt += 1;
        let pause = pause(attempt);
        if !failure.contains_label(TRANSIENT_TRANSACTION_ERROR) || Instant::now() + pause >= end {
            return Err(failure);
        }
        tokio::time::sleep(pause).await;
    }
}

/// Commits, again as long as it is not known whether that has worked.
async fn commit(session: &mut ClientSession, end: Instant) -> Result<()> {
    loop {
        match session.commit_transaction().await {
            // What the driver says before it asks the server: the work has ended the transaction
            // itself, which the specification takes for its intention.
            Err(error) if matches!(&*error.kind, ErrorKind::Transaction { .. }) => return Ok(()),
            Err(error)
                if error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
                    && !is_max_time_expired(&error)
                    && Instant::now() < end => {}
            outcome => return outcome,
        }
    }
}

fn is_max_time_expired(error: &Error) -> bool {
    match &*error.kind {
        ErrorKind::Command(command) => command.code == MAX_TIME_EXPIRED,
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => error.code == MAX_TIME_EXPIRED,
        _ => false,
    }
}

/// Drawn evenly below a bound that grows by half with each attempt.
fn pause(attempt: i32) -> Duration {
    let bound = (FIRST_PAUSE * 1.5_f64.powi(attempt)).min(LONGEST_PAUSE);
    Duration::from_secs_f64(fastrand::f64() * bound)
}
