//! Pure decisions: an observation in, a decision out.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

/// What a pool saw in one evaluation interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
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
    /// Callers that found no connection idle in the interval, and had to wait. Those for whom an
    /// idle one was checked first do not count.
    pub waited: u64,
    /// Callers that asked in the interval, whatever came of it.
    pub arrivals: u64,
    /// Connections that came back in the interval.
    pub returns: u64,
    /// The mean time for which those had been held; zero if there were none.
    pub hold: Duration,
    /// How long a connect takes of late; zero while unknown.
    pub connect: Duration,
    /// Connections opened in the interval.
    pub opened: u64,
    /// Connects that failed in the interval, refusals included.
    pub connect_failures: u64,
    /// Connects that the server refused in the interval because it is full.
    pub refusals: u64,
    /// Connections that exist or are being opened now.
    pub size: u32,
    /// The target in force.
    pub target: u32,
    /// The minimum in force.
    pub min: u32,
    /// The maximum in force.
    pub max: u32,
    /// The size beyond which the server has said that it has no room; the maximum if it has not.
    pub server_room: u32,
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

    /// The size that a step begins from: what exists, or the target that is being opened, within
    /// the limits.
    pub(super) fn base(&self) -> u32 {
        self.within(self.size.max(self.target))
    }

    /// `size` within the limits.
    pub(super) fn within(&self, size: u32) -> u32 {
        size.max(self.min).min(self.max)
    }
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(clippy::exhaustive_structs, reason = "policies of others make them")]
pub struct Decision {
    /// How many connections to keep warm from now on.
    pub target: u32,
    /// How many connections demand may open at the most; `None` for the maximum. What is open
    /// above it is closed, without interrupting a holder.
    pub ceiling: Option<u32>,
    /// Whether the target is more, less or the same as the one in force. [`decide`](super::decide)
    /// sees to that, whatever a policy says.
    pub direction: Direction,
    /// What holds growth back, if something does.
    pub brake: Option<Brake>,
    /// Why, in a sentence with its numbers.
    pub reason: String,
}

impl Decision {
    /// Moves the size from `from` to `target`, with no ceiling and no brake.
    #[must_use]
    pub fn resize(from: u32, target: u32, reason: String) -> Self {
        Self {
            target,
            ceiling: None,
            direction: Direction::between(from, target),
            brake: None,
            reason,
        }
    }
}

/// Where a decision moves the target.
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

impl Direction {
    /// The direction from one size to another.
    #[must_use]
    pub fn between(from: u32, to: u32) -> Self {
        match to.cmp(&from) {
            std::cmp::Ordering::Less => Self::Down,
            std::cmp::Ordering::Equal => Self::Stay,
            std::cmp::Ordering::Greater => Self::Up,
        }
    }
}

/// What holds growth back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Brake {
    /// Connects fail: more of them would not help.
    ConnectFailures,
    /// More connections make each operation slower by as much: nothing is gained.
    Elasticity,
    /// The server has said that it has no room.
    ServerFull,
    /// The database has become slower at the same load: it is not chased with more connections.
    SlowDatabase,
}

impl fmt::Display for Brake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ConnectFailures => "connects fail",
            Self::Elasticity => "growth would buy no throughput",
            Self::ServerFull => "the server has no room",
            Self::SlowDatabase => "the database has become slower",
        })
    }
}

/// Decides a pool's size from what it saw. The same code runs in production and in simulation.
///
/// A policy does no I/O and reads no clock: all it knows is the observations it was given, in
/// order. One that panics is told of in the log and decides nothing.
///
/// # Example
///
/// ```
/// use pool_core::sizing::{Decision, Observation, SizingPolicy};
///
/// /// Keeps twice as many connections warm as were in use at once.
/// #[derive(Debug)]
/// struct TwiceThePeak;
///
/// impl SizingPolicy for TwiceThePeak {
///     fn decide(&mut self, seen: &Observation) -> Decision {
///         let target = (2 * seen.peak_in_use).max(seen.min).min(seen.max);
///         let reason = format!("{} were in use at once", seen.peak_in_use);
///         Decision::resize(seen.target, target, reason)
///     }
/// }
/// ```
pub trait SizingPolicy: fmt::Debug + Send + Sync {
    /// Looks at one interval.
    fn decide(&mut self, observation: &Observation) -> Decision;

    /// How often it wants to be asked. Defaults to the `evaluationInterval` of the configuration,
    /// or ten seconds without one.
    fn interval(&self) -> Option<Duration> {
        None
    }

    /// How long a connection above the target may stay idle. Defaults to the interval.
    fn surplus_timeout(&self) -> Option<Duration> {
        None
    }
}
