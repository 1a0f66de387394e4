//! The handle that services hold.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pool_core::sizing::{
    DecisionRecord, Explanation, InvalidDynamicPoolConfig, SizingMode, SizingPolicy,
};
use pool_core::{
    AcquireError, ConnectionEvents, DrainReport, DynamicPoolConfig, DynamicSizing, Histograms,
    InvalidLimits, Limits, Pool, PoolCounts, PoolEvents, PoolMetrics, WarmupError, WarmupReport,
};
use sqlx::postgres::PgConnectOptions;

use crate::builder::PostgresPoolBuilder;
use crate::error::{PostgresConfigError, acquire_error};
use crate::guard::PgPooledConnection;
use crate::manager::PostgresManager;
use crate::share::Budget;
use crate::{PostgresConfig, url};

/// A pool of PostgreSQL connections that can be resized while it runs.
///
/// Cheap to clone: clones are handles to the same pool. When the last handle is dropped the pool
/// closes what is idle, and what is in use as it comes back; [`close`](Self::close) waits for
/// that.
///
/// `&PostgresPool` is an sqlx [`Executor`](sqlx::Executor): `query.fetch_all(&pool)` takes a
/// connection, runs the query, and gives the connection back when the last row has been read.
#[derive(Clone)]
pub struct PostgresPool {
    inner: Arc<Inner>,
}

/// What the handles have in common. Its end is the end of the engine's only handle.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) engine: Pool<PostgresManager>,
    pub(crate) budget: Budget,
}

impl PostgresPool {
    /// Begins a pool over a URL: `postgres://user:password@host:port/database?parameters`.
    ///
    /// Missing parts come from the environment (`PGHOST`, `PGUSER`, ..., `.pgpass`) as with
    /// libpq. Parameters: `sslmode`, `sslrootcert`, `sslcert`, `sslkey`,
    /// `statement-cache-capacity`, `host`, `hostaddr`, `port`, `dbname`, `user`, `password`,
    /// `application_name`, `options`, `target_session_attrs`. Several hosts stand as
    /// `host:port,host:port`; the first that will do is used, beginning with the one that served
    /// last.
    ///
    /// # Errors
    ///
    /// A malformed URL, another scheme, an unknown parameter: the error names what is wrong and
    /// never repeats the password.
    pub fn builder(url: &str) -> Result<PostgresPoolBuilder, PostgresConfigError> {
        match url::parse(url) {
            Ok(target) => Ok(PostgresPoolBuilder::new(target)),
            Err(problem) => Err(PostgresConfigError::new("postgres", vec![problem.into()])),
        }
    }

    /// Begins a pool over sqlx's own options.
    pub fn from_options(options: PgConnectOptions) -> PostgresPoolBuilder {
        PostgresPoolBuilder::new(options)
    }

    /// Builds a pool from a configuration.
    ///
    /// # Errors
    ///
    /// All problems of the configuration together, or no tokio runtime.
    pub fn from_config(config: &PostgresConfig) -> Result<Self, PostgresConfigError> {
        config.builder()?.build()
    }

    pub(crate) fn new(engine: Pool<PostgresManager>) -> Self {
        let inner = Arc::new(Inner {
            budget: Budget::new(engine.limits()),
            engine,
        });
        let sentinel = inner.engine.manager().sentinel();
        sentinel.watch(Arc::downgrade(&inner));
        Self { inner }
    }

    /// Takes a connection, waiting in line for one if need be.
    ///
    /// Callers are served in the order in which they asked.
    ///
    /// # Errors
    ///
    /// After `acquire_timeout`; at once when the pool is closed, when the queue is full, and when
    /// nothing is open and the server turns connects down for good (a wrong password, no such
    /// database). The error says which, with the pool's counts, the longest holder and the last
    /// failure to connect.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. A dropped future gives up its place in the queue; a connection that was on
    /// its way goes to the next caller.
    #[track_caller]
    pub fn acquire(
        &self,
    ) -> impl Future<Output = Result<PgPooledConnection, AcquireError>> + Send + use<> {
        let acquired = self.inner.engine.acquire_owned();
        async move { Ok(PgPooledConnection::new(acquired.await?)) }
    }

    /// Opens the minimum in parallel, checks every idle connection, and then turns
    /// [`ready`](Self::ready) true.
    ///
    /// # Errors
    ///
    /// `acquire_timeout` was over, the pool was closed, or the server turns connects down for
    /// good.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what has been opened stays, and the pool does not turn ready.
    pub async fn warmup_pool(&self) -> Result<WarmupReport, WarmupError> {
        self.inner.engine.warmup_pool().await
    }

