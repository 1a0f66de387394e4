//! The settings of a PostgreSQL pool.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use pool_core::{
    ConnectionEvents, ConnectionInfo, ControlledDelay, DynamicPoolConfig, Liveness, Pool,
    PoolBuilder, ReleaseCheck, SharedError,
};
use sqlx::PgConnection;
use tokio::runtime::Handle;

use crate::error::{PostgresConfigError, PostgresConfigProblem};
use crate::manager::{ManagerSettings, PostgresManager};
use crate::pool::PostgresPool;
use crate::target::Target;
use crate::{Credentials, PgFlavor, TargetSessionAttrs};

/// How much longer the engine waits for a connect than the manager, whose error says more.
const MARGIN: Duration = Duration::from_millis(250);

type Engine = PoolBuilder<PostgresManager>;
type Change = Box<dyn FnOnce(Engine) -> Engine + Send>;

/// Builds a [`PostgresPool`]; from [`PostgresPool::builder`] or [`PostgresPool::from_options`].
#[must_use = "a builder does nothing until `build`"]
pub struct PostgresPoolBuilder {
    target: Target,
    name: Option<String>,
    connect_timeout: Duration,
    statement_cache: Option<usize>,
    runtime: Option<Handle>,
    manager: ManagerSettings,
    dynamic: Option<DynamicPoolConfig>,
    /// What is to be done to the engine's builder, which needs its manager first.
    changes: Vec<Change>,
}

impl PostgresPoolBuilder {
    pub(crate) fn new(target: impl Into<Target>) -> Self {
        Self {
            target: target.into(),
            name: None,
            connect_timeout: Duration::from_secs(5),
            statement_cache: None,
            runtime: None,
            manager: ManagerSettings {
                cancel_after: Some(Duration::from_millis(20)),
                ..ManagerSettings::default()
            },
            dynamic: None,
            changes: Vec::new(),
        }
    }

    fn change(mut self, change: impl FnOnce(Engine) -> Engine + Send + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// The name in errors, events, metrics and logs, and the connections' `application_name`
    /// when the options do not set one. Defaults to `host:port/database`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many connections are kept without demand, and how many there are at the most.
    /// Defaults to 0 and 10.
    pub fn limits(self, min: u32, max: u32) -> Self {
        self.change(move |engine| engine.limits(min, max))
    }

    /// How much of the maximum the pool may use from the start; see
    /// [`Pool::set_allowance`]. Defaults to all of it.
    pub fn allowance(self, connections: u32) -> Self {
        self.change(move |engine| engine.allowance(connections))
    }

    /// Sizes the pool by load from the start. Its sizes take the place of
    /// [`limits`](Self::limits). Off by default.
    pub const fn dynamic(mut self, config: DynamicPoolConfig) -> Self {
        self.dynamic = Some(config);
        self
    }

    /// How long a caller waits for a connection, all steps together. Defaults to 30 s.
    pub fn acquire_timeout(self, timeout: Duration) -> Self {
        self.change(move |engine| engine.acquire_timeout(timeout))
    }

    /// What stands between the pool and the server. Defaults to [`PgFlavor::Direct`].
    pub const fn flavor(mut self, flavor: PgFlavor) -> Self {
        self.manager.flavor = flavor;
        self
    }

    /// Another host to connect to when those before it would not do; all else is as for the first.
    /// In a URL: `postgres://user@one:5432,two:5432/database`.
    pub fn or_host(mut self, host: &str, port: u16) -> Self {
        self.target.hosts.push(self.target.another(host, port));
        self
    }

    /// What a server must be for a connection to it to be used. Defaults to
    /// [`TargetSessionAttrs::Any`]; in a URL: `?target_session_attrs=read-write`.
    ///
    /// Asked of new connections, of those that were idle when they are checked, and now and then
    /// after a transaction that was not committed.
    pub const fn target_session_attrs(mut self, attrs: TargetSessionAttrs) -> Self {
        self.target.attrs = attrs;
        self
    }

    /// How many prepared statements each connection keeps, at the server and here; the one that was
    /// not used for longest goes first. Defaults to 100, or what the options say; in a URL:
    /// `?statement-cache-capacity=50`.
    ///
    /// Zero is turned down by [`build`](Self::build): sqlx 0.9 goes on to name statements then, and
    /// never closes them. A statement that is not to be kept is sent with
    /// [`persistent(false)`](sqlx::query::Query::persistent).
    pub const fn statement_cache_capacity(mut self, statements: usize) -> Self {
        self.statement_cache = Some(statements);
        self
    }

    /// How long one attempt to connect to one host may take, from the credential provider to
    /// `after_connect`. Defaults to 5 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// How long the check of an idle connection may take. Defaults to 2 s.
    pub fn validate_timeout(self, timeout: Duration) -> Self {
        self.change(move |engine| engine.validate_timeout(timeout))
    }

    /// How long a connection that came back dirty may take to be cleaned before it is closed
    /// instead. Defaults to 2 s.
    pub fn recycle_timeout(self, timeout: Duration) -> Self {
        self.change(move |engine| engine.recycle_timeout(timeout))
    }

    /// How long a connection that is being closed counts against the maximum. Defaults to 5 s.
    pub fn close_timeout(self, timeout: Duration) -> Self {
        self.change(move |engine| engine.close_timeout(timeout))
    }

    /// How long a connection above the minimum stays idle; `None` for ever. Defaults to 10 min.
    pub fn idle_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        let timeout = timeout.into();
        self.change(move |engine| engine.idle_timeout(timeout))
    }

