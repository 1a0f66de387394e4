//! The end of all pools.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use pool_core::DrainReport;

use crate::Database;

/// How the pools of a factory ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FactoryDrainReport {
    /// Whether every pool closed all its connections in time, and none was still being made.
    pub clean: bool,
    /// The pools in the order in which they were closed: the last created first.
    pub pools: Vec<DrainedPool>,
    /// Pools that were still being made when the time was over.
    pub unfinished: Vec<(Arc<str>, Database)>,
    /// How long it took.
    pub elapsed: Duration,
}

/// How one pool ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DrainedPool {
    /// The service that it belonged to.
    pub service: Arc<str>,
    /// The kind of database that it led to.
    pub database: Database,
    /// Whether all its connections were closed in time.
    pub clean: bool,
    /// How its connections, or leases, came back.
    pub report: DrainReport,
    /// What its own close said, for people.
    pub summary: String,
}

impl fmt::Display for FactoryDrainReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            clean,
            pools,
            unfinished,
            elapsed,
        } = self;
        let how = if *clean { "cleanly" } else { "not cleanly" };
        write!(f, "{} pools closed {how} in {elapsed:.1?}", pools.len())?;
        for pool in pools {
            write!(f, "; {}", pool.summary)?;
        }
        for (service, database) in unfinished {
            write!(
                f,
                "; {database} of service `{service}` was still being made"
            )?;
        }
        Ok(())
    }
}
