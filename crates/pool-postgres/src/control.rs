//! The pool as operators meet it.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{PoolControl, PoolEvents, PoolSnapshot, SharedError};

use crate::PostgresPool;

impl PoolControl for PostgresPool {
    fn name(&self) -> &str {
        self.name()
    }

    fn system(&self) -> &'static str {
        "postgresql"
    }

    fn snapshot(&self) -> PoolSnapshot {
        self.engine().snapshot()
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

    fn evict_idle(&self) -> u32 {
        self.evict_idle()
    }

    fn soft_evict(&self) {
        self.soft_evict();
    }
}
