//! How large a pool should be, decided from what it sees.
//!
//! The engine grows by itself, at once, when callers wait and the maximum leaves room. What a
//! policy decides is the *target*: how many connections are kept warm between the limits. So a
//! burst never waits for the next evaluation, and connections above the target are closed once
//! they have been idle for one evaluation interval.

mod config;
mod controller;
mod policy;
mod threshold;

pub use self::config::{DynamicPoolConfig, InvalidDynamicPoolConfig, SizingProblem};
pub(crate) use self::controller::Sizer;
pub use self::controller::{DecisionRecord, DynamicSizing};
pub use self::policy::{Decision, Direction, Observation, SizingPolicy};
pub use self::threshold::ThresholdPolicy;
