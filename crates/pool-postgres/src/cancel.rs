//! Ending at the server what a caller no longer waits for.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, Error, PgConnection};
use tokio::sync::Mutex;

/// A connection that cancels, and the server it leads to.
#[derive(Debug)]
struct Side {
    connection: PgConnection,
    place: Arc<PgConnectOptions>,
}

/// Asks the server to cancel what a backend runs, over one connection beside the pool.
///
/// sqlx keeps the key of PostgreSQL's `CancelRequest` to itself, so the request is
/// `pg_cancel_backend`. The connection for it is opened when a request comes, serves all that
/// come meanwhile, and is closed after the last: a pool without cancelled statements never has
/// it, and there is never more than one.
#[derive(Debug, Default)]
pub(crate) struct Canceller {
    side: Mutex<Option<Side>>,
    requests: AtomicU32,
}

impl Canceller {
    /// Returns when the signal has been sent.
    ///
    /// A backend that is idle by then ignores it, and one that is not has received it before it
    /// reads another statement: nothing that is sent to it afterwards is cancelled by it.
    pub(crate) async fn cancel(
        &self,
        connect: impl Future<Output = Result<PgConnection, Error>>,
        backend: i32,
        place: &Arc<PgConnectOptions>,
    ) -> Result<(), Error> {
        let _request = Request::new(self);
        let mut side = self.side.lock().await;
        // Out of its place while it is used: dropped in the middle, it is not used again.
        let mut connection = match side.take() {
            // Processes have numbers at their own server alone.
            Some(at)
                if at.place.get_host() == place.get_host()
                    && at.place.get_port() == place.get_port() =>
            {
                at.connection
            }
            _ => connect.await?,
        };
        let sql = AssertSqlSafe(format!("select pg_cancel_backend({backend})"));
        sqlx::raw_sql(sql).execute(&mut connection).await?;
        if self.requests.load(Ordering::Relaxed) > 1 {
            let place = Arc::clone(place);
            *side = Some(Side { connection, place });
        } else {
            connection.close().await?;
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
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        let last = self.0.requests.fetch_sub(1, Ordering::AcqRel) == 1;
        // Whoever has the lock now came later, and is not the last one either.
        if last && let Ok(mut side) = self.0.side.try_lock() {
            *side = None;
        }
    }
}
