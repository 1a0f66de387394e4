//! The handle that services hold.

use std::future::Future;
use std::panic::Location;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::builder::{PoolBuilder, Settings};
use crate::clock::Clock;
use crate::engine::{Gate, PoolCounts, State};
use crate::error::AcquireError;
use crate::events::{ConnectionEvents, EventHub, PoolEvents};
use crate::hooks::Hooks;
use crate::runtime_settings::RuntimeSettings;
use crate::shared::Shared;
use crate::sizing::Sizer;
use crate::sync::BriefMutex;
use crate::{
    ConnectionManager, InvalidLimits, Limits, OwnedPooledConnection, PoolEvent, PooledConnection,
};

/// A pool of connections that can be resized while it runs.
///
/// Cheap to clone: clones are handles to the same pool. When the last handle is dropped the pool
/// closes what is idle, and what is in use as it comes back; [`close`](Self::close) waits for that.
pub struct Pool<M: ConnectionManager> {
    pub(crate) shared: Arc<Shared<M>>,
    _last: Arc<LastHandle<M>>,
}

/// Closes the pool when the last handle is gone. Guards and tasks do not count as handles.
struct LastHandle<M: ConnectionManager>(Arc<Shared<M>>);

impl<M: ConnectionManager> Drop for LastHandle<M> {
    fn drop(&mut self) {
        self.0.begin_close();
    }
}

impl<M: ConnectionManager> Pool<M> {
    /// Begins a pool over `manager`.
    pub fn builder(manager: M) -> PoolBuilder<M> {
        PoolBuilder::new(manager)
    }

    pub(crate) fn start(
        manager: M,
        settings: Settings,
        (limits, allowance): (Limits, Option<u32>),
        hooks: Hooks<M::Connection>,
        listeners: Vec<Arc<dyn ConnectionEvents>>,
        runtime: tokio::runtime::Handle,
    ) -> Self {
        let seed = settings.seed.unwrap_or_else(|| fastrand::u64(..));
        let rules = settings.rules(hooks.before_acquire.is_some());
        let mut state = State::new(limits, rules, seed);
        if let Some(allowance) = allowance {
            state.allowance = allowance;
            state.ceiling = state.most();
        }
        let shared = Arc::new(Shared {
            state: CachePadded::new(BriefMutex::new(state)),
            crowded: CachePadded::default(),
            shut: CachePadded::default(),
            tuned: Mutex::new(RuntimeSettings::of(&settings)),
            watcher: OnceLock::new(),
            clock: Clock::new(settings.time),
            epoch: tokio::time::Instant::now(),
            manager,
            hooks,
            events: EventHub::new(settings.event_capacity),
            settings,
            runtime,
            tasks: TaskTracker::new(),
            kick: Notify::new(),
            changed: Notify::new(),
            closed: CancellationToken::new(),
            sizer: Sizer::default(),
            created: SystemTime::now(),
        });
        for listener in listeners {
            shared.events.attach(listener, &shared.runtime);
        }
        shared.step(|state, now, fx| {
            fx.events.push(PoolEvent::PoolCreated);
            state.grow(now, fx);
        });
        shared.start_upkeep();
        let last = Arc::new(LastHandle(Arc::clone(&shared)));
        Self {
            shared,
            _last: last,
        }
    }

    /// Takes a connection, waiting in line for one if need be.
    ///
    /// Callers are served in the order in which they asked: a connection that comes back goes to
    /// the oldest of them.
    ///
    /// # Errors
    ///
    /// After `acquire_timeout`; at once when the pool is closed, when the queue is full, and when
    /// nothing is open and the server turns connects down for good. The error says which, with
    /// the pool's counts, the longest holder and the last failure to connect.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. A dropped future gives up its place in the queue; a connection that was
    /// already on its way goes to the next caller, a connect that was under way goes on and lands
    /// in the pool.
    #[track_caller]
    pub fn acquire(
        &self,
    ) -> impl Future<Output = Result<PooledConnection<'_, M>, AcquireError>> + Send + '_ {
        let caller = Location::caller();
        async move {
            let slot = match self.shared.acquire_at_once(caller) {
                Some(slot) => slot,
                None => self.shared.acquire(caller).await?,
            };
            Ok(PooledConnection::new(slot, &self.shared))
        }
    }

