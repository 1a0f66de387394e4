//! One cheap reading of time per edge.

use std::time::Duration;

/// Nanoseconds since the pool was built.
pub(crate) type Nanos = u64;

/// A moment that never comes.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// Where a pool reads the time for idle and lifetime limits and for its histograms.
///
/// Deadlines of callers always run on `tokio::time`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeSource {
    /// The processor's time stamp counter through `quanta`, about 10 ns a reading.
    #[default]
    Hardware,
    /// `tokio::time::Instant`, which stands still in tests that pause time and moves when they
    /// advance it.
    Tokio,
}

/// A clock that started when its pool was built.
#[derive(Clone, Debug)]
pub(crate) enum Clock {
    Hardware { clock: quanta::Clock, epoch: u64 },
    Tokio { epoch: tokio::time::Instant },
}

impl Clock {
    pub(crate) fn new(source: TimeSource) -> Self {
        match source {
            TimeSource::Hardware => {
                let clock = quanta::Clock::new();
                let epoch = clock.raw();
                Self::Hardware { clock, epoch }
            }
            TimeSource::Tokio => Self::Tokio {
                epoch: tokio::time::Instant::now(),
            },
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        match self {
            Self::Hardware { clock, epoch } => clock.delta_as_nanos(*epoch, clock.raw()),
            Self::Tokio { epoch } => nanos(epoch.elapsed()),
        }
    }
}

/// Converts a duration, saturating after 584 years.
pub(crate) fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// The time from `earlier` to `later`, zero when the two readings are out of order.
pub(crate) fn between(earlier: Nanos, later: Nanos) -> Duration {
    Duration::from_nanos(later.saturating_sub(earlier))
}
