//! What is left over on a connection that comes back, and how it is cleaned.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use pool_core::ReleaseCheck;
use sqlx::{AssertSqlSafe, Connection as _, Error, Executor as _, PgConnection, Row as _};
use sqlx_core::transaction::TransactionManager as _;
use sqlx_postgres::PgTransactionManager;

use crate::ManagedConnection;
use crate::copy::Copying;
use crate::sqlstate;

/// Looks at a connection without a round trip.
///
/// sqlx counts the answers that it still has to read. One poll of `flush` does no I/O when that
/// count and the write buffer are empty; it is pending after a cancelled query, a stream that was
/// not read to its end, or a transaction that was dropped, whose `ROLLBACK` is queued.
pub(crate) fn look(managed: &mut ManagedConnection) -> ReleaseCheck {
    if managed.copying != Copying::No {
        return ReleaseCheck::Broken;
    }
    let unwritten = managed.connection.should_flush();
    match poll_flush(&mut managed.connection) {
        Poll::Ready(Ok(())) if unwritten && !managed.queued => {
            // Either a quick answer to a `ROLLBACK` that sqlx had queued, or the end of a `COPY`
            // that was dropped, whose answer nobody counts and the next borrower would read.
            managed.doubtful = true;
            ReleaseCheck::Dirty
        }
        Poll::Ready(Ok(())) if managed.aborted || managed.connection.is_in_transaction() => {
            ReleaseCheck::Dirty
        }
        Poll::Ready(Ok(())) if managed.role_in_doubt => ReleaseCheck::Dirty,
        Poll::Ready(Ok(())) => {
            managed.queued = false;
            ReleaseCheck::Clean
        }
        Poll::Ready(Err(_)) | Poll::Pending => {
            // What is read as its answer may be that of a `COPY` that sqlx did not count.
            managed.doubtful = true;
            ReleaseCheck::Dirty
        }
    }
}

/// Whether the server still works for a caller that has gone.
pub(crate) fn is_busy(managed: &mut ManagedConnection) -> bool {
    managed.copying == Copying::Out || poll_flush(&mut managed.connection).is_pending()
}

fn poll_flush(connection: &mut PgConnection) -> Poll<Result<(), Error>> {
    pin!(connection.flush()).poll(&mut Context::from_waker(Waker::noop()))
}

/// Reads what is unread, ends what is open, and runs the service's own reset.
///
/// What the server has not answered after `patience` is cancelled there by `cancel`; without a
/// patience it is waited for.
pub(crate) async fn clean<C>(
    managed: &mut ManagedConnection,
    patience: Option<Duration>,
    cancel: impl Fn() -> C,
    reset_sql: Option<&str>,
) -> Result<(), Error>
where
    C: Future<Output = Result<(), Error>>,
{
    match patience {
        Some(patience) => end(managed, patience, cancel).await?,
        None => drain(&mut managed.connection).await?,
    }
    let connection = &mut managed.connection;
    while connection.is_in_transaction() {
        PgTransactionManager::rollback(connection).await?;
    }
    if managed.aborted {
        run(connection, "ROLLBACK").await?;
    }
    if managed.doubtful {
        prove(connection).await?;
    }
    if let Some(sql) = reset_sql {
        run(connection, sql).await?;
    }
    managed.aborted = false;
    managed.doubtful = false;
    managed.queued = false;
    Ok(())
}

/// Reads what is unread, and has `cancel` end at the server what takes longer than `patience`.
///
/// More than once, after pauses that double: a backend that has not yet read the statement when the
/// signal comes has nothing to cancel, and begins it afterwards.
pub(crate) async fn end<C>(
    managed: &mut ManagedConnection,
    mut patience: Duration,
    cancel: impl Fn() -> C,
) -> Result<(), Error>
where
    C: Future<Output = Result<(), Error>>,
{
    const PAUSE: Duration = Duration::from_millis(10);
    loop {
        let drained = drain(&mut managed.connection);
        if let Ok(drained) = tokio::time::timeout(patience, drained).await {
            return drained;
        }
        cancel().await?;
        managed.doubtful = true;
        patience = (2 * patience).max(PAUSE);
    }
}

/// Reads until no answer is outstanding. Statements that failed say so once and are passed over.
pub(crate) async fn drain(connection: &mut PgConnection) -> Result<(), Error> {
    loop {
        match connection.flush().await {
            Ok(()) => return Ok(()),
            Err(Error::Database(_)) => {}
            Err(error) => return Err(error),
        }
    }
}

/// Proves that question and answer go together, and that no failed transaction is open: the
/// signal that cancels a statement may have met the `ROLLBACK` behind it instead.
///
/// Where an answer that nobody counted is left over, sqlx's `ping` takes it for its own and calls the
/// connection sound; whoever asks next gets an answer to what was asked before.
pub(crate) async fn prove(connection: &mut PgConnection) -> Result<(), Error> {
    let secret = fastrand::i32(..);
    let question = format!("select '{secret}'::int4");
    let answer = match number(connection, &question).await {
        Err(error) if sqlstate::is_failed_transaction(&error) => {
            run(connection, "ROLLBACK").await?;
            number(connection, &question).await
        }
        answer => answer,
    };
    if answer? == secret {
        Ok(())
    } else {
        Err(Error::Protocol(
            "an answer belonged to another question".to_owned(),
        ))
    }
}

/// Runs a service's own statements, without preparing them.
pub(crate) async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), Error> {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.map(drop)
}

async fn number(connection: &mut PgConnection, sql: &str) -> Result<i32, Error> {
    let sql = AssertSqlSafe(sql.to_owned());
    connection.fetch_one(sqlx::raw_sql(sql)).await?.try_get(0)
}
