//! How the engine opens, checks, cleans and closes PostgreSQL connections.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use pool_core::{ConnectFault, ConnectionManager, ReleaseCheck, SharedError};
use secrecy::ExposeSecret as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};

use crate::cancel::Canceller;
use crate::copy::Copying;
use crate::credentials::Credentials;
use crate::error::{ConnectCause, ConnectStep, PostgresConnectError};
use crate::sentinel::Sentinel;
use crate::{clean, sqlstate, url};

/// A connection as the engine keeps it: sqlx's, and what the pool must know beside it.
///
/// What [`PostgresPool::engine`](crate::PostgresPool::engine) lends. Derefs to [`PgConnection`].
pub struct ManagedConnection {
    pub(crate) connection: PgConnection,
    /// The process that serves it, to cancel what it runs.
    pub(crate) backend: i32,
    /// A `COPY` that is under way, which sqlx does not count.
    pub(crate) copying: Copying,
    /// Set when a `ROLLBACK` was queued here, whose answer may come at once.
    pub(crate) queued: bool,
    /// Set when only a round trip can tell whether the connection is sound.
    pub(crate) doubtful: bool,
    /// Set while the server holds a failed transaction that sqlx does not count.
    pub(crate) aborted: bool,
    /// Set when a statement of the transaction has failed.
    pub(crate) suspect: bool,
    /// The failovers that its pool had seen when it was opened.
    pub(crate) epoch: u64,
    pub(crate) sentinel: Arc<Sentinel>,
}

impl ManagedConnection {
    /// The process that serves it, as in `pg_stat_activity.pid`.
    #[must_use]
    pub const fn backend_pid(&self) -> i32 {
        self.backend
    }
}

impl Deref for ManagedConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for ManagedConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl fmt::Debug for ManagedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedConnection")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// Runs on each new connection.
pub(crate) type AfterConnect = Arc<
    dyn for<'c> Fn(&'c mut PgConnection) -> BoxFuture<'c, Result<(), SharedError>> + Send + Sync,
>;

/// Asked before each connect.
pub(crate) type CredentialProvider =
    Arc<dyn Fn() -> BoxFuture<'static, Result<Credentials, SharedError>> + Send + Sync>;

/// Opens, checks, cleans and closes connections to one PostgreSQL database.
///
/// Services use it through [`PostgresPool`](crate::PostgresPool).
pub struct PostgresManager {
    options: RwLock<Arc<PgConnectOptions>>,
    connect_timeout: RwLock<Duration>,
    settings: ManagerSettings,
    sentinel: Arc<Sentinel>,
    canceller: Canceller,
}

/// How long a connection on its way out waits for the server to end what it runs.
const FAREWELL: Duration = Duration::from_secs(1);

/// What the builder leaves to the manager.
#[derive(Clone, Default)]
pub(crate) struct ManagerSettings {
    pub(crate) connect_timeout: Duration,
    pub(crate) credentials: Option<CredentialProvider>,
    pub(crate) init_sql: Option<Arc<str>>,
    pub(crate) reset_sql: Option<Arc<str>>,
    pub(crate) cancel_after: Option<Duration>,
    pub(crate) after_connect: Option<AfterConnect>,
}

impl ManagerSettings {
    /// Does to a new connection what the service wants, noting in `step` how far that has come.
    pub(crate) async fn prepare(
        &self,
        connection: &mut PgConnection,
        step: &mut ConnectStep,
    ) -> Result<(), ConnectCause> {
        if let Some(sql) = &self.init_sql {
            *step = ConnectStep::InitSql;
            clean::run(connection, sql).await?;
        }
        if let Some(hook) = &self.after_connect {
            *step = ConnectStep::AfterConnect;
            hook(connection).await.map_err(ConnectCause::Other)?;
        }
        Ok(())
    }
}

impl PostgresManager {
    pub(crate) fn new(options: PgConnectOptions, settings: ManagerSettings) -> Self {
        Self {
            options: RwLock::new(Arc::new(options)),
            connect_timeout: RwLock::new(settings.connect_timeout),
            settings,
            sentinel: Arc::default(),
            canceller: Canceller::default(),
        }
    }

    pub(crate) const fn settings(&self) -> &ManagerSettings {
        &self.settings
    }

    pub(crate) fn sentinel(&self) -> &Sentinel {
        &self.sentinel
    }

    /// The options of the next connect, without what a credential provider adds.
    pub(crate) fn options(&self) -> Arc<PgConnectOptions> {
        Arc::clone(&self.options.read())
    }

    pub(crate) fn set_options(&self, options: PgConnectOptions) {
        *self.options.write() = Arc::new(options);
    }

    /// How long one attempt to connect may take.
    pub(crate) fn connect_timeout(&self) -> Duration {
        *self.connect_timeout.read()
    }

    pub(crate) fn set_connect_timeout(&self, timeout: Duration) {
        *self.connect_timeout.write() = timeout;
    }