    /// How long a connection lives, 10 % more or less; `None` for ever. Defaults to 30 min.
    pub fn max_lifetime(self, lifetime: impl Into<Option<Duration>>) -> Self {
        let lifetime = lifetime.into();
        self.change(move |engine| engine.max_lifetime(lifetime))
    }

    /// How long an idle connection goes without a check; `None` for ever, which is the default.
    pub fn keepalive(self, interval: impl Into<Option<Duration>>) -> Self {
        let interval = interval.into();
        self.change(move |engine| engine.keepalive(interval))
    }

    /// How long a checkout may last before it is reported, once, with the line that acquired the
    /// connection; `None` for ever, which is the default.
    pub fn leak_threshold(self, threshold: impl Into<Option<Duration>>) -> Self {
        let threshold = threshold.into();
        self.change(move |engine| engine.leak_threshold(threshold))
    }

    /// When an idle connection is checked, by a question that takes one round trip, before it is lent.
    /// Defaults to 500 ms after its last use or check.
    pub fn liveness(self, liveness: Liveness) -> Self {
        self.change(move |engine| engine.liveness(liveness))
    }

    /// How many connections may be being opened at once. Defaults to 4.
    pub fn max_connecting(self, connects: u32) -> Self {
        self.change(move |engine| engine.max_connecting(connects))
    }

    /// How many callers may wait; the next one is refused at once. Defaults to no bound.
    pub fn max_waiters(self, waiters: u32) -> Self {
        self.change(move |engine| engine.max_waiters(waiters))
    }

    /// The pause after failed connects, shared by the whole pool: drawn between zero and a bound
    /// that starts at `first` and doubles up to `most`. Defaults to 10 ms and 500 ms.
    pub fn backoff(self, first: Duration, most: Duration) -> Self {
        self.change(move |engine| engine.backoff(first, most))
    }

    /// Turns callers away while the queue is too slow. Off by default.
    pub fn controlled_delay(self, delay: impl Into<Option<ControlledDelay>>) -> Self {
        let delay = delay.into();
        self.change(move |engine| engine.controlled_delay(delay))
    }

    /// Adds a listener. See [`EventHandlers`](pool_core::EventHandlers) for closures.
    pub fn events(self, listener: impl ConnectionEvents) -> Self {
        self.change(move |engine| engine.events(listener))
    }

    /// How many events are kept for a listener or subscription that is slower than the pool.
    /// Defaults to 1,024.
    pub fn event_capacity(self, events: usize) -> Self {
        self.change(move |engine| engine.event_capacity(events))
    }

