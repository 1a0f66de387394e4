//! Pools under load, simulated with the sizing policies of production.
//!
//! A discrete-event simulator: callers come by a Poisson process, hold a connection while the
//! database works for them, and give it back. The database shares its power among the queries
//! under way by the universal scalability law. Pools decide through
//! [`pool_core::sizing::decide`] and [`pool_core::sizing::reactive`], the functions of production,
//! or as other pools do. Every run follows from its seed, to the nanosecond.
//!
//! `cargo xtask simulate` runs it; `docs/sizing.md` shows what it printed.

mod campaign;
mod database;
#[cfg(feature = "engine")]
pub mod engine;
mod gate;
pub mod measured;
mod oracle;
pub mod plot;
mod pool;
mod random;
pub mod report;
mod score;
mod subject;
mod time;
mod workload;
mod world;

#[cfg(feature = "engine")]
pub use crate::campaign::campaign_on_engine;
pub use crate::campaign::{Outcome, campaign, campaign_with};
pub use crate::database::{Fit, Scalability};
pub use crate::gate::{Gate, gates, sound, steady};
pub use crate::oracle::{WAIT_TARGET, oracle};
pub use crate::random::{Duration, Random};
pub use crate::score::{Point, Run};
pub use crate::subject::Subject;
pub use crate::workload::{Act, Rate, Workload};
pub use crate::world::{run, run_fixed};