    /// Opens a connection and prepares it, noting in `step` how far that has come.
    async fn open(
        &self,
        options: &PgConnectOptions,
        step: &mut ConnectStep,
    ) -> Result<ManagedConnection, ConnectCause> {
        let epoch = self.sentinel.epoch();
        *step = ConnectStep::Credentials;
        let options = self.with_credentials(options).await?;
        *step = ConnectStep::Open;
        let mut connection = options.connect().await?;
        let backend = clean::backend(&mut connection).await?;
        self.settings.prepare(&mut connection, step).await?;
        Ok(ManagedConnection {
            connection,
            backend,
            copying: Copying::No,
            queued: false,
            doubtful: false,
            aborted: false,
            suspect: false,
            epoch,
            sentinel: Arc::clone(&self.sentinel),
        })
    }

    /// Opens the connection that cancels statements.
    async fn connect_beside(&self) -> Result<PgConnection, sqlx::Error> {
        let options = self.options();
        let options = self.with_credentials(&options).await.map_err(|cause| {
            sqlx::Error::Configuration(Box::new(failure(&options, ConnectStep::Credentials, cause)))
        })?;
        let name = format!(
            "{} cancel",
            options.get_application_name().unwrap_or_default()
        );
        options.application_name(&name).connect().await
    }

    /// Opens a connection within the time for one.
    pub(crate) async fn connect_with(
        &self,
        options: &PgConnectOptions,
    ) -> Result<ManagedConnection, PostgresConnectError> {
        let within = self.connect_timeout();
        let mut step = ConnectStep::Open;
        let attempt = tokio::time::timeout(within, self.open(options, &mut step)).await;
        let cause = match attempt {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(cause)) => cause,
            Err(_elapsed) => ConnectCause::TimedOut(within),
        };
        Err(failure(options, step, cause))
    }

    pub(crate) async fn with_credentials(
        &self,
        options: &PgConnectOptions,
    ) -> Result<PgConnectOptions, ConnectCause> {
        let Some(provider) = &self.settings.credentials else {
            return Ok(options.clone());
        };
        let Credentials { user, password } = provider().await.map_err(ConnectCause::Other)?;
        let options = match user {
            Some(user) => options.clone().username(&user),
            None => options.clone(),
        };
        Ok(options.password(password.expose_secret()))
    }
}

impl ConnectionManager for PostgresManager {
    type Connection = ManagedConnection;
    type Error = PostgresConnectError;

    async fn connect(&self) -> Result<ManagedConnection, PostgresConnectError> {
        self.connect_with(&self.options()).await
    }

    async fn validate(&self, managed: &mut ManagedConnection) -> Result<(), PostgresConnectError> {
        let ping = managed.connection.ping().await;
        ping.map_err(|error| failure(&self.options(), ConnectStep::Open, error.into()))
    }

    fn release_check(&self, managed: &mut ManagedConnection) -> ReleaseCheck {
        let check = clean::look(managed);
        if check == ReleaseCheck::Clean && self.settings.reset_sql.is_some() {
            return ReleaseCheck::Dirty;
        }
        check
    }

    async fn recycle(&self, managed: &mut ManagedConnection) -> Result<(), PostgresConnectError> {
        let cleaned = clean::clean(
            managed,
            self.settings.cancel_after,
            |backend| self.canceller.cancel(self.connect_beside(), backend),
            self.settings.reset_sql.as_deref(),
        );
        cleaned
            .await
            .map_err(|error| failure(&self.options(), ConnectStep::Open, error.into()))
    }

    async fn close(&self, mut managed: ManagedConnection) {
        if self.settings.cancel_after.is_some() && clean::is_busy(&mut managed) {
            // The server notices that its client has gone only when it next writes.
            let end = async {
                let cancel = |backend| self.canceller.cancel(self.connect_beside(), backend);
                // At once, also for a `COPY`, whose answer nobody counts.
                cancel(managed.backend).await?;
                clean::end(&mut managed, Duration::from_millis(10), cancel).await
            };
            let _ = tokio::time::timeout(FAREWELL, end).await;
        }
        // A connection that cannot say goodbye is gone already.
        let _ = managed.connection.close().await;
    }

    fn classify(&self, error: &PostgresConnectError) -> ConnectFault {
        match &error.cause {
            ConnectCause::Sqlx(error) => sqlstate::classify(error),
            ConnectCause::Other(error) => error
                .downcast_ref::<sqlx::Error>()
                .map_or(ConnectFault::Transient, sqlstate::classify),
            ConnectCause::TimedOut(_) => ConnectFault::Transient,
        }
    }

    fn error_code(&self, error: &PostgresConnectError) -> Option<String> {
        let code = match &error.cause {
            ConnectCause::Sqlx(error) => sqlstate::code(error),
            ConnectCause::Other(error) => error
                .downcast_ref::<sqlx::Error>()
                .map_or("hook", sqlstate::code),
            ConnectCause::TimedOut(_) => "timeout",
        };
        Some(code.to_owned())
    }
}

pub(crate) fn failure(
    options: &PgConnectOptions,
    step: ConnectStep,
    cause: ConnectCause,
) -> PostgresConnectError {
    PostgresConnectError {
        address: url::address(options).into(),
        user: options.get_username().into(),
        step,
        cause,
    }
}

impl fmt::Debug for PostgresManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresManager")
            .field("address", &url::address(&self.options()))
            .finish_non_exhaustive()
    }
}
