//! The policy of the eight fields.

use super::{Decision, DynamicPoolConfig, InvalidDynamicPoolConfig, Observation, SizingPolicy};

/// Adds or removes a fixed number of connections when utilisation crosses a threshold.
///
/// - Utilisation is averaged over the whole interval, `100 × avg(in use) / avg(size)`: a sample
///   at one instant is noise.
/// - Both thresholds are inclusive.
/// - The size never goes below the most connections that were in use at once in the interval, and
///   never down while callers wait or after an interval in which any had to.
/// - The limits are those of the pool that is observed.
#[derive(Clone, Copy, Debug)]
pub struct ThresholdPolicy {
    config: DynamicPoolConfig,
}

impl ThresholdPolicy {
    /// Follows `config`.
    ///
    /// # Errors
    ///
    /// As [`DynamicPoolConfig::validate`].
    pub fn new(config: DynamicPoolConfig) -> Result<Self, InvalidDynamicPoolConfig> {
        config.validate()?;
        Ok(Self { config })
    }
}

impl SizingPolicy for ThresholdPolicy {
    fn decide(&mut self, seen: &Observation) -> Decision {
        let DynamicPoolConfig {
            scale_up_threshold: up,
            scale_down_threshold: down,
            scale_up_increment,
            scale_down_increment,
            ..
        } = self.config;
        let utilisation = seen.utilisation();
        let size = seen.base();
        let resize = |target, reason| {
            let mut reason: String = reason;
            // Demand has opened more than the target, or less is open than it: say what changes.
            if size != seen.target {
                let from = seen.target;
                reason += &if target == from {
                    format!(" (target {from} stays)")
                } else {
                    format!(" (target {from} → {target})")
                };
            }
            Decision::resize(seen.target, target, reason)
        };
        let stay = |reason| resize(size, reason);
        let in_use = seen.average_in_use;
        // Prints 10 as 10 and 10.26 as 10.3.
        let existed = (seen.average_size * 10.0).round() / 10.0;
        let facts = format!("utilisation {utilisation:.0} % ({in_use:.1} of {existed} in use)");
        if utilisation >= up {
            let target = seen.within(size.saturating_add(scale_up_increment));
            return if target > size {
                let reason = format!("{facts} is at or above {up} %: {size} → {target}");
                resize(target, reason)
            } else {
                stay(format!(
                    "{facts} is at or above {up} %, but {size} is the maximum"
                ))
            };
        }
        if utilisation <= down {
            if seen.waiting > 0 {
                let waiting = seen.waiting;
                return stay(format!("{facts}, but {waiting} callers wait: {size} stays"));
            }
            if seen.waited > 0 {
                let waited = seen.waited;
                return stay(format!(
                    "{facts}, but {waited} callers waited: {size} stays"
                ));
            }
            let lowest = seen.within(seen.peak_in_use);
            let target = size.saturating_sub(scale_down_increment).max(lowest);
            return if target < size {
                let reason = format!("{facts} is at or below {down} %: {size} → {target}");
                resize(target, reason)
            } else if size == seen.min {
                stay(format!(
                    "{facts} is at or below {down} %, but {size} is the minimum"
                ))
            } else {
                let peak = seen.peak_in_use;
                stay(format!(
                    "{facts}, but {peak} were in use at once: {size} stays"
                ))
            };
        }
        stay(format!(
            "{facts} is between {down} % and {up} %: {size} stays"
        ))
    }

    fn interval(&self) -> Option<std::time::Duration> {
        Some(self.config.interval())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sizing::Direction;

    /// (average in use, size, peak, waiting) → target, with the seed's own settings.
    #[track_caller]
    fn check(seen: (f64, u32, u32, u32), target: u32) {
        let decision = decided(seen, |_| {});
        assert_eq!(decision.target, target, "{decision:?}");
    }

    fn decided(
        (average_in_use, size, peak_in_use, waiting): (f64, u32, u32, u32),
        change: impl FnOnce(&mut Observation),
    ) -> Decision {
        let mut observation = Observation {
            interval: Duration::from_secs(10),
            average_in_use,
            average_size: f64::from(size),
            peak_in_use,
            waiting,
            size,
            target: size,
            min: 5,
            max: 100,
            ..Observation::default()
        };
        change(&mut observation);
        let mut policy = ThresholdPolicy::new(DynamicPoolConfig::default()).unwrap();
        policy.decide(&observation)
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
    fn never_below_the_peak_and_never_down_while_callers_wait_or_after_they_did() {
        check((2.0, 20, 18, 0), 18);
        check((2.0, 20, 20, 0), 20);
        check((2.0, 20, 3, 1), 20);
        // Nobody waits now, but somebody did.
        let decision = decided((2.0, 20, 3, 0), |seen| seen.waited = 1);
        assert_eq!(decision.target, 20);
        assert!(decision.reason.ends_with("1 callers waited: 20 stays"));
        // Growth is not barred by it.
        let decision = decided((15.0, 20, 20, 0), |seen| seen.waited = 1);
        assert_eq!(decision.target, 30);
    }

    #[test]
    fn an_empty_pool_grows_only_when_somebody_waits() {
        check((0.0, 0, 0, 0), 5);
        check((0.0, 0, 0, 3), 15);
    }

    /// The size is where a step begins; what it moves is the target.
    #[test]
    fn a_decision_is_told_against_the_target_in_force() {
        #[track_caller]
        fn check(seen: (f64, u32, u32), target: u32, direction: Direction, reason: &str) {
            let (average, size, peak) = seen;
            let decision = decided((average, size, peak, 0), |seen| seen.target = target);
            assert_eq!(decision.direction, direction, "{decision:?}");
            assert!(decision.reason.ends_with(reason), "{decision:?}");
        }
        use Direction::{Down, Stay, Up};
        check((20.0, 40, 40), 5, Up, "40 stays (target 5 → 40)");
        check((1.0, 15, 12), 5, Up, "15 → 12 (target 5 → 12)");
        check((1.0, 15, 12), 12, Stay, "15 → 12 (target 12 stays)");
        check((1.0, 15, 12), 15, Down, "15 → 12");
        check((1.0, 5, 5), 20, Down, "20 → 15");
    }

    #[test]
    fn a_configuration_that_contradicts_itself_makes_no_policy() {
        let config = DynamicPoolConfig {
            min_size: 9,
            max_size: 3,
            ..DynamicPoolConfig::default()
        };
        let refused = ThresholdPolicy::new(config).unwrap_err().to_string();
        assert!(refused.contains("minSize 9"), "{refused}");
    }
}
