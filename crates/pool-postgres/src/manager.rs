//! How the engine opens, checks, cleans and closes PostgreSQL connections.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::RwLock;
use pool_core::{ConnectFault, ConnectionManager, ReleaseCheck, SharedError};
use secrecy::ExposeSecret as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::cancel::{Backend, Canceller};
use crate::connection::ManagedConnection;
use crate::copy::Copying;
use crate::credentials::Credentials;
use crate::error::{ConnectCause, ConnectStep, PostgresConnectError};
use crate::flavor::keeps_statements;
use crate::login::login;
use crate::sentinel::Sentinel;
use crate::target::Target;
use crate::{PgFlavor, TargetSessionAttrs, clean, sqlstate, url};

/// Why each host would not do.
type Failure = Vec<PostgresConnectError>;

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
    places: RwLock<Places>,
    connect_timeout: RwLock<Duration>,
    settings: ManagerSettings,
    sentinel: Arc<Sentinel>,
    canceller: Canceller,
}

/// The hosts in force.
#[derive(Clone)]
struct Places {
    hosts: Arc<[Arc<PgConnectOptions>]>,
    attrs: TargetSessionAttrs,
    /// The one that served last: the next connect begins with it.
    last: usize,
    /// Of each, whether a pooler there has proved that it keeps prepared statements.
    proved: Arc<[AtomicBool]>,
}

impl From<Target> for Places {
    fn from(Target { hosts, attrs, .. }: Target) -> Self {
        Self {
            proved: hosts.iter().map(|_| AtomicBool::new(false)).collect(),
            hosts: hosts.into_iter().map(Arc::new).collect(),
            attrs,
            last: 0,
        }
    }
}