    /// The runtime that the pool's tasks run on. Defaults to the one in which `build` is called.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime.clone());
        self.change(move |engine| engine.runtime(runtime))
    }

    pub(crate) fn runtime_given(&self) -> Option<Handle> {
        self.runtime.clone()
    }

    /// Statements to run once on each new connection, within its `connect_timeout`, for instance
    /// `set search_path = app; set statement_timeout = '5s'`. An error counts as a failed
    /// connect. None by default.
    pub fn init_sql(mut self, sql: impl Into<Arc<str>>) -> Self {
        self.manager.init_sql = Some(sql.into());
        self
    }

    /// Statements to run on each connection that comes back, before it is lent again, for
    /// instance `reset all` or `discard all`. None by default.
    ///
    /// They cost a round trip after each use, in a task of the pool: the caller does not wait
    /// for it, the next one may. Without them, what a caller leaves in a session (`set`,
    /// `listen`, temporary tables, advisory locks, a `begin` sent as SQL) stays there.
    pub fn reset_sql(mut self, sql: impl Into<Arc<str>>) -> Self {
        self.manager.reset_sql = Some(sql.into());
        self
    }

    /// How long the server may go on with a statement whose caller has gone before it is
    /// cancelled there. Defaults to 20 ms.
    ///
    /// The cancellation runs over one connection beside the pool that is open only meanwhile;
    /// the server shows it as `<application_name> cancel`.
    /// `None` never cancels: the server finishes the statement, and a connection that is not
    /// clean after `recycle_timeout` is closed.
    pub fn cancel_after(mut self, patience: impl Into<Option<Duration>>) -> Self {
        self.manager.cancel_after = patience.into();
        self
    }

    /// Asks `provider` for a password before each connect, within its `connect_timeout`: for
    /// tokens that expire, or passwords that are rotated. An error counts as a failed connect
    /// that is worth another attempt. None by default.
    ///
    /// # Example
    ///
    /// ```
    /// use pool_postgres::{Credentials, PostgresPool};
    ///
    /// # async fn token_from_the_vault() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// # fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = PostgresPool::builder("postgres://app@db.example/market")?
    ///     .credentials(|| async { Ok(Credentials::password(token_from_the_vault().await?)) });
    /// # Ok(())
    /// # }
    /// ```
    pub fn credentials<F, Fut>(mut self, provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Credentials, Box<dyn std::error::Error + Send + Sync>>>
            + Send
            + 'static,
    {
        self.manager.credentials = Some(Arc::new(move || {
            let asked = provider();
            Box::pin(async move { asked.await.map_err(SharedError::from) })
        }));
        self
    }

    /// Runs `hook` on each new connection, after `init_sql` and within its `connect_timeout`. An
    /// error counts as a failed connect. None by default.
    pub fn after_connect<F>(mut self, hook: F) -> Self
    where
        F: for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<(), SharedError>>
            + Send
            + Sync
            + 'static,
    {
        self.manager.after_connect = Some(Arc::new(hook));
        self
    }

    /// Runs `hook` on each idle connection before it is lent, in place of the usual check and
    /// within `validate_timeout`. An error closes the connection, and the caller gets another
    /// one. None by default.
    pub fn before_acquire<F>(self, hook: F) -> Self
    where
        F: for<'c> Fn(
                &'c mut PgConnection,
                ConnectionInfo,
            ) -> BoxFuture<'c, Result<(), SharedError>>
            + Send
            + Sync
            + 'static,
    {
        self.change(move |engine| {
            engine.before_acquire(move |managed, info| hook(&mut managed.connection, info))
        })
    }

    /// Runs `hook` on each clean connection that comes back, on the caller's thread and without
    /// I/O. None by default.
    pub fn on_release<F>(self, hook: F) -> Self
    where
        F: Fn(&mut PgConnection, ConnectionInfo) -> ReleaseCheck + Send + Sync + 'static,
    {
        self.change(move |engine| {
            engine.on_release(move |managed, info| hook(&mut managed.connection, info))
        })
    }

    /// Checks the settings and builds the pool, without I/O.
    ///
    /// The minimum is opened in the background; [`PostgresPool::warmup_pool`] waits for it.
    ///
    /// # Errors
    ///
    /// Settings that contradict each other, or no tokio runtime: all problems are reported
    /// together.
    pub fn build(mut self) -> Result<PostgresPool, PostgresConfigError> {
        let dynamic = self.dynamic.take();
        let name = self.pool_name();
        let problems = self.own_problems();
        if !problems.is_empty() {
            return Err(PostgresConfigError::new(&name, problems));
        }
        let mut engine = self.into_engine();
        if let Some(config) = &dynamic {
            engine = match config.validate() {
                Ok(()) => engine.limits(config.min_size, config.max_size),
                Err(invalid) => {
                    // The sizes are among the problems of `invalid`; the engine reports the rest.
                    let mut problems = vec![PostgresConfigProblem::Dynamic(invalid)];
                    if let Err(error) = engine.limits(0, 1).build() {
                        problems.extend(error.problems.into_iter().map(Into::into));
                    }
                    return Err(PostgresConfigError::new(&name, problems));
                }
            };
        }
        let pool = PostgresPool::new(engine.build()?);
        if let Some(config) = dynamic {
            pool.set_dynamic_pool_config(config)
                .map_err(|invalid| PostgresConfigError::new(&name, vec![invalid.into()]))?;
        }
        Ok(pool)
    }

    /// The engine's own builder with these settings, for code that builds any pool. What it
    /// builds is a [`Pool`] without the statements of [`PostgresPool`] and without
    /// [`dynamic`](Self::dynamic).
    pub fn into_engine(self) -> PoolBuilder<PostgresManager> {
        let name = self.pool_name();
        let Self {
            target,
            connect_timeout,
            statement_cache,
            mut manager,
            changes,
            ..
        } = self;
        let target = target.map(|options| match options.get_application_name() {
            Some(_) => options,
            None => options.application_name(&name),
        });
        let target = match statement_cache {
            Some(statements) => target.map(|options| options.statement_cache_capacity(statements)),
            None => target,
        };
        manager.connect_timeout = connect_timeout;
        if !manager.flavor.keeps_a_session() {
            manager.cancel_after = None;
        }
        let attempts = target.attempts();
        let engine = Pool::builder(PostgresManager::new(target, manager)).name(&name);
        changes
            .into_iter()
            .fold(engine, |engine, change| change(engine))
            .connect_timeout(engine_timeout(connect_timeout, attempts))
    }

    fn pool_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.target.address())
    }

    /// What the engine cannot object to.
    pub(crate) fn own_problems(&self) -> Vec<PostgresConfigProblem> {
        let mut problems = self.lost_behind_a_pooler();
        if self.statement_cache == Some(0) {
            problems.push(PostgresConfigProblem::NoStatementCache);
        }
        let hosts = &self.target.hosts;
        let socket = hosts.iter().find_map(|options| options.get_socket());
        if let Some(socket) = socket
            && hosts.len() > 1
        {
            let socket = socket.clone();
            problems.push(PostgresConfigProblem::Socket { socket });
        }
        problems
    }

    /// The settings that need a session which the pooler does not keep.
    fn lost_behind_a_pooler(&self) -> Vec<PostgresConfigProblem> {
        let flavor = self.manager.flavor;
        let set = [
            ("init_sql", self.manager.init_sql.is_some()),
            ("reset_sql", self.manager.reset_sql.is_some()),
        ];
        set.into_iter()
            .filter(|(_, is_set)| *is_set && !flavor.keeps_a_session())
            .map(|(setting, _)| PostgresConfigProblem::Session { setting, flavor })
            .collect()
    }
}

