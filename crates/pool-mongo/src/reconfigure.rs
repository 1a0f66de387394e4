//! Other servers, another user, another ceiling: a new client in place of the old one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mongodb::options::ConnectionString;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout_at};

use crate::backend::Backend;
use crate::builder::{MARGIN, checked, client_options};
use crate::config::{MongoConfig, Settings};
use crate::drain::{after, shut_down};
use crate::error::{MongoConnectError, MongoPoolError};
use crate::made::Made;
use crate::pool::{Inner, MongoPool};

/// How long the old client is given to end once its last lease is back.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Changes what a pool's client was created with; from [`MongoPool::reconfigure`].
#[must_use = "nothing changes until `apply`"]
pub struct MongoReconfigure {
    pool: MongoPool,
    uri: Option<SecretString>,
    ceiling: Option<u32>,
    config: Option<MongoConfig>,
    drain_within: Duration,
}

/// A reconfiguration whose new client is proven and warm; from [`MongoReconfigure::prepare`].
///
/// Dropped without [`take_over`](Self::take_over), the new client ends in the background and
/// nothing has changed.
#[must_use = "nothing changes until `take_over`"]
pub struct PreparedReconfigure {
    pool: MongoPool,
    /// The new client; none where the one in force will do.
    new: Option<(Arc<Backend>, SecretString)>,
    settings: Settings,
    began: Instant,
    _turn: OwnedSemaphorePermit,
}

/// What a reconfiguration did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MongoReconfigureReport {
    /// The servers of the new client, as the URI names them.
    pub hosts: String,
    /// Sockets that the new client had open when it took over.
    pub sockets: u32,
    /// Leases of the old client that were still held when the time to drain was over. They go on
    /// working; the old client ends with the last of them.
    pub old_leases: u32,
    /// How long it took until the new client served.
    pub elapsed: Duration,
}

/// The new client cannot take over; the old one goes on serving.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReconfigureError {
    /// The settings are malformed or contradict each other.
    Settings(MongoPoolError),
    /// The new client could not be used.
    Connect(MongoConnectError),
    /// The new client did not open the minimum within `acquire_timeout`.
    #[non_exhaustive]
    Warmup {
        /// The name of the pool.
        pool: String,
        /// How many sockets were wanted.
        wanted: u32,
        /// How many were open.
        open: u32,
    },
    /// The pool is closed.
    #[non_exhaustive]
    Closed {
        /// The name of the pool.
        pool: String,
    },
}

impl MongoPool {
    /// Begins to replace the client below the pool: other credentials, hosts or TLS by another
    /// URI, or another ceiling. Everything else stays, also the name of the database.
    ///
    /// The new client is built, proven and warmed first; then it takes over in one step; then the
    /// old one ends as its leases come back. Where any of the first steps fails, the old client
    /// goes on serving as if nothing had happened.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(pool: pool_mongo::MongoPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let report = pool
    ///     .reconfigure()
    ///     .uri("mongodb://app:new-password@db.example/?replicaSet=rs0")
    ///     .apply()
    ///     .await?;
    /// println!("{report}");
    /// # Ok(())
    /// # }
    /// ```
    pub fn reconfigure(&self) -> MongoReconfigure {
        MongoReconfigure {
            pool: self.clone(),
            uri: None,
            ceiling: None,
            config: None,
            drain_within: Duration::ZERO,
        }
    }
}

impl MongoReconfigure {
    /// The new connection string. Defaults to the one in force.
    pub fn uri(mut self, uri: impl Into<SecretString>) -> Self {
        self.uri = Some(uri.into());
        self
    }

    /// The new ceiling. Defaults to the one in force.
    pub const fn ceiling(mut self, sockets: u32) -> Self {
        self.ceiling = Some(sockets);
        self
    }

