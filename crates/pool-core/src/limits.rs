//! The two numbers between which a pool's size moves.

use std::fmt;

/// A minimum and a maximum that cannot contradict each other.
///
/// # Example
///
/// ```
/// use pool_core::Limits;
///
/// let limits = Limits::new(2, 10)?;
/// assert_eq!((limits.min(), limits.max()), (2, 10));
/// assert!(Limits::new(11, 10).is_err());
/// # Ok::<(), pool_core::InvalidLimits>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    min: u32,
    max: u32,
}

impl Limits {
    /// The largest `max` that is accepted.
    pub const CEILING: u32 = 1_000_000;

    /// Checks and keeps the two numbers.
    ///
    /// # Errors
    ///
    /// `max` of zero, `min` above `max`, or `max` above [`Limits::CEILING`].
    pub const fn new(min: u32, max: u32) -> Result<Self, InvalidLimits> {
        if max == 0 || min > max || max > Self::CEILING {
            return Err(InvalidLimits { min, max });
        }
        Ok(Self { min, max })
    }

    /// The number of connections that the pool keeps open without demand.
    #[must_use]
    pub const fn min(self) -> u32 {
        self.min
    }

    /// The number of connections that the pool never exceeds.
    #[must_use]
    pub const fn max(self) -> u32 {
        self.max
    }
}

impl Default for Limits {
    /// From 0 to 10 connections.
    fn default() -> Self {
        Self { min: 0, max: 10 }
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.min, self.max)
    }
}

/// The two limits contradict each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidLimits {
    /// The minimum that was given.
    pub min: u32,
    /// The maximum that was given.
    pub max: u32,
}

impl fmt::Display for InvalidLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, max } = self;
        if *max == 0 {
            write!(f, "max is 0: a pool needs room for at least one connection")
        } else if min > max {
            write!(f, "min {min} is above max {max}: lower min or raise max")
        } else {
            write!(f, "max {max} is above {}: lower max", Limits::CEILING)
        }
    }
}

impl std::error::Error for InvalidLimits {}
