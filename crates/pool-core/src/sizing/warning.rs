//! Configurations that are valid and do not do what one would expect.

use std::time::Duration;

use super::DynamicPoolConfig;

/// A climb from the minimum to the maximum that takes longer is warned of.
const SLOW: Duration = Duration::from_secs(60);

/// Why a valid [`DynamicPoolConfig`] will surprise.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SizingWarning {
    /// A step is so large that the next evaluation takes it back.
    #[error(
        "{field} {increment} flaps at minSize {min}: between scaleDownThreshold {down} and \
         scaleUpThreshold {up} a step of {most:.1} or more is taken back by the next evaluation; \
         lower {field}, raise minSize or move the thresholds apart"
    )]
    Flaps {
        /// `scaleUpIncrement` or `scaleDownIncrement`.
        field: &'static str,
        /// Its value.
        increment: u32,
        /// `minSize`.
        min: u32,
        /// `scaleDownThreshold`.
        down: f64,
        /// `scaleUpThreshold`.
        up: f64,
        /// The step that is too large.
        most: f64,
    },
    /// It takes minutes until what is kept warm has followed the load.
    #[error(
        "from minSize {min} to maxSize {max} by scaleUpIncrement {increment} every \
         evaluationInterval {interval} ms takes {} s: raise scaleUpIncrement or lower \
         evaluationInterval (callers are served meanwhile; what is kept warm lags)",
        takes.as_secs()
    )]
    SlowClimb {
        /// `minSize`.
        min: u32,
        /// `maxSize`.
        max: u32,
        /// `scaleUpIncrement`.
        increment: u32,
        /// `evaluationInterval` in milliseconds.
        interval: u64,
        /// From the minimum to the maximum.
        takes: Duration,
    },
}

impl DynamicPoolConfig {
    /// What a valid configuration will do that nobody wants.
    ///
    /// - Flapping: at constant demand, with utilisation just at the upper threshold `U` and size
    ///   `S`, a step `i` is taken back if `U·S/(S + i) ≤ D`; at the lower threshold likewise. No
    ///   step is if it is smaller than `minSize·(U/D − 1)`.
    /// - A climb from `minSize` to `maxSize` that takes longer than a minute.
    ///
    /// For an invalid configuration there is nothing to warn of.
    #[must_use]
    pub fn warnings(&self) -> Vec<SizingWarning> {
        if self.validate().is_err() || self.min_size == self.max_size {
            return Vec::new();
        }
        let (down, up) = (self.scale_down_threshold, self.scale_up_threshold);
        let (min, max) = (self.min_size, self.max_size);
        // The smallest pool that has a utilisation.
        let smallest = min.max(1);
        let most = f64::from(smallest) * (up / down - 1.0);
        let room = max - smallest;
        let steps = [
            ("scaleUpIncrement", self.scale_up_increment),
            ("scaleDownIncrement", self.scale_down_increment),
        ];
        let mut warnings: Vec<_> = steps
            .into_iter()
            .filter(|(_, increment)| f64::from((*increment).min(room)) >= most)
            .map(|(field, increment)| SizingWarning::Flaps {
                field,
                increment,
                min,
                down,
                up,
                most,
            })
            .collect();
        let steps = (max - min).div_ceil(self.scale_up_increment);
        let takes = self.interval().saturating_mul(steps);
        if takes > SLOW {
            warnings.push(SizingWarning::SlowClimb {
                min,
                max,
                increment: self.scale_up_increment,
                interval: self.evaluation_interval,
                takes,
            });
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut DynamicPoolConfig), expected: &[&[&str]]) {
        let mut config = DynamicPoolConfig {
            scale_up_increment: 6,
            evaluation_interval: 1_000,
            ..DynamicPoolConfig::default()
        };
        change(&mut config);
        let warnings: Vec<_> = config.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(warnings.len(), expected.len(), "{warnings:?}");
        for (warning, parts) in warnings.iter().zip(expected) {
            for part in *parts {
                assert!(warning.contains(part), "`{part}` is missing: {warning}");
            }
        }
    }

    #[test]
    fn what_must_flap_and_what_climbs_slowly_is_warned_of() {
        check(|_| {}, &[]);
        // 5·(70/30 − 1) = 6.67.
        let up: &[&str] = &["scaleUpIncrement 7", "minSize 5", "6.7"];
        check(|config| config.scale_up_increment = 7, &[up]);
        let down: &[&str] = &["scaleDownIncrement 7", "scaleDownThreshold 30"];
        check(|config| config.scale_down_increment = 7, &[down]);
        let up: &[&str] = &["scaleUpIncrement 6", "minSize 0", "1.3"];
        let down: &[&str] = &["scaleDownIncrement 5", "minSize 0"];
        check(|config| config.min_size = 0, &[up, down]);
        let slow: &[&str] = &["scaleUpIncrement 6", "evaluationInterval 4000", "64 s"];
        check(|config| config.evaluation_interval = 4_000, &[slow]);
    }

    #[test]
    fn a_pool_that_cannot_move_does_not_flap() {
        check(|config| config.max_size = config.min_size, &[]);
        // One step to the maximum, and one back: never more than the room there is.
        check(
            |config| {
                config.max_size = 8;
                config.scale_up_increment = 100;
            },
            &[],
        );
        check(|config| config.min_size = 101, &[]);
    }

    /// The seed's own settings flap at their minimum and take more than a minute.
    #[test]
    fn the_seeds_own_settings_are_warned_of() {
        let warnings = DynamicPoolConfig::default().warnings();
        assert!(matches!(
            warnings[..],
            [
                SizingWarning::Flaps {
                    field: "scaleUpIncrement",
                    increment: 10,
                    ..
                },
                SizingWarning::SlowClimb { .. }
            ]
        ));
    }

    /// Constant demand, simulated step by step: without a warning a pool never takes back a step.
    #[test]
    #[cfg_attr(
        miri,
        ignore = "nine million evaluations, without any memory of their own"
    )]
    fn without_a_warning_no_step_is_taken_back_at_constant_demand() {
        use crate::sizing::{Direction, Observation, SizingPolicy as _, ThresholdPolicy};
        let mut flapped = 0;
        for increment in 1..=9 {
            let config = DynamicPoolConfig {
                scale_up_increment: increment,
                scale_down_increment: increment,
                evaluation_interval: 100,
                ..DynamicPoolConfig::default()
            };
            let mut policy = ThresholdPolicy::new(config).unwrap();
            let mut reversals = 0;
            for (start, tenths) in (5..60).flat_map(|start| (1..=600).map(move |d| (start, d))) {
                let demand = f64::from(tenths) / 10.0;
                let (mut size, mut last) = (start, Direction::Stay);
                for _ in 0..30 {
                    let in_use = demand.min(f64::from(size));
                    let decision = policy.decide(&Observation {
                        average_in_use: in_use,
                        average_size: f64::from(size),
                        size,
                        target: size,
                        min: 5,
                        max: 100,
                        ..Observation::default()
                    });
                    let moved = decision.direction;
                    if moved != Direction::Stay {
                        reversals += u32::from(last != Direction::Stay && last != moved);
                        last = moved;
                    }
                    size = decision.target;
                }
            }
            let warned = !config.warnings().is_empty();
            assert!(warned || reversals == 0, "{increment}: {reversals}");
            flapped += u32::from(warned && reversals > 0);
        }
        assert_eq!(flapped, 3, "7, 8 and 9 are warned of, and do flap");
    }
}
