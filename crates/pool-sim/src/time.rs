//! The simulator's clock: whole nanoseconds since the beginning.

/// Nanoseconds.
pub(crate) type Nanos = u64;

/// A moment that does not come.
pub(crate) const NEVER: Nanos = Nanos::MAX;

/// A second.
pub(crate) const SECOND: Nanos = 1_000_000_000;

/// Seconds as nanoseconds; negative ones are zero.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates"
)]
pub(crate) fn from_secs(seconds: f64) -> Nanos {
    (seconds * 1e9).round() as Nanos
}

/// Nanoseconds as seconds.
#[allow(clippy::cast_precision_loss, reason = "2^53 ns are 104 days")]
pub(crate) const fn secs(nanos: Nanos) -> f64 {
    nanos as f64 / 1e9
}
