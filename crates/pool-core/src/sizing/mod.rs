//! How large a pool should be, decided from what it sees.
//!
//! Two things move a pool's size. The *reactive path* ([`reactive`]) opens connections at once when
//! callers wait and the ceiling leaves room. A *policy* ([`SizingPolicy`]) looks at intervals and
//! decides the target: how many connections are kept warm between the limits; and, where more
//! would do harm, the ceiling. So a burst never waits for the next evaluation, and connections
//! above the target are closed once they have been idle for one evaluation interval.
//!
//! | policy | decides by |
//! |---|---|
//! | [`ThresholdPolicy`] | the eight fields of [`DynamicPoolConfig`]; the default |
//! | [`AdaptivePolicy`] | the smallest pool that meets a wait target, with brakes |
//! | your own | whatever an [`Observation`] tells |
//!
//! ```
//! use pool_core::sizing::{AdaptiveConfig, AdaptivePolicy, SizingMode};
//! use pool_core::{DynamicPoolConfig, DynamicSizing as _, Pool};
//! # struct Unit;
//! # impl pool_core::ConnectionManager for Unit {
//! #     type Connection = ();
//! #     type Error = std::io::Error;
//! #     async fn connect(&self) -> Result<(), std::io::Error> { Ok(()) }
//! #     async fn validate(&self, _: &mut ()) -> Result<(), std::io::Error> { Ok(()) }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = Pool::builder(Unit).name("orders").build()?;
//! pool.set_dynamic_pool_config(DynamicPoolConfig {
//!     enabled: true,
//!     min_size: 2,
//!     max_size: 40,
//!     ..DynamicPoolConfig::default()
//! })?;
//! pool.set_sizing_policy(AdaptivePolicy::new(AdaptiveConfig::default())?);
//! pool.set_sizing_mode(SizingMode::Advise); // look first, then `Apply`
//! println!("{}", pool.explain());
//! # Ok(())
//! # }
//! ```

mod adaptive;
mod brakes;
mod config;
mod controller;
mod elasticity;
mod experiment;
mod log;
mod policy;
pub mod queueing;
pub mod reactive;
mod threshold;
mod warning;
mod window;

pub use self::adaptive::{AdaptiveConfig, AdaptivePolicy, InvalidAdaptiveConfig};
pub use self::brakes::decide;
pub use self::config::{DynamicPoolConfig, InvalidDynamicPoolConfig, SizingProblem};
pub(crate) use self::controller::Sizer;
pub use self::controller::{DynamicSizing, SizingMode};
pub use self::log::{DecisionRecord, Explanation};
pub use self::policy::{Brake, Decision, Direction, Observation, SizingPolicy};
pub use self::threshold::ThresholdPolicy;
pub use self::warning::SizingWarning;