    /// The same with a time of its own for this caller.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_timeout(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<PooledConnection<'_, M>, AcquireError>> + Send + '_ {
        let caller = Location::caller();
        async move {
            let slot = match self.shared.acquire_at_once(caller) {
                Some(slot) => slot,
                None => self.shared.acquire_within(caller, timeout).await?,
            };
            Ok(PooledConnection::new(slot, &self.shared))
        }
    }

    /// Takes a connection whose guard does not borrow the pool.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_owned(
        &self,
    ) -> impl Future<Output = Result<OwnedPooledConnection<M>, AcquireError>> + Send + use<M> {
        let caller = Location::caller();
        let shared = Arc::clone(&self.shared);
        async move {
            let slot = match shared.acquire_at_once(caller) {
                Some(slot) => slot,
                None => shared.acquire(caller).await?,
            };
            Ok(OwnedPooledConnection::new(slot, shared))
        }
    }

    /// The same with a time of its own for this caller.
    ///
    /// # Errors
    ///
    /// As [`acquire`](Self::acquire).
    ///
    /// # Cancel safety
    ///
    /// As [`acquire`](Self::acquire).
    #[track_caller]
    pub fn acquire_owned_timeout(
        &self,
        timeout: Duration,
    ) -> impl Future<Output = Result<OwnedPooledConnection<M>, AcquireError>> + Send + use<M> {
        let caller = Location::caller();
        let shared = Arc::clone(&self.shared);
        async move {
            let slot = match shared.acquire_at_once(caller) {
                Some(slot) => slot,
                None => shared.acquire_within(caller, timeout).await?,
            };
            Ok(OwnedPooledConnection::new(slot, shared))
        }
    }

    /// Takes an idle connection if there is one that needs no check and nobody waits.
    #[must_use = "a connection that is not kept goes back at once"]
    #[track_caller]
    pub fn try_acquire(&self) -> Option<PooledConnection<'_, M>> {
        let slot = self.shared.try_acquire(Location::caller())?;
        Some(PooledConnection::new(slot, &self.shared))
    }

    /// Puts new limits in force while the pool runs.
    ///
    /// Upwards, waiting callers are served at once. Downwards, idle connections are closed at
    /// once, oldest first; those in use are closed when they come back. A holder is never
    /// interrupted.
    ///
    /// Sizing by load keeps to the limits in force, whoever has set them: these hold until
    /// somebody sets others, be it with another configuration of dynamic sizing.
    ///
    /// # Errors
    ///
    /// `min` above `max`, or a `max` of zero; the limits in force stay.
    pub fn set_limits(&self, min: u32, max: u32) -> Result<(), InvalidLimits> {
        let limits = Limits::new(min, max)?;
        self.shared
            .step(|state, now, fx| state.set_limits(limits, now, fx));
        Ok(())
    }

    /// Allows the pool only so much of its maximum; `None`, the default, all of it.
    ///
    /// For whoever divides something between several pools, a server's connections for instance.
    /// Works like [`set_limits`](Self::set_limits) and takes nothing from it: the limits, and what
    /// sizing by load makes of them, hold within the allowance, and may be changed meanwhile. Zero
    /// is allowed: then nothing is opened, and callers wait.
    pub fn set_allowance(&self, connections: Option<u32>) {
        let allowance = connections.unwrap_or(u32::MAX);
        self.shared
            .step(|state, now, fx| state.set_allowance(allowance, now, fx));
    }

    /// How much of its maximum the pool is allowed, if it is not all of it.
    #[must_use]
    pub fn allowance(&self) -> Option<u32> {
        let allowance = self.shared.state.lock().allowance;
        (allowance != u32::MAX).then_some(allowance)
    }

    /// Notifies `changes` whenever the number of connections, the limits or the state has changed,
    /// and when callers wait that only the [allowance](Self::set_allowance) keeps from being
    /// served. One for each pool: a second call does nothing and returns false.
    #[allow(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn watch(&self, changes: Arc<Notify>) -> bool {
        self.shared.watcher.set(changes).is_ok()
    }

    /// Sets how many connections are kept warm, between the limits; `None` goes back to the
    /// minimum. Demand still opens more, up to the maximum.
    pub fn set_target(&self, target: Option<u32>) {
        self.shared
            .step(|state, now, fx| state.set_target(target, now, fx));
    }

    /// How many connections are kept warm: the target in force, or the minimum; less while the
    /// server has no room for it.
    #[must_use]
    pub fn target(&self) -> u32 {
        self.shared.state.lock().floor()
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.shared.state.lock().limits
    }

    /// The pool's counts at this moment, read under one lock.
    #[must_use]
    pub fn counts(&self) -> PoolCounts {
        self.shared.state.lock().counts()
    }

    /// The name that the pool was built with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.settings.name
    }

    /// The manager that the pool was built over.
    #[must_use]
    pub fn manager(&self) -> &M {
        &self.shared.manager
    }

    /// Closes the connections that are idle now; returns how many. The minimum is opened anew.
    #[allow(clippy::must_use_candidate, reason = "called for what it does")]
    pub fn evict_idle(&self) -> u32 {
        self.shared.step(|state, now, fx| state.evict_idle(now, fx))
    }

    /// Closes each connection that exists now, without interrupting a holder: idle ones at once,
    /// the others when they come back, those being opened when they land.
    ///
    /// For a failover or new credentials.
    pub fn soft_evict(&self) {
        self.shared.step(|state, now, fx| state.soft_evict(now, fx));
    }

    /// Ends the pause between failed connects, for whoever has seen that the server is there
    /// again: if anybody waits, one connect begins now. Should it fail too, the pauses go on
    /// growing.
    pub fn retry_now(&self) {
        self.shared.step(|state, now, fx| state.retry_now(now, fx));
    }

    /// For whoever has pointed the manager at another server or user: evicts as
    /// [`soft_evict`](Self::soft_evict), and forgets what the last server did. The pause between
    /// failed connects ends, no caller is told of an earlier failure any more, also not of that of
    /// a connect which is still under way, and a server that had no room has been left.
    pub fn start_over(&self) {
        self.shared.step(|state, now, fx| state.start_over(now, fx));
    }

    /// Lends nothing and opens nothing until [`resume`](Self::resume), or until `deadline` is
    /// over. Callers wait, within their own time; connections in use stay with their holders.
    pub fn pause(&self, deadline: Duration) {
        self.shared.step(|state, now, fx| {
            state.pause(now.saturating_add(crate::clock::nanos(deadline)), fx);
        });
    }

    /// Ends a [`pause`](Self::pause).
    pub fn resume(&self) {
        self.shared.step(|state, now, fx| state.resume(now, fx));
    }

    /// Whether the pool has been warmed up and is not closed.
    #[must_use]
    pub fn ready(&self) -> bool {
        let state = self.shared.state.lock();
        state.warmed && state.gate != Gate::Closed
    }

    /// Whether the pool is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.shut.load(Ordering::Acquire)
    }

    /// Follows what happens to the pool.
    #[must_use]
    pub fn subscribe(&self) -> PoolEvents {
        self.shared.events.subscribe()
    }

    /// Tells the log, the listeners and the subscriptions of something that happened below the
    /// pool: for code that builds a pool over a driver with events of its own.
    pub fn announce(&self, event: PoolEvent) {
        self.shared.announce(event);
    }

    /// Adds a listener to a pool that runs.
    pub fn add_listener(&self, listener: impl ConnectionEvents) {
        self.shared
            .events
            .attach(Arc::new(listener), &self.shared.runtime);
    }
}

impl<M: ConnectionManager> Clone for Pool<M> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            _last: Arc::clone(&self._last),
        }
    }
}

impl<M: ConnectionManager> std::fmt::Debug for Pool<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("name", &self.shared.settings.name)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}
