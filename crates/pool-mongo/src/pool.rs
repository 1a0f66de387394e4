//! The handle that services hold.

use std::future::Future;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use pool_core::sizing::{
    DecisionRecord, Explanation, InvalidDynamicPoolConfig, SizingMode, SizingPolicy, SizingProblem,
};
use pool_core::{
    ConnectionEvents, DynamicPoolConfig, DynamicSizing, Histograms, Limits, Pool, PoolCounts,
    PoolEvents, PoolMetrics,
};
use secrecy::SecretString;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backend::Backend;
use crate::builder::MongoPoolBuilder;
use crate::config::{MongoConfig, Settings};
use crate::error::{LeaseError, LimitsError, MongoPoolError};
use crate::guard::MongoLease;
use crate::keeper;
use crate::manager::MongoManager;
use crate::nesting::PoolId;
use crate::sockets::ServerSockets;

/// A pool of leases on one official MongoDB client, resizable while it runs.
///
/// Cheap to clone: clones are handles to the same pool. When the last handle is dropped the pool
/// closes; [`close`](Self::close) waits for its leases and shuts the driver down.
#[derive(Clone)]
pub struct MongoPool {
    pub(crate) inner: Arc<Inner>,
}

/// One pool. Leases and the engine's tasks do not hold it, so it ends with its last handle.
pub(crate) struct Inner {
    pub(crate) engine: Pool<MongoManager>,
    settings: Mutex<Settings>,
    /// What the client in force was created from.
    pub(crate) uri: Mutex<SecretString>,
    /// One reconfiguration at a time.
    pub(crate) reconfiguring: Arc<Semaphore>,
    /// Whether a warm-up has opened the sockets as well; the engine knows of leases only.
    pub(crate) warmed: AtomicBool,
    pub(crate) stop: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

impl Inner {
    pub(crate) fn backend(&self) -> Arc<Backend> {
        self.engine.manager().backend()
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Settings {
        self.settings.lock().clone()
    }

    pub(crate) fn set_settings(&self, settings: Settings) {
        *self.settings.lock() = settings;
    }

    /// How many leases and sockets are kept without demand.
    pub(crate) fn floor(&self) -> u32 {
        self.engine.target()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl MongoPool {
    /// Begins a pool on the servers of `uri`.
    pub fn builder(uri: impl Into<SecretString>) -> MongoPoolBuilder {
        MongoPoolBuilder::new(uri)
    }

    /// Builds a pool from settings as data.
    ///
    /// # Errors
    ///
    /// As [`MongoPoolBuilder::build`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a pool that is not returned does not exist.
    pub async fn from_config(config: MongoConfig) -> Result<Self, MongoPoolError> {
        config.into_builder().build().await
    }

    pub(crate) fn start(engine: Pool<MongoManager>, settings: Settings, uri: SecretString) -> Self {
        let events = engine.subscribe();
        let inner = Arc::new(Inner {
            engine,
            settings: Mutex::new(settings),
            uri: Mutex::new(uri),
            reconfiguring: Arc::new(Semaphore::new(1)),
            warmed: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        keeper::start(&inner, events);
        Self { inner }
    }

    /// Takes a lease, waiting in line for one if need be.
    ///
    /// Callers are served in the order in which they asked. Nothing is sent to the server unless
    /// the driver has lost its trust in it, or nobody has used it yet.
    ///
    /// # Errors
    ///
    /// After `acquire_timeout`; at once when the pool is closed, when the queue is full, and when
    /// the server turns the user down, or when this is work to which the pool has given a lease
    /// ([`LeaseError::Nested`]). The error says which, with the pool's counts, the line that holds
    /// a lease longest, and the last failure to reach the server.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a dropped future gives up its place in the queue, and a lease that was on its
    /// way goes to the next caller.
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<MongoLease, LeaseError>> + Send + use<> {
        let caller = Location::caller();
        let nested = PoolId::of(&self.inner).is_given();
        let nested = nested.then(|| LeaseError::Nested {
            pool: self.name().to_owned(),
            caller,
        });
        let lease = self.inner.engine.acquire_owned();
        let manager = self.inner.engine.manager().clone();
        async move {
            if let Some(nested) = nested {
                return Err(nested);
            }
            match lease.await {
                Ok(lease) => Ok(MongoLease::new(lease)),
                Err(error) => Err(LeaseError::new(error, &manager)),
            }
        }
    }

    /// Puts new limits in force while the pool runs.
    ///
    /// Upwards, waiting callers are served at once and the new minimum is opened. Downwards, idle
    /// leases are closed at once and those in use when they come back; the server's sockets
    /// follow within `idle_timeout`. A holder is never interrupted.
    ///
    /// # Errors
    ///
    /// `min` above `max`, a `max` of zero, or a `max` above the ceiling; the limits in force stay.
    pub fn set_limits(&self, min: u32, max: u32) -> Result<(), LimitsError> {
        let ceiling = self.ceiling();
        if max > ceiling {
            return Err(LimitsError::AboveCeiling { max, ceiling });
        }
        Ok(self.inner.engine.set_limits(min, max)?)
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.inner.engine.limits()
    }

    /// Allows the pool only so many leases of its maximum; `None`, the default, all of them. See
    /// [`Pool::set_allowance`]. Sockets that are not needed any more end within `idle_timeout`.
    pub fn set_allowance(&self, leases: Option<u32>) {
        self.inner.engine.set_allowance(leases);
    }

    /// How many leases of its maximum the pool is allowed, if it is not all of them.
    #[must_use]
    pub fn allowance(&self) -> Option<u32> {
        self.inner.engine.allowance()
    }

    /// Notifies `changes` whenever a divider of leases should look; see [`Pool::watch`].
    #[allow(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn watch(&self, changes: Arc<Notify>) -> bool {
        self.inner.engine.watch(changes)
    }

    /// The most sockets to one server: the driver's `maxPoolSize`.
    #[must_use]
    pub fn ceiling(&self) -> u32 {
        self.inner.backend().ceiling
    }

    /// The pool's name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.inner.engine.name()
    }

    /// The name of the database that a lease stands for.
    #[must_use]
    pub fn database_name(&self) -> String {
        self.inner.backend().database.name().to_owned()
    }

    /// The numbers of the leases at this moment; those of the sockets are in
    /// [`sockets`](Self::sockets).
    #[must_use]
    pub fn pool_metrics(&self) -> PoolMetrics {
        let mut metrics = self.inner.engine.pool_metrics();
        metrics.ready &= self.inner.warmed.load(Ordering::Acquire);
        metrics
    }

    /// The sockets to each server at this moment, by the driver's own account. After a
    /// [`reconfigure`](Self::reconfigure) the counts begin anew, with the new client's.
    #[must_use]
    pub fn sockets(&self) -> Vec<ServerSockets> {
        self.inner.backend().watch.sockets.snapshot()
    }

    /// The leases' counts at this moment, read under one lock.
    #[must_use]
    pub fn counts(&self) -> PoolCounts {
        self.inner.engine.counts()
    }

    /// The distributions of wait, hold and connect time at this moment.
    #[must_use]
    pub fn histograms(&self) -> Histograms {
        self.inner.engine.histograms()
    }

    /// Lends nothing until [`resume`](Self::resume), or until `deadline` is over. Callers wait,
    /// within their own time; leases in use stay with their holders.
    pub fn pause(&self, deadline: Duration) {
        self.inner.engine.pause(deadline);
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.inner.engine.resume();
    }

    /// Whether a warm-up has succeeded and the pool is not closed.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.inner.engine.ready() && self.inner.warmed.load(Ordering::Acquire)
    }

    /// Whether the pool is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.engine.is_closed()
    }

    /// Follows what happens to the pool's leases, and how the driver trusts its servers.
    #[must_use]
    pub fn subscribe(&self) -> PoolEvents {
        self.inner.engine.subscribe()
    }

    /// Adds a listener to a pool that runs.
    pub fn add_listener(&self, listener: impl ConnectionEvents) {
        self.inner.engine.add_listener(listener);
    }
}

impl DynamicSizing for MongoPool {
    /// Puts a configuration in force while the pool runs; see [`DynamicSizing`].
    ///
    /// # Errors
    ///
    /// Fields that contradict each other, or a `maxSize` above the ceiling; what was in force
    /// stays.
    fn set_dynamic_pool_config(
        &self,
        config: DynamicPoolConfig,
    ) -> Result<(), InvalidDynamicPoolConfig> {
        let (max, ceiling) = (config.max_size, self.ceiling());
        if max > ceiling {
            return Err(SizingProblem::AboveCeiling { max, ceiling }.into());
        }
        self.inner.engine.set_dynamic_pool_config(config)
    }

    fn dynamic_pool_config(&self) -> Option<DynamicPoolConfig> {
        self.inner.engine.dynamic_pool_config()
    }

    fn set_sizing_policy(&self, policy: impl SizingPolicy + 'static) {
        self.inner.engine.set_sizing_policy(policy);
    }

    fn set_sizing_mode(&self, mode: SizingMode) {
        self.inner.engine.set_sizing_mode(mode);
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

impl std::fmt::Debug for MongoPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoPool")
            .field("name", &self.name())
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
