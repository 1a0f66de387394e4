//! From settings to a pool that runs.

use std::time::Duration;

use mongodb::options::{ClientOptions, ConnectionString, DriverInfo};
use pool_core::{
    ConnectionEvents, DynamicPoolConfig, DynamicSizing as _, Liveness, Pool, PoolBuilder,
};
use secrecy::{ExposeSecret as _, SecretString};

use crate::backend::{Backend, HEARTBEAT};
use crate::config::{Settings, database_problem};
use crate::error::{MongoPoolError, SettingProblem};
use crate::made::Made;
use crate::manager::MongoManager;
use crate::pool::MongoPool;
use crate::uri;

/// Leases are tokens, so opening one costs nothing once the server is proven.
const LEASES_AT_ONCE: u32 = 64;

/// The engine's own bound on an attempt is a net under the attempt's own, which knows the cause.
pub(crate) const MARGIN: Duration = Duration::from_secs(1);

/// Something done to the engine's builder.
type Step = Box<dyn FnOnce(PoolBuilder<MongoManager>) -> PoolBuilder<MongoManager> + Send>;

/// Builds a [`MongoPool`]; from [`MongoPool::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct MongoPoolBuilder {
    uri: SecretString,
    pub(crate) settings: Settings,
    steps: Vec<Step>,
}

impl MongoPoolBuilder {
    pub(crate) fn new(uri: impl Into<SecretString>) -> Self {
        Self {
            uri: uri.into(),
            settings: Settings::default(),
            steps: Vec::new(),
        }
    }

    /// The name in errors, events, metrics and logs, and the `appName` that the server sees unless
    /// the URI gives one. Defaults to `default`.
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        self.settings.name = name.as_ref().into();
        self
    }

    /// The database that a lease stands for. Defaults to the one in the URI.
    pub fn database(mut self, name: impl Into<String>) -> Self {
        self.settings.database = Some(name.into());
        self
    }

    /// How many leases, and sockets, are kept without demand, and how many leases there are at
    /// the most. Defaults to 0 and 10.
    pub const fn limits(mut self, min: u32, max: u32) -> Self {
        self.settings.limits = (min, max);
        self.settings.made = self.settings.made.and(Made::MIN.and(Made::MAX));
        self
    }

    /// The most sockets to one server, whatever the limits become: the driver's `maxPoolSize`,
    /// which cannot change while it runs. Defaults to 100, or to the largest maximum among the
    /// settings if that is more.
    pub const fn ceiling(mut self, sockets: u32) -> Self {
        self.settings.ceiling = Some(sockets);
        self.settings.made = self.settings.made.and(Made::CEILING);
        self
    }

    /// How long a caller waits for a lease, all steps together. Defaults to 30 s.
    ///
    /// The driver's server selection, which an operation goes through after that, is given no
    /// longer than this.
    pub const fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.settings.acquire_timeout = timeout;
        self.settings.made = self.settings.made.and(Made::ACQUIRE_TIMEOUT);
        self
    }

    /// How long one attempt to reach the server may take, and to connect one socket. Defaults to
    /// 5 s. An attempt on behalf of callers takes at most four fifths of `acquire_timeout`, so
    /// that they learn its cause.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self.settings.made = self.settings.made.and(Made::CONNECT_TIMEOUT);
        self
    }

    /// How long leases and sockets above the minimum stay idle: the driver's `maxIdleTimeMS`;
    /// `None` for ever. Defaults to 60 s.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = timeout.into();
        self.settings.made = self.settings.made.and(Made::IDLE_TIMEOUT);
        self
    }

    /// How many sockets to one server may be being opened at once: the driver's `maxConnecting`.
    /// Defaults to 4.
    pub const fn max_connecting(mut self, sockets: u32) -> Self {
        self.settings.max_connecting = sockets;
        self.settings.made = self.settings.made.and(Made::MAX_CONNECTING);
        self
    }

    /// How many callers may wait; the next one is refused at once. Defaults to no bound.
    pub const fn max_waiters(mut self, waiters: u32) -> Self {
        self.settings.max_waiters = Some(waiters);
        self
    }

    /// How long a lease may be held before it is reported, once, with the line that acquired it;
    /// `None`, the default, for ever.
    pub fn leak_threshold(mut self, threshold: impl Into<Option<Duration>>) -> Self {
        self.settings.leak_threshold = threshold.into();
        self
    }

    /// Makes a database that does not exist an error of the first attempt to reach the server.
    /// Defaults to false: MongoDB creates a database with its first document, so a misspelt name
    /// is otherwise noticed by nobody.
    pub const fn require_database(mut self, required: bool) -> Self {
        self.settings.require_database = required;
        self
    }

    /// How many leases of its maximum the pool may use from the start; see
    /// [`MongoPool::set_allowance`]. Defaults to all of them.
    pub fn allowance(mut self, leases: u32) -> Self {
        self.steps
            .push(Box::new(move |engine| engine.allowance(leases)));
        self
    }

    /// Adds a listener for the life of leases. See [`pool_core::EventHandlers`] for closures.
    pub fn events(mut self, listener: impl ConnectionEvents) -> Self {
        self.steps.push(Box::new(|engine| engine.events(listener)));
        self
    }

    /// Sizes the pool by load from the start. The configuration's sizes take the place of
    /// [`limits`](Self::limits).
    pub const fn dynamic(mut self, config: DynamicPoolConfig) -> Self {
        self.settings.dynamic = Some(config);
        self
    }

    /// Checks the settings and builds the pool.
    ///
    /// Nothing is asked of the server here; only the name in a `mongodb+srv://` URI is resolved.
    /// The minimum is opened in the background; [`MongoPool::warmup_pool`] waits for it.
    ///
    /// # Errors
    ///
    /// Settings that are malformed or contradict each other or the URI, all of them together; what
    /// the driver does not accept. The password is in none of them.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: the driver needs one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a pool that is not returned does not exist.
    pub async fn build(self) -> Result<MongoPool, MongoPoolError> {
        let (engine, settings, uri) = self.prepared().await?;
        let engine = engine.build()?;
        if let Some(dynamic) = settings.dynamic {
            engine
                .set_dynamic_pool_config(dynamic)
                .expect("the configuration has been validated");
        }
        Ok(MongoPool::start(engine, settings, uri))
    }

    /// The engine's own builder with these settings, for code that builds any pool. What it
    /// builds is a [`Pool`] of bare leases: nobody opens or keeps the minimum of sockets, evicts
    /// leases when the driver distrusts a server, or puts [`dynamic`](Self::dynamic) in force.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime: the driver needs one.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a client that is not returned does not exist.
    pub async fn into_engine(self) -> Result<PoolBuilder<MongoManager>, MongoPoolError> {
        let (engine, ..) = self.prepared().await?;
        Ok(engine)
    }

    /// Checks the settings and makes the client.
    async fn prepared(
        self,
    ) -> Result<(PoolBuilder<MongoManager>, Settings, SecretString), MongoPoolError> {
        let Self {
            uri,
            settings,
            steps,
        } = self;
        let (parsed, mut settings) = checked(uri.expose_secret(), settings)?;
        if let Some(dynamic) = settings.dynamic {
            settings.limits = (dynamic.min_size, dynamic.max_size);
        }
        let backend = Backend::connect(client_options(parsed, &settings).await?, &settings)?;
        let (min, max) = settings.limits;
        let mut engine = Pool::builder(MongoManager::new(backend))
            .name(&settings.name)
            .limits(min, max)
            .acquire_timeout(settings.acquire_timeout)
            .connect_timeout(settings.proof_timeout() + MARGIN)
            .idle_timeout(settings.idle_timeout)
            .leak_threshold(settings.leak_threshold)
            .max_connecting(LEASES_AT_ONCE)
            .max_lifetime(None)
            .liveness(Liveness::Never);
        if let Some(waiters) = settings.max_waiters {
            engine = engine.max_waiters(waiters);
        }
        let engine = steps.into_iter().fold(engine, |engine, step| step(engine));
        Ok((engine, settings, uri))
    }
}

