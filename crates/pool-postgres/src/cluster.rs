//! A primary for writes and its replicas for reads.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use pool_core::DrainReport;
use sqlx::{Error, PgConnection};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::builder::PostgresPoolBuilder;
use crate::error::PostgresConfigError;
use crate::lag::{Written, state};
use crate::target::Target;
use crate::{PostgresPool, TargetSessionAttrs, url};

/// A primary and its replicas, each behind a pool of its own.
///
/// What runs where is said by the caller: [`write`](Self::write) is a pool whose servers can write,
/// [`read`](Self::read) one that is close enough behind. No statement is parsed to find that out.
///
/// **Failover.** The pool for writes knows the replicas as well. When the primary has gone, or says
/// that it is read-only (25006), its connections are replaced by ones to whichever host can write by
/// then; no restart, no new URL.
///
/// **Lag.** Tasks ask each replica how far it has come, and the primary how far it has written, every
/// [`check_interval`](PostgresClusterBuilder::check_interval), over one connection beside each pool,
/// which the server shows as `<application_name> watch`. A replica that does not answer, or lacks what
/// was written more than [`max_lag`](PostgresClusterBuilder::max_lag) ago, is not read from until it
/// has caught up: also one that the network has parted from its primary without a word, as soon as
/// that has written on.
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
/// use pool_postgres::PostgresCluster;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let cluster = PostgresCluster::builder("postgres://app:secret@one.example/market")?
///     .replica("two.example", 5432)
///     .replica("three.example", 5432)
///     .max_lag(Duration::from_secs(2))
///     .each_pool(|pool| pool.limits(2, 20))
///     .build()?;
/// sqlx::query("insert into prices values ('AAPL', 159.54)").execute(cluster.write()).await?;
/// let prices: i64 = sqlx::query_scalar("select count(*) from prices")
///     .fetch_one(cluster.read())
///     .await?;
/// # let _ = prices;
/// cluster.close(Duration::from_secs(5)).await;
/// # Ok(())
/// # }
/// ```
pub struct PostgresCluster {
    primary: PostgresPool,
    replicas: Vec<Arc<Replica>>,
    turn: AtomicUsize,
    watches: Vec<JoinHandle<()>>,
}

/// A replica with what is known of it.
struct Replica {
    pool: PostgresPool,
    max_lag: Duration,
    written: Arc<Written>,
    seen: Mutex<ReplicaState>,
}

/// What a replica was when it was last asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplicaState {
    /// It has not been asked yet, and is not read from.
    Unknown,
    /// It follows, and is behind by this much.
    Follows(Duration),
    /// It has lost its primary: how far it is behind is not known.
    Alone,
    /// It has been promoted: it is behind nobody.
    Promoted,
    /// It does not answer; why.
    Away(Arc<str>),
}

impl ReplicaState {
    fn is_fit(&self, max_lag: Duration) -> bool {
        match self {
            Self::Follows(lag) => *lag <= max_lag,
            Self::Promoted => true,
            Self::Unknown | Self::Alone | Self::Away(_) => false,
        }
    }
}

/// One line of [`PostgresCluster::replicas`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// `host:port/database`.
    pub address: String,
    /// What it was when it was last asked.
    pub state: ReplicaState,
    /// Whether [`PostgresCluster::read`] may choose it.
    pub is_read_from: bool,
}

impl PostgresCluster {
    /// Begins a cluster over the URL of its primary; see [`PostgresPool::builder`].
    ///
    /// # Errors
    ///
    /// As [`PostgresPool::builder`].
    pub fn builder(primary: &str) -> Result<PostgresClusterBuilder, PostgresConfigError> {
        match url::parse(primary) {
            Ok(target) => Ok(PostgresClusterBuilder {
                primary: target,
                replicas: Vec::new(),
                name: None,
                max_lag: Duration::from_secs(10),
                check_interval: Duration::from_secs(1),
                each_pool: Box::new(|pool| pool),
            }),
            Err(problem) => Err(PostgresConfigError::new("postgres", vec![problem.into()])),
        }
    }

