//! How the pools are, asked of their servers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pool_core::{AcquireError, AcquireErrorKind, SharedError, Step};
use tokio::time::Instant;

use crate::any_pool::AnyPool;
use crate::budget::Shares as _;
use crate::{ConnectionFactory, Database};

/// How the pools of a factory are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FactoryHealth {
    /// The pools that exist, in the order in which they were made.
    pub pools: Vec<PoolHealth>,
    /// How long asking took.
    pub elapsed: Duration,
}

/// How one pool is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolHealth {
    /// The service that it belongs to.
    pub service: Arc<str>,
    /// The kind of database that it leads to.
    pub database: Database,
    /// What asking came to.
    pub status: PoolStatus,
    /// How long that took.
    pub elapsed: Duration,
}

/// What asking a pool's server came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PoolStatus {
    /// Nothing: all connections were with callers for as long as was asked, so the pool works, and
    /// has more to do than it can.
    Busy(SharedError),
    /// The pool was closed by its user.
    Closed,
    /// The server cannot be used.
    Down(SharedError),
    /// The server has answered.
    Up,
}

impl FactoryHealth {
    /// Whether no pool is down or closed.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.pools
            .iter()
            .all(|pool| matches!(pool.status, PoolStatus::Busy(_) | PoolStatus::Up))
    }
}

impl ConnectionFactory {
    /// Asks the server of every pool that exists, all at once, each over a connection of its pool
    /// and within `timeout`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn health(&self, timeout: Duration) -> FactoryHealth {
        let began = Instant::now();
        let made = self.inner.pools.lock().made.clone();
        let asked = made.into_iter().map(|(service, pool)| async move {
            let began = Instant::now();
            PoolHealth {
                service,
                database: pool.database(),
                status: pool.status(timeout).await,
                elapsed: began.elapsed(),
            }
        });
        FactoryHealth {
            pools: join_all(asked).await,
            elapsed: began.elapsed(),
        }
    }
}

impl AnyPool {
    async fn status(&self, within: Duration) -> PoolStatus {
        let answer = match self {
            _ if self.is_closed() => return PoolStatus::Closed,
            Self::Mongodb(pool) => pool.ping(within).await,
            Self::Postgres(pool) => pool.ping(within).await,
        };
        match answer {
            Ok(()) => PoolStatus::Up,
            Err(error) if is_busy(&error) => PoolStatus::Busy(error),
            Err(error) => PoolStatus::Down(error),
        }
    }
}

/// Whether there was no connection only because others have them.
fn is_busy(error: &SharedError) -> bool {
    let acquire: Option<&AcquireError> = error.downcast_ref();
    acquire.is_some_and(|error| {
        matches!(
            error.kind(),
            AcquireErrorKind::QueueFull
                | AcquireErrorKind::Shed
                | AcquireErrorKind::Timeout(Step::Return)
        )
    })
}
