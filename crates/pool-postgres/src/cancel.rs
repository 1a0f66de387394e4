//! Ending at the server what a caller no longer waits for.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Error, Executor as _, PgConnection, Row as _};
use tokio::sync::Semaphore;

/// A process of a server, told apart from one that had its number before, and from one that has it at
/// another server behind the same address.
pub(crate) struct Backend {
    pub(crate) pid: i32,
    /// When it began, in microseconds of its server's clock.
    start: i64,
    /// Where and as whom the connection to it was opened, the password included.
    pub(crate) login: PgConnectOptions,
}

impl Backend {
    /// Asks which process serves a connection that was opened with `login`.
    pub(crate) async fn of(
        connection: &mut PgConnection,
        login: PgConnectOptions,
    ) -> Result<Self, Error> {
        let sql = format!("select pid, {START} from pg_stat_get_activity(pg_backend_pid())");
        let row = connection.fetch_one(sqlx::raw_sql(AssertSqlSafe(sql)));
        let row = row.await?;
        Ok(Self {
            pid: row.try_get(0)?,
            start: row.try_get(1)?,
            login,
        })
    }

    /// Whether a connection opened with `other` may cancel what it runs.
    fn is_at(&self, other: &PgConnectOptions) -> bool {
        let place = |options: &PgConnectOptions| {
            let socket = options.get_socket().cloned();
            (options.get_host().to_owned(), options.get_port(), socket)
        };
        place(&self.login) == place(other) && self.login.get_username() == other.get_username()
    }
}

/// The beginning of a backend as a whole number.
const START: &str = "(extract(epoch from backend_start) * 1000000)::int8";

/// A connection that cancels, and how it was opened.
struct Side {
    connection: PgConnection,
    login: PgConnectOptions,
}

/// Asks the server to cancel what a backend runs, over one connection beside the pool.
///
/// sqlx keeps the key of PostgreSQL's `CancelRequest` to itself, so the request is
/// `pg_cancel_backend`. The connection for it is opened when a request comes, serves all that
/// come meanwhile, and is closed after the last: a pool without cancelled statements never has
/// it, and there is never more than one.
pub(crate) struct Canceller {
    /// Whose turn it is.
    turn: Semaphore,
    side: Mutex<Option<Side>>,
    requests: AtomicU32,
}

impl Default for Canceller {
    fn default() -> Self {
        Self {
            turn: Semaphore::new(1),
            side: Mutex::default(),
            requests: AtomicU32::default(),
        }
    }
}

impl Canceller {
    /// Returns when the signal has been sent. It is not sent to a process that is not the backend.
    ///
    /// A backend that is idle by then ignores it, and one that is not has received it before it
    /// reads another statement: nothing that is sent to it afterwards is cancelled by it.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the others have their turn.
    pub(crate) async fn cancel(
        &self,
        backend: &Backend,
        connect: impl Future<Output = Result<PgConnection, Error>>,
    ) -> Result<(), Error> {
        let request = Request::new(self);
        let _turn = self.turn.acquire().await.expect("it is never closed");
        // Out of its place while it is used: dropped in the middle, it is not used again.
        let side = self.side.lock().take();
        let mut side = match side {
            // Processes have numbers at their own server alone.
            Some(side) if backend.is_at(&side.login) => side,
            _ => Side {
                connection: connect.await?,
                login: backend.login.clone(),
            },
        };
        let Backend { pid, start, .. } = backend;
        let sql = format!(
            "select pg_cancel_backend(pid) from pg_stat_get_activity({pid}) where {START} = {start}"
        );
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        sql.execute(&mut side.connection).await?;
        if request.is_last() {
            side.connection.close().await?;
        } else {
            *self.side.lock() = Some(side);
        }
        Ok(())
    }
}

/// Counts a request while it lasts, so that the last one closes the connection: also one that gives
/// up while it waits for what another has left to it.
struct Request<'a>(&'a Canceller);

impl<'a> Request<'a> {
    fn new(canceller: &'a Canceller) -> Self {
        canceller.requests.fetch_add(1, Ordering::AcqRel);
        Self(canceller)
    }

    fn is_last(&self) -> bool {
        self.0.requests.load(Ordering::Acquire) <= 1
    }
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if self.0.requests.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Whoever comes now finds none, or one that was left by somebody who came as well.
            self.0.side.lock().take();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sqlx::ConnectOptions as _;

    use super::*;

    #[tokio::test]
    async fn a_process_that_only_has_the_number_of_a_backend_is_left_alone() {
        let Ok(url) = std::env::var("POSTGRES_URL") else {
            assert!(
                std::env::var_os("CI").is_none(),
                "in CI nothing may be skipped"
            );
            eprintln!("SKIPPED: POSTGRES_URL is not set");
            return;
        };
        let login: PgConnectOptions = url.parse().unwrap();
        let mut connection = login.connect().await.unwrap();
        let backend = Backend::of(&mut connection, login.clone()).await.unwrap();
        let sleep = tokio::spawn(async move {
            sqlx::query("select pg_sleep(60)")
                .execute(&mut connection)
                .await
        });
        let canceller = Canceller::default();
        let another = Backend {
            start: backend.start - 1,
            login,
            ..backend
        };
        for _ in 0..20 {
            let connect = another.login.connect();
            canceller.cancel(&another, connect).await.unwrap();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(!sleep.is_finished(), "it sleeps on");
        // The statement is known to have begun by now.
        let connect = backend.login.connect();
        canceller.cancel(&backend, connect).await.unwrap();
        let error = sleep.await.unwrap().unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "57014");
        assert!(canceller.side.lock().is_none(), "it was closed");
    }
}
