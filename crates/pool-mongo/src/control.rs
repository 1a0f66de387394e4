//! The pool as operators meet it.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    ConnectionManager as _, PoolControl, PoolEvents, PoolSnapshot, ServerState, SharedError,
};

use crate::MongoPool;

impl PoolControl for MongoPool {
    fn name(&self) -> &str {
        self.name()
    }

    fn system(&self) -> &'static str {
        "mongodb"
    }

    fn snapshot(&self) -> PoolSnapshot {
        let mut snapshot = self.inner.engine.snapshot();
        snapshot.metrics.ready = self.ready();
        snapshot
    }

    /// As [`MongoPool::sockets`].
    fn servers(&self) -> Vec<ServerState> {
        self.inner.engine.manager().servers()
    }

    fn subscribe(&self) -> PoolEvents {
        self.subscribe()
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    fn set_limits(&self, min: u32, max: u32) -> Result<(), SharedError> {
        match self.set_limits(min, max) {
            Ok(()) => Ok(()),
            Err(error) => Err(Arc::new(error)),
        }
    }

    fn pause(&self, deadline: Duration) {
        self.pause(deadline);
    }

    fn resume(&self) {
        self.resume();
    }

    /// Evicts leases, which have no socket of their own: each next caller waits for a new proof
    /// that the server can be used. The driver's sockets stay.
    fn evict_idle(&self) -> u32 {
        self.inner.engine.evict_idle()
    }

    /// As [`evict_idle`](PoolControl::evict_idle), for the leases in use too, when they come back.
    fn soft_evict(&self) {
        self.inner.engine.soft_evict();
    }
}
