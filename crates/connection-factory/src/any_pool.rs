//! A pool of the factory, whichever kind.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{Limits, PoolControl, PoolCounts, PoolMetrics};
use pool_mongo::MongoPool;
use pool_postgres::PostgresPool;
use tokio::sync::Notify;

use crate::Database;
use crate::budget::Shares;
use crate::drain::DrainedPool;

#[derive(Clone)]
pub(crate) enum AnyPool {
    Mongodb(MongoPool),
    Postgres(PostgresPool),
}

impl AnyPool {
    pub(crate) const fn database(&self) -> Database {
        match self {
            Self::Mongodb(_) => Database::Mongodb,
            Self::Postgres(_) => Database::Postgresql,
        }
    }

    pub(crate) fn pool_metrics(&self) -> PoolMetrics {
        match self {
            Self::Mongodb(pool) => pool.pool_metrics(),
            Self::Postgres(pool) => pool.pool_metrics(),
        }
    }

    pub(crate) fn into_control(self) -> Arc<dyn PoolControl> {
        match self {
            Self::Mongodb(pool) => Arc::new(pool),
            Self::Postgres(pool) => Arc::new(pool),
        }
    }

    /// What it is called among those that share a budget.
    pub(crate) fn label(&self, service: &str) -> String {
        format!("{service}/{}", self.database())
    }

    pub(crate) async fn drain(&self, service: Arc<str>, deadline: Duration) -> DrainedPool {
        let (clean, report, summary) = match self {
            Self::Mongodb(pool) => {
                let report = pool.close(deadline).await;
                let summary = report.to_string();
                (report.clean, report.leases, summary)
            }
            Self::Postgres(pool) => {
                let report = pool.close(deadline).await;
                let summary = report.to_string();
                (report.clean, report, summary)
            }
        };
        DrainedPool {
            service,
            database: self.database(),
            clean,
            report,
            summary,
        }
    }
}

impl Shares for AnyPool {
    fn counts(&self) -> PoolCounts {
        match self {
            Self::Mongodb(pool) => pool.counts(),
            Self::Postgres(pool) => pool.counts(),
        }
    }

    fn limits(&self) -> Limits {
        match self {
            Self::Mongodb(pool) => pool.limits(),
            Self::Postgres(pool) => pool.engine().limits(),
        }
    }

    fn lent(&self) -> u32 {
        match self {
            Self::Mongodb(_) => 0,
            Self::Postgres(pool) => {
                let (both, own) = (pool.limits().max(), pool.engine().limits().max());
                both.saturating_sub(own)
            }
        }
    }

    fn allow(&self, connections: u32) {
        let allowance = (connections != u32::MAX).then_some(connections);
        match self {
            Self::Mongodb(pool) => pool.set_allowance(allowance),
            Self::Postgres(pool) => pool.engine().set_allowance(allowance),
        }
    }

    fn watch(&self, changes: Arc<Notify>) {
        match self {
            Self::Mongodb(pool) => pool.watch(changes),
            Self::Postgres(pool) => pool.engine().watch(changes),
        };
    }

    fn is_closed(&self) -> bool {
        match self {
            Self::Mongodb(pool) => pool.is_closed(),
            Self::Postgres(pool) => pool.is_closed(),
        }
    }
}