impl Places {
    fn target(&self) -> Target {
        Target {
            hosts: self.hosts.iter().map(|host| (**host).clone()).collect(),
            attrs: self.attrs,
            tls_by_default: false,
        }
    }
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
    pub(crate) flavor: PgFlavor,
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
    pub(crate) fn new(target: Target, settings: ManagerSettings) -> Self {
        let flavor = settings.flavor;
        Self {
            places: RwLock::new(target.map(|options| flavor.adapt(options)).into()),
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

    /// The options of the host that served last, without what a credential provider adds.
    pub(crate) fn options(&self) -> Arc<PgConnectOptions> {
        let places = self.places.read();
        Arc::clone(&places.hosts[places.last])
    }

    /// Where the next connects may lead.
    pub(crate) fn target(&self) -> Target {
        self.places.read().target()
    }

    /// Has the next connects lead elsewhere.
    pub(crate) fn set_target(&self, target: Target) {
        *self.places.write() = self.places_of(target);
    }

    fn places_of(&self, target: Target) -> Places {
        let flavor = self.settings.flavor;
        target.map(|options| flavor.adapt(options)).into()
    }

    /// Opens a connection to the first host that will do, or says why none would.
    async fn connect_among(
        &self,
        places: &Places,
    ) -> Result<ManagedConnection, PostgresConnectError> {
        let mut failures = match self.connect_to_one(places).await {
            Ok(connection) => return Ok(connection),
            Err(failures) => failures,
        };
        if failures.len() == 1 {
            return Err(failures.remove(0));
        }
        Err(PostgresConnectError {
            address: places.target().address().into(),
            user: places.hosts[0].get_username().into(),
            step: ConnectStep::Open,
            cause: ConnectCause::Hosts(failures),
        })
    }

    /// Opens a connection to the first host that will do.
    async fn connect_to_one(&self, places: &Places) -> Result<ManagedConnection, Failure> {
        let count = places.hosts.len();
        let mut failures = Vec::new();
        for &wanted in places.attrs.passes() {
            for at in (0..count).map(|n| (places.last + n) % count) {
                let proved = places.proved[at].load(Ordering::Relaxed);
                let attempt = self.attempt(&places.hosts[at], wanted, proved);
                match attempt.await {
                    Ok(connection) => {
                        self.note(places, at);
                        return Ok(connection);
                    }
                    Err(failure) => failures.push(failure),
                }
            }
        }
        Err(failures)
    }

    /// Remembers which host served, unless the hosts have changed meanwhile.
    fn note(&self, served: &Places, at: usize) {
        served.proved[at].store(true, Ordering::Relaxed);
        if served.last == at {
            return;
        }
        let mut places = self.places.write();
        if Arc::ptr_eq(&places.hosts, &served.hosts) {
            places.last = at;
        }
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
        place: &Arc<PgConnectOptions>,
        wanted: TargetSessionAttrs,
        proved: bool,
        step: &mut ConnectStep,
    ) -> Result<ManagedConnection, ConnectCause> {
        let epoch = self.sentinel.epoch();
        *step = ConnectStep::Credentials;
        let options = self.with_credentials(place).await?;
        *step = ConnectStep::Open;
        let mut connection = login(&options).await?;
        if let Some(is) = wanted.check(&mut connection).await? {
            let _ = connection.close().await;
            return Err(ConnectCause::Session { is, wanted });
        }
        let flavor = self.settings.flavor;
        if flavor.is_to_be_proved() && !proved && !keeps_statements(&mut connection).await? {
            let _ = connection.close().await;
            return Err(ConnectCause::LosesStatements(flavor));
        }
        let backend = Backend::of(&mut connection, options).await?;
        self.settings.prepare(&mut connection, step).await?;
        Ok(ManagedConnection {
            connection,
            backend: Arc::new(backend),
            place: Arc::clone(place),
            copying: Copying::No,
            queued: false,
            doubtful: false,
            aborted: false,
            suspect: false,
            wanted,
            role_in_doubt: false,
            epoch,
            sentinel: Arc::clone(&self.sentinel),
        })
    }

    /// Opens a connection that is not the pool's, to look at a server.
    pub(crate) async fn connect_to_watch(
        &self,
        place: &PgConnectOptions,
    ) -> Result<PgConnection, sqlx::Error> {
        let options = self.with_credentials(place).await.map_err(|cause| {
            sqlx::Error::Configuration(Box::new(failure(place, ConnectStep::Credentials, cause)))
        })?;
        beside(options, "watch").await
    }

    /// Opens a connection to other hosts than those in force.
    pub(crate) async fn connect_to(
        &self,
        target: Target,
    ) -> Result<ManagedConnection, PostgresConnectError> {
        self.connect_among(&self.places_of(target)).await
    }

    /// Opens a connection to one host within the time for one.
    async fn attempt(
        &self,
        place: &Arc<PgConnectOptions>,
        wanted: TargetSessionAttrs,
        proved: bool,
    ) -> Result<ManagedConnection, PostgresConnectError> {
        let within = self.connect_timeout();
        let mut step = ConnectStep::Open;
        let attempt = self.open(place, wanted, proved, &mut step);
        let cause = match tokio::time::timeout(within, attempt).await {
            Ok(Ok(connection)) => return Ok(connection),
            Ok(Err(cause)) => cause,
            Err(_elapsed) => ConnectCause::TimedOut(within),
        };
        Err(failure(place, step, cause))
    }

    /// Asks the server of a connection whether it still is what it had to be.
    async fn ask_role(&self, managed: &mut ManagedConnection) -> Result<(), PostgresConnectError> {
        let wanted = managed.wanted;
        let cause = match wanted.check(&mut managed.connection).await {
            Ok(None) => return Ok(()),
            Ok(Some(is)) => {
                if wanted.is_for_writes() {
                    self.sentinel.read_only(managed.epoch);
                }
                ConnectCause::Session { is, wanted }
            }
            Err(error) => error.into(),
        };
        Err(failure(&managed.place, ConnectStep::Open, cause))
    }

    /// Ends at the server what a backend runs, as the user who opened the connection to it, who alone
    /// has the right for certain: with today's password if that is still today's user.
    async fn cancel(&self, place: &PgConnectOptions, backend: &Backend) -> Result<(), sqlx::Error> {
        let connect = async {
            let login = match self.with_credentials(place).await {
                Ok(today) if today.get_username() == backend.login.get_username() => today,
                _ => backend.login.clone(),
            };
            beside(login, "cancel").await
        };
        self.canceller.cancel(backend, connect).await
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
        let places = self.places.read().clone();
        self.connect_among(&places).await
    }

    async fn validate(&self, managed: &mut ManagedConnection) -> Result<(), PostgresConnectError> {
        if managed.wanted != TargetSessionAttrs::Any {
            return self.ask_role(managed).await;
        }
        let proof = clean::prove(&mut managed.connection).await;
        proof.map_err(|error| failure(&managed.place, ConnectStep::Open, error.into()))
    }

    fn release_check(&self, managed: &mut ManagedConnection) -> ReleaseCheck {
        let check = clean::look(managed);
        if check == ReleaseCheck::Clean && self.settings.reset_sql.is_some() {
            return ReleaseCheck::Dirty;
        }
        check
    }

    async fn recycle(&self, managed: &mut ManagedConnection) -> Result<(), PostgresConnectError> {
        let (place, backend) = (Arc::clone(&managed.place), Arc::clone(&managed.backend));
        let cleaned = clean::clean(
            managed,
            self.settings.cancel_after,
            || self.cancel(&place, &backend),
            self.settings.reset_sql.as_deref(),
        );
        cleaned
            .await
            .map_err(|error| failure(&place, ConnectStep::Open, error.into()))?;
        if managed.role_in_doubt {
            self.ask_role(managed).await?;
            managed.role_in_doubt = false;
        }
        Ok(())
    }

    async fn close(&self, mut managed: ManagedConnection) {
        if self.settings.cancel_after.is_some() && clean::is_busy(&mut managed) {
            // The server notices that its client has gone only when it next writes.
            let (place, backend) = (Arc::clone(&managed.place), Arc::clone(&managed.backend));
            let cancel = || self.cancel(&place, &backend);
            let end = async {
                // At once, also for a `COPY`, whose answer nobody counts.
                cancel().await?;
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
            ConnectCause::TimedOut(_) | ConnectCause::Session { .. } => ConnectFault::Transient,
            ConnectCause::LosesStatements(_) => ConnectFault::Permanent,
            // As long as one of them may yet do, it is worth another attempt.
            ConnectCause::Hosts(failures) => {
                let faults = failures.iter().map(|failure| self.classify(failure));
                faults
                    .reduce(|one, other| match (one, other) {
                        (ConnectFault::Permanent, other) => other,
                        (one, ConnectFault::Permanent) => one,
                        (ConnectFault::Saturated, other) => other,
                        (one, _) => one,
                    })
                    .unwrap_or(ConnectFault::Transient)
            }
        }
    }

    fn error_code(&self, error: &PostgresConnectError) -> Option<String> {
        let code = match &error.cause {
            ConnectCause::Sqlx(error) => sqlstate::code(error),
            ConnectCause::Other(error) => error
                .downcast_ref::<sqlx::Error>()
                .map_or("hook", sqlstate::code),
            ConnectCause::TimedOut(_) => "timeout",
            ConnectCause::Session { .. } => "session_attrs",
            ConnectCause::LosesStatements(_) => "statements",
            // Of the host that was tried last.
            ConnectCause::Hosts(failures) => {
                return failures.last().and_then(|error| self.error_code(error));
            }
        };
        Some(code.to_owned())
    }
}

/// Opens a connection that is not the pool's; `purpose` is what the server shows behind the name of
/// the pool.
async fn beside(options: PgConnectOptions, purpose: &str) -> Result<PgConnection, sqlx::Error> {
    let name = options.get_application_name().unwrap_or_default();
    let name = format!("{name} {purpose}");
    login(&options.application_name(&name)).await
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
            .field("address", &self.target().address())
            .finish_non_exhaustive()
    }
}
