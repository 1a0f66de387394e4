//! Any pool, whichever kind, as operators meet it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    ConnectionManager, DynamicPoolConfig, DynamicSizing, Limits, Pool, PoolEvents, PoolSnapshot,
    ServerState, SharedError,
};

/// What operators see of a pool and do to it, whichever kind it is.
///
/// Dashboards, consoles and controllers take `Arc<dyn PoolControl>`: every [`Pool`] is one, and so
/// are the pools of `pool-postgres` and `pool-mongo`.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use pool_core::PoolControl;
///
/// fn show(pools: &[Arc<dyn PoolControl>]) {
///     for pool in pools {
///         let metrics = pool.snapshot().metrics;
///         println!("{}: {} of {}", pool.name(), metrics.active_connections, metrics.max);
///     }
/// }
/// ```
pub trait PoolControl: DynamicSizing + fmt::Debug + Send + Sync + 'static {
    /// The name that the pool was built with.
    fn name(&self) -> &str;

    /// What the pool connects to, in the words of OpenTelemetry's `db.system.name`, such as
    /// `postgresql` or `mongodb`. Defaults to `other`.
    fn system(&self) -> &'static str {
        "other"
    }

    /// The pool's numbers and distributions at this moment.
    fn snapshot(&self) -> PoolSnapshot;

    /// The sockets below the pool, server by server, where its connections are not sockets
    /// themselves. Defaults to none: the connections are the sockets.
    fn servers(&self) -> Vec<ServerState> {
        Vec::new()
    }

    /// Follows what happens to the pool.
    fn subscribe(&self) -> PoolEvents;

    /// Whether the pool is closed.
    fn is_closed(&self) -> bool;

    /// Puts new limits in force while the pool runs. Where dynamic sizing has been configured, they
    /// become its sizes, so that the policy keeps to them.
    ///
    /// # Errors
    ///
    /// Limits that contradict each other or something below the pool; those in force stay.
    fn resize(&self, min: u32, max: u32) -> Result<(), SharedError> {
        let Some(config) = self.dynamic_pool_config() else {
            return self.set_limits(min, max);
        };
        // Reported the same way whether the pool sizes itself or not.
        Limits::new(min, max).map_err(shared)?;
        let config = DynamicPoolConfig {
            min_size: min,
            max_size: max,
            ..config
        };
        self.set_dynamic_pool_config(config).map_err(shared)?;
        // A policy that only advises leaves the limits alone; an operator means them all the same.
        self.set_limits(min, max)
    }

    /// Puts new limits in force, whatever the configuration of dynamic sizing says.
    ///
    /// # Errors
    ///
    /// Limits that contradict each other or something below the pool; those in force stay.
    fn set_limits(&self, min: u32, max: u32) -> Result<(), SharedError>;

    /// Lends nothing and opens nothing until [`resume`](Self::resume), or until `deadline` is over.
    fn pause(&self, deadline: Duration);

    /// Ends a [`pause`](Self::pause).
    fn resume(&self);

    /// Closes the connections that are idle now; returns how many.
    fn evict_idle(&self) -> u32;

    /// Closes each connection that exists now without interrupting a holder.
    fn soft_evict(&self);
}

/// An error that callers share.
fn shared(error: impl std::error::Error + Send + Sync + 'static) -> SharedError {
    Arc::new(error)
}

impl<M: ConnectionManager> PoolControl for Pool<M> {
    fn name(&self) -> &str {
        self.name()
    }

    fn snapshot(&self) -> PoolSnapshot {
        self.snapshot()
    }

    fn servers(&self) -> Vec<ServerState> {
        self.manager().servers()
    }

    fn subscribe(&self) -> PoolEvents {
        self.subscribe()
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    fn set_limits(&self, min: u32, max: u32) -> Result<(), SharedError> {
        self.set_limits(min, max).map_err(shared)
    }

    fn pause(&self, deadline: Duration) {
        self.pause(deadline);
    }

    fn resume(&self) {
        self.resume();
    }

    fn evict_idle(&self) -> u32 {
        self.evict_idle()
    }

    fn soft_evict(&self) {
        self.soft_evict();
    }
}