    /// Everything in `config` but its name, its database and its sizes. Where nothing of it
    /// concerns the client, as with `acquire_timeout`, the client in force stays.
    pub fn config(mut self, config: MongoConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// How long to wait for the leases of the old client before returning. Defaults to no time:
    /// the old client ends in the background.
    pub const fn drain_within(mut self, time: Duration) -> Self {
        self.drain_within = time;
        self
    }

    /// Builds, warms, swaps and drains.
    ///
    /// While both clients live, a server may have the ceilings of both, and monitors twice.
    ///
    /// # Errors
    ///
    /// Settings that contradict each other, a server that cannot be reached or turns the user
    /// down, a minimum that is not open within `acquire_timeout`, a closed pool. The old client
    /// goes on serving.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: either the new client has taken over or it does not exist. Two that run at
    /// once take effect one after the other.
    pub async fn apply(self) -> Result<MongoReconfigureReport, ReconfigureError> {
        let drain_within = self.drain_within;
        let (mut report, old) = self.prepare().await?.swap();
        if let Some(old) = old {
            let drained = timeout_at(after(drain_within), old.unused());
            let _ = drained.await;
            report.old_leases = old.leases.count();
        }
        Ok(report)
    }

    /// Builds and warms, so that nothing can go wrong any more when
    /// [`take_over`](PreparedReconfigure::take_over) swaps. Until then no other reconfiguration of
    /// this pool can begin.
    ///
    /// # Errors
    ///
    /// As [`apply`](Self::apply).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing has changed.
    pub async fn prepare(self) -> Result<PreparedReconfigure, ReconfigureError> {
        let began = Instant::now();
        let inner = &self.pool.inner;
        let closed = || ReconfigureError::Closed {
            pool: inner.engine.name().to_owned(),
        };
        let turn = Arc::clone(&inner.reconfiguring).acquire_owned().await;
        let turn = turn.map_err(|_closed| closed())?;
        if inner.engine.is_closed() {
            return Err(closed());
        }
        let in_force = inner.uri.lock().clone();
        let before = current_settings(inner, None);
        let mut settings = current_settings(inner, self.ceiling);
        let mut uri = self.uri;
        let mut may_stay = false;
        if let Some(config) = self.config {
            uri.get_or_insert_with(|| config.uri.clone());
            let given = config.ceiling;
            let wanted = config.into_builder().settings;
            // Room that nobody has asked for is no reason for another client.
            settings.ceiling = given.or_else(|| before.ceiling.max(Some(wanted.ceiling())));
            settings.made = wanted.made;
            settings.dynamic = wanted.dynamic;
            settings.limits = wanted.limits;
            settings.acquire_timeout = wanted.acquire_timeout;
            settings.connect_timeout = wanted.connect_timeout;
            settings.idle_timeout = wanted.idle_timeout;
            settings.leak_threshold = wanted.leak_threshold;
            settings.max_connecting = wanted.max_connecting;
            settings.max_waiters = wanted.max_waiters;
            may_stay = true;
        }
        let uri = uri.unwrap_or_else(|| in_force.clone());
        let (parsed, mut settings) = checked(uri.expose_secret(), settings)?;
        // The engine's sizing is not touched here: `config` says so.
        settings.dynamic = None;
        let same_client = may_stay
            && uri.expose_secret() == in_force.expose_secret()
            && settings.ceiling == before.ceiling
            && settings.connect_timeout == before.connect_timeout
            && settings.idle_timeout == before.idle_timeout
            && settings.max_connecting == before.max_connecting;
        let new = if same_client {
            None
        } else {
            Some((prepared(parsed, &settings, inner.floor()).await?, uri))
        };
        Ok(PreparedReconfigure {
            pool: self.pool,
            new,
            settings,
            began,
            _turn: turn,
        })
    }
}

impl PreparedReconfigure {
    /// Whether there is a new client.
    #[must_use]
    pub const fn replaces_the_client(&self) -> bool {
        self.new.is_some()
    }

    /// Swaps: from now on leases are the new client's, and the old one ends as its leases come
    /// back.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    #[allow(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn take_over(self) -> MongoReconfigureReport {
        self.swap().0
    }

    fn swap(mut self) -> (MongoReconfigureReport, Option<Arc<Backend>>) {
        let inner = &self.pool.inner;
        let Settings {
            acquire_timeout,
            idle_timeout,
            leak_threshold,
            max_waiters,
            ..
        } = self.settings;
        let mut of_leases = inner.engine.runtime_settings();
        of_leases.acquire_timeout = acquire_timeout;
        of_leases.connect_timeout = self.settings.proof_timeout() + MARGIN;
        of_leases.idle_timeout = idle_timeout;
        of_leases.leak_threshold = leak_threshold;
        of_leases.max_waiters = max_waiters;
        let tuned = inner.engine.set_runtime_settings(of_leases);
        tuned.expect("the settings have been checked");
        let mut settings = self.settings.clone();
        // Room for growth that nobody asked for is not a setting.
        settings.ceiling = inner.settings().ceiling.and(settings.ceiling);
        inner.set_settings(settings);
        let old = self.new.take().map(|(new, uri)| {
            let old = inner.take_over(Arc::clone(&new), uri);
            inner.tasks.spawn(end(Arc::clone(&old)));
            if inner.engine.is_closed() {
                // Closed meanwhile, perhaps before the new client could be seen.
                inner.tasks.spawn(end(new));
            }
            old
        });
        let current = inner.backend();
        let report = MongoReconfigureReport {
            hosts: current.hosts().to_owned(),
            sockets: current.open_now(),
            old_leases: old.as_ref().map_or(0, |old| old.leases.count()),
            elapsed: self.began.elapsed(),
        };
        (report, old)
    }
}