    /// The pool for writes, and for reads that must see them.
    #[must_use]
    pub const fn write(&self) -> &PostgresPool {
        &self.primary
    }

    /// A pool for reads: of the replicas that are close enough behind, the one with the fewest
    /// callers; the pool for writes when there is none.
    ///
    /// Ask again for each operation: what it gives changes with the replicas' state.
    #[must_use]
    pub fn read(&self) -> &PostgresPool {
        let count = self.replicas.len();
        // Among equals each has its turn.
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        (0..count)
            .map(|n| &self.replicas[(turn.wrapping_add(n)) % count])
            .filter(|replica| replica.is_fit())
            .min_by_key(|replica| {
                let counts = replica.pool.counts();
                counts.active + counts.waiting
            })
            .map_or(&self.primary, |replica| &replica.pool)
    }

    /// What is known of each replica.
    #[must_use]
    pub fn replicas(&self) -> Vec<ReplicaStatus> {
        self.replicas
            .iter()
            .map(|replica| {
                let state = replica.seen.lock().clone();
                ReplicaStatus {
                    address: replica.pool.address(),
                    is_read_from: state.is_fit(replica.max_lag),
                    state,
                }
            })
            .collect()
    }

    /// The pools: that for writes, then one for each replica.
    pub fn pools(&self) -> impl Iterator<Item = &PostgresPool> {
        std::iter::once(&self.primary).chain(self.replicas.iter().map(|replica| &replica.pool))
    }

    /// Closes all pools at once, as [`PostgresPool::close`] does; a report for each, in the order
    /// of [`pools`](Self::pools).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the pools stay closed and go on closing their connections.
    pub async fn close(&self, deadline: Duration) -> Vec<DrainReport> {
        for watch in &self.watches {
            watch.abort();
        }
        join_all(self.pools().map(|pool| pool.close(deadline))).await
    }
}

impl Drop for PostgresCluster {
    fn drop(&mut self) {
        for watch in &self.watches {
            watch.abort();
        }
    }
}

impl fmt::Debug for PostgresCluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresCluster")
            .field("primary", &self.primary)
            .field("replicas", &self.replicas())
            .finish_non_exhaustive()
    }
}

impl Replica {
    fn is_fit(&self) -> bool {
        self.seen.lock().is_fit(self.max_lag)
    }

    /// Asks again and again how far it is behind; each answer has as long as there is between two.
    async fn watch(&self, interval: Duration) {
        let mut beside = None;
        let mut ticks = tokio::time::interval(interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // Out of its place while it is used: dropped in the middle, it is not used again.
            let used = beside.take();
            let within = interval.max(Duration::from_secs(1));
            let state = match tokio::time::timeout(within, self.ask(used)).await {
                Ok(Ok((connection, state))) => {
                    beside = Some(connection);
                    state
                }
                Ok(Err(error)) => ReplicaState::Away(error.to_string().into()),
                Err(_elapsed) => ReplicaState::Away("no answer in time".into()),
            };
            self.learn(state);
        }
    }

    async fn ask(
        &self,
        beside: Option<PgConnection>,
    ) -> Result<(PgConnection, ReplicaState), Error> {
        let mut connection = match beside {
            Some(connection) => connection,
            None => {
                let manager = self.pool.engine().manager();
                manager.connect_to_watch(&manager.options()).await?
            }
        };
        let state = state(&mut connection, &self.written).await?;
        Ok((connection, state))
    }

    fn learn(&self, state: ReplicaState) {
        let mut seen = self.seen.lock();
        let (was, is) = (seen.is_fit(self.max_lag), state.is_fit(self.max_lag));
        if was != is {
            let (replica, fit) = (self.pool.address(), is);
            tracing::info!(
                replica,
                ?state,
                fit,
                "whether the replica is read from has changed"
            );
        }
        *seen = state;
    }
}

type EachPool = Box<dyn Fn(PostgresPoolBuilder) -> PostgresPoolBuilder + Send>;