/// The engine's time for a connect for which the manager has `timeout`.
pub(crate) const fn engine_timeout(timeout: Duration, attempts: u32) -> Duration {
    match timeout {
        // Zero is for the engine to turn down.
        Duration::ZERO => Duration::ZERO,
        timeout => timeout.saturating_mul(attempts).saturating_add(MARGIN),
    }
}

impl fmt::Debug for PostgresPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresPoolBuilder")
            .field("address", &self.target.address())
            .field("name", &self.name)
            .field("connect_timeout", &self.connect_timeout)
            .field("dynamic", &self.dynamic)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use sqlx::postgres::PgSslMode;

    use crate::PostgresPool;

    #[test]
    fn another_host_is_verified_unless_the_url_says_otherwise() {
        for (url, host, wanted) in [
            (
                "postgres://u@localhost/d",
                "db.example",
                PgSslMode::VerifyFull,
            ),
            ("postgres://u@localhost/d", "127.0.0.2", PgSslMode::Prefer),
            ("postgres://u@db.example/d", "localhost", PgSslMode::Prefer),
            (
                "postgres://u@db.example/d",
                "two.example",
                PgSslMode::VerifyFull,
            ),
            (
                "postgres://u@localhost/d?sslmode=disable",
                "db.example",
                PgSslMode::Disable,
            ),
        ] {
            let builder = PostgresPool::builder(url).unwrap().or_host(host, 5433);
            let second = &builder.target.hosts[1];
            assert_eq!((second.get_host(), second.get_port()), (host, 5433));
            let mode = second.get_ssl_mode();
            assert_eq!(
                format!("{mode:?}"),
                format!("{wanted:?}"),
                "{url} or {host}"
            );
        }
    }

    #[test]
    fn a_socket_is_not_one_of_several_hosts() {
        let url = "postgres://u@localhost/d?host=/run/postgresql";
        let error = PostgresPool::builder(url).unwrap();
        let error = error.or_host("db.example", 5432).build().unwrap_err();
        let error = error.to_string();
        assert!(error.contains("/run/postgresql"), "{error}");
        let cluster = crate::PostgresCluster::builder(url).unwrap();
        let error = cluster.replica("db.example", 5432).build().unwrap_err();
        let error = error.to_string();
        assert!(error.contains("/run/postgresql"), "{error}");
    }
}
