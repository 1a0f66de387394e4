//! A connection pool engine that can be resized while it runs, watches itself and explains itself.
//!
//! Services meet this crate through `pool-postgres` and `pool-mongo`. Use it directly to put a
//! backend of your own, or any bb8 manager, on the same engine.
//!
//! ```
//! use std::time::Duration;
//! use pool_core::{ConnectionManager, Pool};
//!
//! struct Files;
//!
//! impl ConnectionManager for Files {
//!     type Connection = Vec<u8>;
//!     type Error = std::io::Error;
//!
//!     async fn connect(&self) -> Result<Vec<u8>, std::io::Error> {
//!         Ok(Vec::new())
//!     }
//!
//!     async fn validate(&self, _file: &mut Vec<u8>) -> Result<(), std::io::Error> {
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::builder(Files).name("files").limits(1, 4).build()?;
//! pool.warmup_pool().await?;
//!
//! let mut file = pool.acquire().await?;
//! file.push(1);
//! drop(file); // back in the pool, without I/O
//!
//! pool.set_limits(2, 8)?; // while it runs
//! let metrics = pool.pool_metrics();
//! assert_eq!(metrics.counters.returned, 1);
//!
//! let report = pool.close(Duration::from_secs(5)).await;
//! assert!(report.clean);
//! # Ok(())
//! # }
//! ```
//!
//! # Contracts
//!
//! 1. **First in, first out.** A connection that comes back goes to the oldest waiting caller by
//!    direct hand-off; a newcomer never overtakes.
//! 2. **Cancel anywhere.** A dropped acquire loses nothing.
//! 3. **Resize while running.** Capacity is `max − total`, computed under one lock, never a stock
//!    of permits: any sequence of resizes ends with exactly the last maximum.
//! 4. **Connects belong to the pool**: in its own tasks, bounded in time and number, with one
//!    shared backoff.
//! 5. **Errors say why**: [`AcquireError`] names the step, the time waited, the counts, the line
//!    that holds a connection longest and the last failure to connect.
//! 6. **Liveness** is checked only when it is in doubt; see [`Liveness`].
//! 7. **Release** does no I/O when the connection is clean, never blocks, and works anywhere.
//! 8. **Operations** while it runs: limits, pause, evictions, warm-up, drain.
//! 9. **Observation is free**: counters live under the lock that is taken anyway.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod acquire;
#[cfg(feature = "bb8")]
pub mod bb8;
mod builder;
mod clock;
mod control;
mod distributions;
mod drain;
mod engine;
mod error;
mod event_handlers;
mod events;
mod guard;
mod hooks;
mod limits;
mod manager;
mod metrics;
mod pool;
mod runtime_settings;
mod servers;
mod shared;
pub mod sizing;
mod sync;
mod tasks;
mod upkeep;
mod warmup;

pub use crate::builder::{ControlledDelay, Liveness, PoolBuilder};
pub use crate::clock::TimeSource;
pub use crate::control::PoolControl;
pub use crate::distributions::{Buckets, Histograms, Quantiles};
pub use crate::drain::DrainReport;
pub use crate::engine::{CloseReason, PoolCounts};
pub use crate::error::{
    AcquireError, AcquireErrorKind, BuildError, BuildProblem, HeldSince, SharedError, Step,
    WarmupError,
};
pub use crate::event_handlers::EventHandlers;
pub use crate::events::{ConnectionEvents, Leak, ListenerResult, PoolEvent, PoolEvents};
pub use crate::guard::{OwnedPooledConnection, PooledConnection};
pub use crate::hooks::ConnectionInfo;
pub use crate::limits::{InvalidLimits, Limits};
pub use crate::manager::{ConnectFault, ConnectionManager, ReleaseCheck};
pub use crate::metrics::{
    ClosedCounters, PoolCounters, PoolMetrics, PoolSnapshot, PoolState, ResizeCounters,
    VetoCounters,
};
pub use crate::pool::Pool;
pub use crate::runtime_settings::RuntimeSettings;
pub use crate::servers::ServerState;
pub use crate::sizing::{DynamicPoolConfig, DynamicSizing};
pub use crate::warmup::WarmupReport;

/// The example of the README is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