/// Builds a [`PostgresCluster`].
#[must_use = "a builder does nothing until `build`"]
pub struct PostgresClusterBuilder {
    primary: Target,
    replicas: Vec<(String, u16)>,
    name: Option<String>,
    max_lag: Duration,
    check_interval: Duration,
    each_pool: EachPool,
}

impl PostgresClusterBuilder {
    /// A replica; user, database, TLS and all else are as for the primary.
    pub fn replica(mut self, host: impl Into<String>, port: u16) -> Self {
        self.replicas.push((host.into(), port));
        self
    }

    /// What the names of the pools begin with: `<name> primary`, `<name> replica 1`, and so on.
    /// Defaults to the address of the primary.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How far behind a replica may be to be read from. Defaults to 10 s.
    pub const fn max_lag(mut self, lag: Duration) -> Self {
        self.max_lag = lag;
        self
    }

    /// How often each replica is asked, and how long it has for an answer, though never less than
    /// 1 s. Defaults to 1 s.
    pub const fn check_interval(mut self, interval: Duration) -> Self {
        self.check_interval = interval;
        self
    }

    /// Settings of each pool: limits, timeouts, listeners, credentials. Called once for each.
    pub fn each_pool(
        mut self,
        settings: impl Fn(PostgresPoolBuilder) -> PostgresPoolBuilder + Send + 'static,
    ) -> Self {
        self.each_pool = Box::new(settings);
        self
    }

    /// Checks the settings and builds the cluster, without I/O. Replicas are read from once they
    /// have said how far they are behind.
    ///
    /// # Errors
    ///
    /// Settings of a pool that contradict each other, or no tokio runtime.
    ///
    /// # Panics
    ///
    /// When the check interval is zero.
    pub fn build(self) -> Result<PostgresCluster, PostgresConfigError> {
        assert!(!self.check_interval.is_zero(), "the check interval is zero");
        let name = self.name.unwrap_or_else(|| self.primary.address());
        let replicas = self.replicas.iter();
        let replicas: Vec<_> = replicas
            .map(|(host, port)| self.primary.another(host, *port))
            .collect();
        let mut writers = self.primary;
        writers.hosts.extend(replicas.iter().cloned());
        writers.attrs = TargetSessionAttrs::ReadWrite;
        // What watches a pool runs where the pool runs; without a runtime there is no pool.
        let pool = |target: Target, name: String| {
            let builder = (self.each_pool)(PostgresPoolBuilder::new(target).name(name));
            let runtime = builder.runtime_given();
            let pool = builder.build()?;
            Ok::<_, PostgresConfigError>((pool, runtime.unwrap_or_else(Handle::current)))
        };
        let interval = self.check_interval;
        let (primary, runtime) = pool(writers, format!("{name} primary"))?;
        let written = Arc::new(Written::default());
        let mut watches = Vec::new();
        let mut watched = Vec::new();
        for (options, n) in replicas.into_iter().zip(1..) {
            let (pool, runtime) = pool(options.into(), format!("{name} replica {n}"))?;
            let replica = Arc::new(Replica {
                pool,
                max_lag: self.max_lag,
                written: Arc::clone(&written),
                seen: Mutex::new(ReplicaState::Unknown),
            });
            watched.push(Arc::clone(&replica));
            watches.push((runtime, replica));
        }
        // Only now, when nothing can fail any more, does anything run.
        let watches = watches
            .into_iter()
            .map(|(runtime, replica)| runtime.spawn(async move { replica.watch(interval).await }));
        let mut watches: Vec<_> = watches.collect();
        if !watched.is_empty() {
            let primary = primary.clone();
            watches.push(runtime.spawn(async move { written.follow(primary, interval).await }));
        }
        Ok(PostgresCluster {
            primary,
            watches,
            replicas: watched,
            turn: AtomicUsize::new(0),
        })
    }
}

impl fmt::Debug for PostgresClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresClusterBuilder")
            .field("primary", &self.primary.address())
            .field("replicas", &self.replicas)
            .field("max_lag", &self.max_lag)
            .finish_non_exhaustive()
    }
}