    /// Whether the pool has been warmed up and is not closed.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.inner.engine.ready()
    }

    /// The pool's numbers at this moment, all read under one lock.
    #[must_use]
    pub fn pool_metrics(&self) -> PoolMetrics {
        self.inner.engine.pool_metrics()
    }

    /// The distributions of wait, hold and connect time at this moment.
    #[must_use]
    pub fn histograms(&self) -> Histograms {
        self.inner.engine.histograms()
    }

    /// The pool's counts at this moment.
    #[must_use]
    pub fn counts(&self) -> PoolCounts {
        self.inner.engine.counts()
    }

    /// The limits in force, including what is lent by [`sqlx_pool`](Self::sqlx_pool).
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.inner.limits()
    }

    /// Puts new limits in force while the pool runs. Waiting callers are served at once; idle
    /// surplus is closed at once, surplus in use when it comes back.
    ///
    /// # Errors
    ///
    /// `min` above `max`, or a `max` that is zero or leaves nothing beside what is lent by
    /// [`sqlx_pool`](Self::sqlx_pool); the limits in force stay.
    pub fn set_limits(&self, min: u32, max: u32) -> Result<(), InvalidLimits> {
        self.inner.set_limits(min, max)
    }

    /// Sets how many connections are kept warm, between the limits; `None` goes back to the
    /// minimum.
    pub fn set_target(&self, target: Option<u32>) {
        self.inner.engine.set_target(target);
    }

    /// The name that the pool was built with.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.engine.name()
    }

    /// Where the pool connects to: `host:port/database`, or `host:port,host:port/database`.
    #[must_use]
    pub fn address(&self) -> String {
        self.inner.engine.manager().target().address()
    }

    /// Closes the connections that are idle now; returns how many. The minimum is opened anew.
    #[allow(clippy::must_use_candidate, reason = "the number is only for reports")]
    pub fn evict_idle(&self) -> u32 {
        self.inner.engine.evict_idle()
    }

    /// Closes each connection that exists now without interrupting a holder: idle ones at once,
    /// the others when they come back. For a failover or new credentials.
    pub fn soft_evict(&self) {
        self.inner.engine.soft_evict();
    }

    /// Lends nothing and opens nothing until [`resume`](Self::resume), or until `deadline` is
    /// over. Callers wait, within their own time.
    pub fn pause(&self, deadline: Duration) {
        self.inner.engine.pause(deadline);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.inner.engine.resume();
    }

    /// Follows what happens to the pool.
    #[must_use]
    pub fn subscribe(&self) -> PoolEvents {
        self.inner.engine.subscribe()
    }

    /// Adds a listener to a pool that runs.
    pub fn add_listener(&self, listener: impl ConnectionEvents) {
        self.inner.engine.add_listener(listener);
    }

    /// Puts a configuration of dynamic sizing in force while the pool runs: its sizes become the
    /// limits, and an enabled one starts, or restarts, the evaluations.
    ///
    /// # Errors
    ///
    /// Fields that contradict each other; what was in force stays.
    pub fn set_dynamic_pool_config(
        &self,
        config: DynamicPoolConfig,
    ) -> Result<(), InvalidDynamicPoolConfig> {
        self.inner.set_dynamic(config)
    }

    /// Closes the pool: callers in the queue are refused, idle connections are closed at once,
    /// those in use when they come back, and all that is waited for until `deadline` is over.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the pool stays closed and goes on closing its connections.
    pub async fn close(&self, deadline: Duration) -> DrainReport {
        self.inner.engine.close(deadline).await
    }

    /// Whether the pool is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.engine.is_closed()
    }

    /// The failed checkout in an error that a query on `&pool` returned.
    ///
    /// Such an error is an [`sqlx::Error::Io`] that carries the [`AcquireError`]; the `kind()` of
    /// its `io::Error` is `TimedOut` for a timeout, `ResourceBusy` for a full or slow queue and
    /// `NotConnected` otherwise.
    ///
    /// # Example
    ///
    /// ```
    /// use pool_postgres::PostgresPool;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// // Nothing listens there.
    /// let pool = PostgresPool::builder("postgres://app@127.0.0.1:1/market")?
    ///     .acquire_timeout(std::time::Duration::from_millis(50))
    ///     .build()?;
    /// let error = sqlx::query("select 1").execute(&pool).await.unwrap_err();
    /// let acquire = PostgresPool::acquire_error(&error).expect("no connection was acquired");
    /// assert!(acquire.is_timeout());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn acquire_error(error: &sqlx::Error) -> Option<&AcquireError> {
        acquire_error(error)
    }

    pub(crate) const fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// The engine below, for code that works on any pool. Change its limits here, not there: it
    /// knows nothing of [`sqlx_pool`](Self::sqlx_pool).
    #[must_use]
    pub fn engine(&self) -> &Pool<PostgresManager> {
        &self.inner.engine
    }
}

impl std::fmt::Debug for PostgresPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresPool")
            .field("name", &self.name())
            .field("address", &self.address())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl DynamicSizing for PostgresPool {
    fn set_dynamic_pool_config(
        &self,
        config: DynamicPoolConfig,
    ) -> Result<(), InvalidDynamicPoolConfig> {
        self.inner.set_dynamic(config)
    }

    fn dynamic_pool_config(&self) -> Option<DynamicPoolConfig> {
        self.inner.dynamic()
    }

    fn set_sizing_policy(&self, policy: impl SizingPolicy + 'static) {
        self.inner.engine.set_sizing_policy(policy);
    }

    fn set_sizing_mode(&self, mode: SizingMode) {
        self.inner.set_sizing_mode(mode);
    }

    fn sizing_mode(&self) -> SizingMode {
        self.inner.engine.sizing_mode()
    }

    fn explain(&self) -> Explanation {
        self.inner.engine.explain()
    }

    fn sizing_decisions(&self) -> Vec<DecisionRecord> {
        self.inner.engine.sizing_decisions()
    }
}
