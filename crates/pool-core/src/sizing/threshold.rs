//! The policy of the eight fields.

use super::{Decision, Direction, DynamicPoolConfig, Observation, SizingPolicy};

/// Adds or removes a fixed number of connections when utilisation crosses a threshold.
///
/// - Utilisation is averaged over the whole interval, `100 × avg(in use) / avg(size)`: a sample
///   at one instant is noise.
/// - Both thresholds are inclusive.
/// - The size never goes below the most connections that were in use at once in the interval, and
///   never down while callers wait.
#[derive(Clone, Copy, Debug)]
pub struct ThresholdPolicy {
    config: DynamicPoolConfig,
}

impl ThresholdPolicy {
    /// Follows `config`, which has been [validated](DynamicPoolConfig::validate).
    #[must_use]
    pub const fn new(config: DynamicPoolConfig) -> Self {
        Self { config }
    }
}

impl SizingPolicy for ThresholdPolicy {
    fn decide(&mut self, seen: &Observation) -> Decision {
        let DynamicPoolConfig {
            min_size: min,
            max_size: max,
            scale_up_threshold: up,
            scale_down_threshold: down,
            scale_up_increment,
            scale_down_increment,
            ..
        } = self.config;
        let utilisation = seen.utilisation();
        let size = seen.size.max(seen.target).clamp(min, max);
        let in_use = seen.average_in_use;
        let facts = format!("utilisation {utilisation:.0} % ({in_use:.1} of {size} in use)");
        if utilisation >= up {
            let target = size.saturating_add(scale_up_increment).min(max);
            return if target > size {
                Decision {
                    target,
                    direction: Direction::Up,
                    reason: format!("{facts} is at or above {up} %: {size} → {target}"),
                }
            } else {
                stay(
                    size,
                    format!("{facts} is at or above {up} %, but {size} is the maximum"),
                )
            };
        }
        if utilisation <= down {
            if seen.waiting > 0 {
                let waiting = seen.waiting;
                return stay(
                    size,
                    format!("{facts}, but {waiting} callers wait: {size} stays"),
                );
            }
            let lowest = min.max(seen.peak_in_use).min(max);
            let target = size.saturating_sub(scale_down_increment).max(lowest);
            return if target < size {
                Decision {
                    target,
                    direction: Direction::Down,
                    reason: format!("{facts} is at or below {down} %: {size} → {target}"),
                }
            } else if size == min {
                stay(
                    size,
                    format!("{facts} is at or below {down} %, but {size} is the minimum"),
                )
            } else {
                let peak = seen.peak_in_use;
                stay(
                    size,
                    format!("{facts}, but {peak} were in use at once: {size} stays"),
                )
            };
        }
        stay(
            size,
            format!("{facts} is between {down} % and {up} %: {size} stays"),
        )
    }
}

const fn stay(target: u32, reason: String) -> Decision {
    Decision {
        target,
        direction: Direction::Stay,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// (average in use, size, peak, waiting) → target, with the seed's own settings.
    #[track_caller]
    fn check(seen: (f64, u32, u32, u32), target: u32) {
        let (average_in_use, size, peak_in_use, waiting) = seen;
        let observation = Observation {
            interval: Duration::from_secs(10),
            average_in_use,
            average_size: f64::from(size),
            peak_in_use,
            waiting,
            waited: 0,
            size,
            target: size,
            min: 5,
            max: 100,
        };
        let decision = ThresholdPolicy::new(DynamicPoolConfig::default()).decide(&observation);
        assert_eq!(decision.target, target, "{decision:?}");
    }

    #[test]
    fn thresholds_are_inclusive() {
        check((7.0, 10, 10, 0), 20);
        check((6.99, 10, 10, 0), 10);
        check((6.0, 20, 6, 0), 15);
        check((6.01, 20, 6, 0), 20);
    }

    #[test]
    fn steps_end_at_the_limits() {
        check((95.0, 95, 95, 40), 100);
        check((100.0, 100, 100, 40), 100);
        check((0.0, 7, 1, 0), 5);
        check((0.0, 5, 0, 0), 5);
    }

    #[test]
    fn never_below_the_peak_and_never_down_while_callers_wait() {
        check((2.0, 20, 18, 0), 18);
        check((2.0, 20, 20, 0), 20);
        check((2.0, 20, 3, 1), 20);
    }

    #[test]
    fn an_empty_pool_grows_only_when_somebody_waits() {
        check((0.0, 0, 0, 0), 5);
        check((0.0, 0, 0, 3), 15);
    }
}