impl Drop for PreparedReconfigure {
    fn drop(&mut self) {
        let Some((new, _)) = self.new.take() else {
            return;
        };
        if tokio::runtime::Handle::try_current().is_ok() {
            self.pool.inner.tasks.spawn(end(new));
        }
    }
}

/// The settings that the new client has to fit.
fn current_settings(inner: &Inner, ceiling: Option<u32>) -> Settings {
    let limits = inner.engine.limits();
    let mut settings = inner.settings();
    settings.limits = (limits.min(), limits.max());
    settings.dynamic = None;
    settings.made = settings
        .made
        .and(Made::RUNNING)
        .and(Made::MAX)
        .and_if(ceiling.is_some(), Made::CEILING);
    settings.ceiling = Some(ceiling.unwrap_or_else(|| inner.backend().ceiling));
    settings
}

/// A client that is ready to take over. One that is not is ended.
async fn prepared(
    uri: ConnectionString,
    settings: &Settings,
    wanted: u32,
) -> Result<Arc<Backend>, ReconfigureError> {
    let new = Backend::connect(client_options(uri, settings).await?, settings)?;
    let warm = async {
        new.prove().await?;
        new.open_sockets(wanted).await
    };
    let outcome = match tokio::time::timeout(settings.acquire_timeout, warm).await {
        Ok(Ok(())) => return Ok(new),
        Ok(Err(error)) => ReconfigureError::Connect(error),
        Err(_elapsed) => ReconfigureError::Warmup {
            pool: settings.name.to_string(),
            wanted,
            open: new.open_now(),
        },
    };
    shut_down(&new.client, false, Instant::now() + END_WITHIN).await;
    Err(outcome)
}

/// Ends a client that has been replaced, once its last lease is back.
async fn end(old: Arc<Backend>) {
    old.unused().await;
    let (_, ended) = shut_down(&old.client, true, Instant::now() + END_WITHIN).await;
    if !ended {
        tracing::warn!(hosts = old.hosts(), "a replaced client did not end in time");
    }
}

impl Inner {
    /// Puts `new` in the place of the client in force, which it returns.
    fn take_over(&self, new: Arc<Backend>, uri: SecretString) -> Arc<Backend> {
        *self.uri.lock() = uri;
        let old = self.engine.manager().replace(new);
        // Leases that are idle now, or being opened, are the old client's, and so are failures.
        self.engine.start_over();
        old.watch.changed.notify_one();
        old.replaced.cancel();
        old
    }
}

impl From<MongoPoolError> for ReconfigureError {
    fn from(error: MongoPoolError) -> Self {
        Self::Settings(error)
    }
}

impl fmt::Display for ReconfigureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Settings(error) => error.fmt(f),
            Self::Connect(error) => write!(f, "the new client cannot be used: {error}"),
            Self::Warmup { pool, wanted, open } => write!(
                f,
                "pool `{pool}`: the new client opened {open} of {wanted} sockets in time"
            ),
            Self::Closed { pool } => write!(f, "pool `{pool}`: the pool is closed"),
        }
    }
}

impl std::error::Error for ReconfigureError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Settings(error) => error.source(),
            Self::Connect(error) => error.source(),
            Self::Warmup { .. } | Self::Closed { .. } => None,
        }
    }
}

impl fmt::Display for MongoReconfigureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hosts,
            sockets,
            old_leases,
            elapsed,
        } = self;
        write!(
            f,
            "{hosts} serves after {elapsed:.1?} with {sockets} sockets"
        )?;
        match old_leases {
            0 => Ok(()),
            leases => write!(f, "; {leases} leases of the old client are still held"),
        }
    }
}

impl fmt::Debug for PreparedReconfigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedReconfigure")
            .field("pool", &self.pool)
            .field("replaces_the_client", &self.replaces_the_client())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for MongoReconfigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoReconfigure")
            .field("pool", &self.pool)
            .field("ceiling", &self.ceiling)
            .field("drain_within", &self.drain_within)
            .finish_non_exhaustive()
    }
}
