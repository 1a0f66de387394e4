//! Pure decisions: an observation in, a decision out.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// What a pool saw in one evaluation interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(
    clippy::exhaustive_structs,
    reason = "policies of others are tested with made-up ones"
)]
pub struct Observation {
    /// The length of the interval.
    pub interval: Duration,
    /// The time average of connections in use.
    pub average_in_use: f64,
    /// The time average of connections that exist.
    pub average_size: f64,
    /// The most connections in use at once.
    pub peak_in_use: u32,
    /// Callers that wait now.
    pub waiting: u32,
    /// Callers that had to wait in the interval.
    pub waited: u64,
    /// Connections that exist or are being opened now.
    pub size: u32,
    /// The target in force.
    pub target: u32,
    /// The minimum in force.
    pub min: u32,
    /// The maximum in force.
    pub max: u32,
}

impl Observation {
    /// `100 × average in use / average size`; 100 when callers wait at an empty pool.
    #[must_use]
    pub fn utilisation(&self) -> f64 {
        if self.average_size > 0.0 {
            100.0 * self.average_in_use / self.average_size
        } else if self.waiting > 0 {
            100.0
        } else {
            0.0
        }
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::exhaustive_structs, reason = "policies of others make them")]
pub struct Decision {
    /// How many connections to keep warm from now on.
    pub target: u32,
    /// Whether that is more, less or the same.
    pub direction: Direction,
    /// Why, in a sentence with its numbers.
    pub reason: String,
}

/// Where a decision moves the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "there is no fourth direction")]
pub enum Direction {
    /// Fewer connections.
    Down,
    /// More connections.
    Up,
    /// As many as before.
    Stay,
}

/// Decides a pool's size from what it saw. The same code runs in production and in simulation.
pub trait SizingPolicy: fmt::Debug + Send + Sync {
    /// Looks at one interval.
    fn decide(&mut self, observation: &Observation) -> Decision;
}
