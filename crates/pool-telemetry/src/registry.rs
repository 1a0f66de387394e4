//! The pools that are watched.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pool_core::{Histograms, PoolControl, PoolMetrics, PoolSnapshot, ServerState};

/// Over how long utilisation is averaged, at least.
const WINDOW: Duration = Duration::from_secs(10);

/// The pools that are watched, of any kind.
///
/// Cheap to clone: clones are the same registry. It holds a handle to each pool, so a registered
/// pool is not closed by dropping all others: [`unregister`](Self::unregister) it, or close it.
/// A closed pool is shown as closed until it is unregistered or another one of its name comes.
///
/// # Example
///
/// ```
/// # use pool_core::{ConnectionManager, Pool};
/// # fn example<M: ConnectionManager>(orders: &Pool<M>) -> Result<(), pool_telemetry::NameTaken> {
/// let registry = pool_telemetry::Registry::new();
/// registry.register(orders.clone())?;
/// for reading in registry.read() {
///     println!("{}: {:.0} %", reading.name(), 100.0 * reading.utilisation());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Registry {
    pools: Arc<Mutex<Pools>>,
}

#[derive(Default)]
struct Pools {
    registered: u64,
    watched: Vec<Arc<Watched>>,
}

/// A pool of the registry.
pub(crate) struct Watched {
    /// Another one for each registration.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "only listeners ask"))]
    pub(crate) id: u64,
    /// The name under which it is shown.
    pub(crate) name: String,
    pub(crate) pool: Arc<dyn PoolControl>,
    usage: Mutex<Usage>,
}

/// The readings from which utilisation is computed.
#[derive(Clone, Copy, Debug)]
struct Usage {
    /// The beginning of the window: in use and open, integrated until then.
    from: (Instant, f64, f64),
    /// Where the next window begins.
    next: (Instant, f64, f64),
}

impl Usage {
    /// The average since the window began, and a step of the window.
    fn follow(&mut self, now: Instant, metrics: &PoolMetrics) -> f64 {
        let (_, used, open) = self.from;
        let (used, open) = (metrics.in_use_time - used, metrics.open_time - open);
        if now.duration_since(self.next.0) >= WINDOW {
            self.from = self.next;
            self.next = (now, metrics.in_use_time, metrics.open_time);
        }
        if open > 0.0 {
            (used / open).clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

impl Watched {
    fn new(name: String, pool: Arc<dyn PoolControl>) -> Self {
        let metrics = pool.snapshot().metrics;
        let begin = (Instant::now(), metrics.in_use_time, metrics.open_time);
        Self {
            id: 0,
            name,
            pool,
            usage: Mutex::new(Usage {
                from: begin,
                next: begin,
            }),
        }
    }

    pub(crate) fn read(&self) -> PoolReading {
        let mut snapshot = self.pool.snapshot();
        snapshot.metrics.name.clone_from(&self.name);
        let utilisation = self.usage.lock().follow(Instant::now(), &snapshot.metrics);
        PoolReading {
            system: self.pool.system(),
            servers: self.pool.servers(),
            snapshot,
            utilisation,
        }
    }
}

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Watches `pool` from now on.
    ///
    /// # Errors
    ///
    /// Another pool of that name is watched that is not closed: two pools of one name could not be
    /// told apart.
    pub fn register(&self, pool: impl PoolControl) -> Result<(), NameTaken> {
        self.register_as(pool.name().to_owned(), Arc::new(pool))
    }

    /// The same under a name of the caller's choice, for a pool whose kind is not known here or
    /// whose own name says too little.
    ///
    /// # Errors
    ///
    /// As [`register`](Self::register).
    pub fn register_as(
        &self,
        name: impl Into<String>,
        pool: Arc<dyn PoolControl>,
    ) -> Result<(), NameTaken> {
        // Read before the lock is taken: a reading takes the pool's.
        let mut new = Watched::new(name.into(), pool);
        let mut pools = self.pools.lock();
        let at = pools.watched.iter().position(|old| old.name == new.name);
        if at.is_some_and(|at| !pools.watched[at].pool.is_closed()) {
            return Err(NameTaken { name: new.name });
        }
        pools.registered += 1;
        new.id = pools.registered;
        match at {
            Some(at) => pools.watched[at] = Arc::new(new),
            None => pools.watched.push(Arc::new(new)),
        }
        Ok(())
    }

    /// Watches the pool of this name no longer; says whether there was one.
    #[allow(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn unregister(&self, name: &str) -> bool {
        let mut pools = self.pools.lock();
        let before = pools.watched.len();
        pools.watched.retain(|one| one.name != name);
        pools.watched.len() < before
    }

    /// The pools, in the order in which they were registered.
    #[must_use]
    pub fn pools(&self) -> Vec<Arc<dyn PoolControl>> {
        let pools = self.watched();
        pools.iter().map(|one| Arc::clone(&one.pool)).collect()
    }

    /// Reads each pool once.
    #[must_use]
    pub fn read(&self) -> Vec<PoolReading> {
        // Not under the registry's lock: a reading takes the pool's.
        self.watched().iter().map(|pool| pool.read()).collect()
    }

    pub(crate) fn watched(&self) -> Vec<Arc<Watched>> {
        self.pools.lock().watched.clone()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pools = self.watched();
        f.debug_list()
            .entries(pools.iter().map(|pool| &pool.name))
            .finish()
    }
}

/// Two pools of one name cannot be watched at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NameTaken {
    /// The name.
    pub name: String,
}

impl fmt::Display for NameTaken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "a pool of the name `{}` is watched already: give each pool a name of its own",
            self.name
        )
    }
}

impl std::error::Error for NameTaken {}

/// One pool at one moment.
#[derive(Clone, Debug)]
pub struct PoolReading {
    system: &'static str,
    servers: Vec<ServerState>,
    snapshot: PoolSnapshot,
    utilisation: f64,
}

impl PoolReading {
    /// The name of the pool.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.snapshot.metrics.name
    }

    /// What it connects to, such as `postgresql`.
    #[must_use]
    pub const fn system(&self) -> &'static str {
        self.system
    }

    /// The sockets below it, server by server; none where its connections are the sockets.
    #[must_use]
    pub fn servers(&self) -> &[ServerState] {
        &self.servers
    }

    /// Its numbers.
    #[must_use]
    pub const fn metrics(&self) -> &PoolMetrics {
        &self.snapshot.metrics
    }

    /// Its distributions.
    #[must_use]
    pub const fn histograms(&self) -> &Histograms {
        &self.snapshot.histograms
    }

    /// The part of its connections that was in use, between 0 and 1, averaged over at least ten
    /// seconds, or since it was registered if that is more recent.
    #[must_use]
    pub const fn utilisation(&self) -> f64 {
        self.utilisation
    }
}
