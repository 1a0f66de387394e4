//! Numbers drawn from a seed, the same on every machine.

use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1, LogNormal};
use rand_pcg::Pcg64;

use crate::time::{Nanos, from_secs};

/// A stream of random numbers.
#[derive(Clone, Debug)]
pub struct Random(Pcg64);

/// How long something takes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums, reason = "the simulator's own")]
pub enum Duration {
    /// Always the same, in seconds.
    Constant(f64),
    /// Exponential, by its mean in seconds.
    Exponential(f64),
    /// Lognormal, by its mean in seconds and the deviation of its logarithm.
    LogNormal(f64, f64),
}

impl Duration {
    /// Its mean in seconds.
    #[must_use]
    pub const fn mean(self) -> f64 {
        match self {
            Self::Constant(mean) | Self::Exponential(mean) | Self::LogNormal(mean, _) => mean,
        }
    }
}

impl Random {
    /// The stream of `seed`; each `purpose` has one of its own, so that what one part draws does
    /// not change what another sees.
    #[must_use]
    pub fn new(seed: u64, purpose: u64) -> Self {
        Self(Pcg64::seed_from_u64(
            seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)
                .wrapping_add(purpose),
        ))
    }

    /// Between zero, inclusive, and one.
    pub fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// With mean one.
    pub fn exponential(&mut self) -> f64 {
        Exp1.sample(&mut self.0)
    }

    /// In seconds.
    pub fn seconds(&mut self, duration: Duration) -> f64 {
        match duration {
            Duration::Constant(seconds) => seconds,
            Duration::Exponential(mean) => mean * self.exponential(),
            Duration::LogNormal(mean, sigma) => {
                let mu = mean.ln() - sigma * sigma / 2.0;
                LogNormal::new(mu, sigma).map_or(mean, |law| law.sample(&mut self.0))
            }
        }
    }

    /// In nanoseconds.
    pub fn nanos(&mut self, duration: Duration) -> Nanos {
        from_secs(self.seconds(duration))
    }
}
