//! What is left over on a connection that comes back, and how it is cleaned.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use pool_core::ReleaseCheck;
use sqlx::{AssertSqlSafe, Connection as _, Error, Executor as _, PgConnection, Row as _};
use sqlx_core::transaction::TransactionManager as _;
use sqlx_postgres::PgTransactionManager;

use crate::ManagedConnection;

/// Looks at a connection without a round trip.
///
/// sqlx counts the answers that it still has to read. One poll of `flush` does no I/O when that
/// count and the write buffer are empty; it is pending after a cancelled query, a stream that was
/// not read to its end, or a transaction that was dropped, whose `ROLLBACK` is queued.
pub(crate) fn look(managed: &mut ManagedConnection) -> ReleaseCheck {
    if managed.uncounted {
        return ReleaseCheck::Broken;
    }
    let connection = &mut managed.connection;
    let unwritten = connection.should_flush();
    let flushed = pin!(connection.flush()).poll(&mut Context::from_waker(Waker::noop()));
    match flushed {
        Poll::Ready(Ok(())) if unwritten => {
            // What was written is the end of an exchange that sqlx does not count: a `COPY` that
            // was dropped. Its answer would reach the next borrower.
            ReleaseCheck::Broken
        }
        Poll::Ready(Ok(())) if managed.aborted || connection.is_in_transaction() => {
            ReleaseCheck::Dirty
        }
        Poll::Ready(Ok(())) => ReleaseCheck::Clean,
        Poll::Ready(Err(_)) | Poll::Pending => ReleaseCheck::Dirty,
    }
}

/// Reads what is unread, ends what is open, and runs the service's own reset.
pub(crate) async fn clean(
    managed: &mut ManagedConnection,
    reset_sql: Option<&str>,
) -> Result<(), Error> {
    let connection = &mut managed.connection;
    drain(connection).await?;
    while connection.is_in_transaction() {
        PgTransactionManager::rollback(connection).await?;
    }
    if managed.aborted {
        run(connection, "ROLLBACK").await?;
        managed.aborted = false;
    }
    if let Some(sql) = reset_sql {
        run(connection, sql).await?;
    }
    Ok(())
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

/// Runs a service's own statements, without preparing them.
pub(crate) async fn run(connection: &mut PgConnection, sql: &str) -> Result<(), Error> {
    let sql = AssertSqlSafe(sql.to_owned());
    sqlx::raw_sql(sql).execute(connection).await.map(drop)
}

/// Asks which process serves the connection.
pub(crate) async fn backend(connection: &mut PgConnection) -> Result<i32, Error> {
    let row = connection
        .fetch_one(sqlx::raw_sql("select pg_backend_pid()"))
        .await?;
    row.try_get_unchecked(0)
}