impl std::fmt::Debug for MongoPoolBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoPoolBuilder")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Reads the URI, completes the settings from it, and reports everything that is wrong at once.
pub(crate) fn checked(
    uri: &str,
    mut settings: Settings,
) -> Result<(ConnectionString, Settings), MongoPoolError> {
    let mut problems = Vec::new();
    let parsed = match uri::parse(uri) {
        Ok(parsed) => {
            problems.extend(uri::settle(&parsed, &mut settings));
            settings.fit_defaults();
            problems.extend(settings.problems());
            if settings.database.is_none() {
                settings.database.clone_from(&parsed.default_database);
                match &settings.database {
                    Some(name) => problems.extend(database_problem(name)),
                    None => problems.push(SettingProblem::NoDatabase),
                }
            }
            Some(parsed)
        }
        Err(problem) => {
            problems.push(problem.into());
            problems.extend(settings.problems());
            None
        }
    };
    match parsed {
        Some(parsed) if problems.is_empty() => Ok((parsed, settings)),
        _ => Err(MongoPoolError::Settings {
            pool: settings.name.to_string(),
            problems,
        }),
    }
}

/// The driver's options: what the URI says, and the sizes and times that are ours.
pub(crate) async fn client_options(
    uri: ConnectionString,
    settings: &Settings,
) -> Result<ClientOptions, MongoPoolError> {
    let parsing = async { ClientOptions::parse(uri).await };
    let after = settings.acquire_timeout;
    let mut options = match tokio::time::timeout(after, parsing).await {
        Ok(parsed) => parsed.map_err(|error| MongoPoolError::Driver {
            pool: settings.name.to_string(),
            message: error.kind.to_string(),
        })?,
        Err(_elapsed) => {
            return Err(MongoPoolError::Lookup {
                pool: settings.name.to_string(),
                after,
            });
        }
    };
    options.max_pool_size = Some(settings.ceiling());
    // The minimum is kept by the pool, because the driver's own cannot change.
    options.min_pool_size = None;
    options.max_connecting = Some(settings.max_connecting);
    // Zero is the driver's word for never.
    options.max_idle_time = Some(settings.idle_timeout.unwrap_or_default());
    options.connect_timeout = Some(settings.connect_timeout);
    let selection = &mut options.server_selection_timeout;
    let most = settings.acquire_timeout;
    *selection = Some(selection.unwrap_or(Duration::from_secs(30)).min(most));
    let heartbeat = &mut options.heartbeat_freq;
    *heartbeat = Some(heartbeat.unwrap_or(HEARTBEAT));
    if options.app_name.is_none() {
        options.app_name = Some(settings.name.to_string());
    }
    let info = DriverInfo::builder()
        .name(env!("CARGO_PKG_NAME"))
        .version(env!("CARGO_PKG_VERSION").to_owned());
    options.driver_info = Some(info.build());
    Ok(options)
}
