//! Other servers, another user, another ceiling: a new client in place of the old one.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{Instant, timeout_at};

use crate::backend::Backend;
use crate::builder::{checked, client_options};
use crate::config::Settings;
use crate::drain::shut_down;
use crate::error::{MongoConnectError, MongoPoolError};
use crate::pool::{Inner, MongoPool};

/// How long the old client is given to end once its last lease is back.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Changes what a pool's client was created with; from [`MongoPool::reconfigure`].
#[must_use = "nothing changes until `apply`"]
pub struct MongoReconfigure {
    pool: MongoPool,
    uri: Option<SecretString>,
    ceiling: Option<u32>,
    drain_within: Duration,
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
        let began = Instant::now();
        let inner = &self.pool.inner;
        let _turn = inner.reconfiguring.acquire().await;
        if inner.engine.is_closed() {
            let pool = inner.engine.name().to_owned();
            return Err(ReconfigureError::Closed { pool });
        }
        let uri = self.uri.unwrap_or_else(|| inner.uri.lock().clone());
        let settings = current_settings(inner, self.ceiling);
        let new = prepared(&uri, settings, inner.floor()).await?;
        let old = inner.take_over(Arc::clone(&new), uri);
        let elapsed = began.elapsed();
        inner.tasks.spawn(end(Arc::clone(&old)));
        if inner.engine.is_closed() {
            // Closed meanwhile, perhaps before the new client could be seen.
            inner.tasks.spawn(end(Arc::clone(&new)));
        }
        let drained = timeout_at(Instant::now() + self.drain_within, old.unused());
        let _ = drained.await;
        Ok(MongoReconfigureReport {
            hosts: new.hosts().to_owned(),
            sockets: new.open_now(),
            old_leases: old.leases.count(),
            elapsed,
        })
    }
}

/// The settings that the new client has to fit.
fn current_settings(inner: &Inner, ceiling: Option<u32>) -> Settings {
    let limits = inner.engine.limits();
    let mut settings = inner.settings.clone();
    settings.limits = (limits.min(), limits.max());
    settings.dynamic = None;
    settings.ceiling = Some(ceiling.unwrap_or_else(|| inner.backend().ceiling));
    settings
}

/// A client that is ready to take over. One that is not is ended.
async fn prepared(
    uri: &SecretString,
    settings: Settings,
    wanted: u32,
) -> Result<Arc<Backend>, ReconfigureError> {
    let (parsed, settings) = checked(uri.expose_secret(), settings)?;
    let new = Backend::connect(client_options(parsed, &settings).await?, &settings)?;
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
        // Leases that are idle now, or being opened, are the old client's.
        self.engine.soft_evict();
        old.watch.changed.notify_one();
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

impl fmt::Debug for MongoReconfigure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoReconfigure")
            .field("pool", &self.pool)
            .field("ceiling", &self.ceiling)
            .field("drain_within", &self.drain_within)
            .finish_non_exhaustive()
    }
}
