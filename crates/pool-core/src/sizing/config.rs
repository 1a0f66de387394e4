//! The eight fields of dynamic sizing.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Limits;

/// A day, in milliseconds.
const LONGEST_INTERVAL: u64 = 86_400_000;

/// Automatic sizing by load, with the eight fields of the TypeScript layer.
///
/// Deserialises both `snake_case` and the original `camelCase` names; an unknown field is an
/// error. Serialises `camelCase`.
///
/// # Example
///
/// ```
/// use pool_core::DynamicPoolConfig;
///
/// let config: DynamicPoolConfig = serde_json::from_str(
///     r#"{
///         "enabled": true, "minSize": 5, "maxSize": 100,
///         "scaleUpThreshold": 70, "scaleDownThreshold": 30,
///         "scaleUpIncrement": 10, "scaleDownIncrement": 5,
///         "evaluationInterval": 10000
///     }"#,
/// )?;
/// assert_eq!(config, DynamicPoolConfig { enabled: true, ..DynamicPoolConfig::default() });
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[allow(
    clippy::exhaustive_structs,
    reason = "the eight fields are the contract"
)]
pub struct DynamicPoolConfig {
    /// Whether the pool sizes itself. Defaults to false.
    pub enabled: bool,
    /// Connections kept without demand. Defaults to 5.
    #[serde(alias = "min_size")]
    pub min_size: u32,
    /// Connections never exceeded. Defaults to 100.
    #[serde(alias = "max_size")]
    pub max_size: u32,
    /// Utilisation in per cent from which the pool grows, inclusive. Defaults to 70.
    #[serde(alias = "scale_up_threshold")]
    pub scale_up_threshold: f64,
    /// Utilisation in per cent up to which the pool shrinks, inclusive. Defaults to 30.
    #[serde(alias = "scale_down_threshold")]
    pub scale_down_threshold: f64,
    /// Connections to add in one evaluation. Defaults to 10.
    #[serde(alias = "scale_up_increment")]
    pub scale_up_increment: u32,
    /// Connections to remove in one evaluation. Defaults to 5.
    #[serde(alias = "scale_down_increment")]
    pub scale_down_increment: u32,
    /// Time between evaluations, in milliseconds. Defaults to 10,000.
    #[serde(alias = "evaluation_interval")]
    pub evaluation_interval: u64,
}

impl DynamicPoolConfig {
    /// Checks the fields against each other.
    ///
    /// # Errors
    ///
    /// All problems together: `minSize` above `maxSize` or `maxSize` zero, thresholds outside
    /// 0 < down < up ≤ 100, an increment or the interval zero, `maxSize` above
    /// [`Limits::CEILING`], the interval longer than a day.
    pub fn validate(&self) -> Result<(), InvalidDynamicPoolConfig> {
        let mut problems = Vec::new();
        let (min, max) = (self.min_size, self.max_size);
        if min > max || max == 0 {
            problems.push(SizingProblem::Sizes { min, max });
        }
        if max > Limits::CEILING {
            problems.push(SizingProblem::TooLarge { max });
        }
        let (down, up) = (self.scale_down_threshold, self.scale_up_threshold);
        // Written so that a NaN does not pass.
        if !(0.0 < down && down < up && up <= 100.0) {
            problems.push(SizingProblem::Thresholds { down, up });
        }
        let zeros = [
            ("scaleUpIncrement", u64::from(self.scale_up_increment)),
            ("scaleDownIncrement", u64::from(self.scale_down_increment)),
            ("evaluationInterval", self.evaluation_interval),
        ];
        problems.extend(
            zeros
                .into_iter()
                .filter(|(_, value)| *value == 0)
                .map(|(field, _)| SizingProblem::Zero { field }),
        );
        if self.evaluation_interval > LONGEST_INTERVAL {
            let interval = self.evaluation_interval;
            problems.push(SizingProblem::TooLong { interval });
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(InvalidDynamicPoolConfig { problems })
        }
    }

    /// [`evaluation_interval`](Self::evaluation_interval) as a duration.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        Duration::from_millis(self.evaluation_interval)
    }
}

impl Default for DynamicPoolConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            min_size: 5,
            max_size: 100,
            scale_up_threshold: 70.0,
            scale_down_threshold: 30.0,
            scale_up_increment: 10,
            scale_down_increment: 5,
            evaluation_interval: 10_000,
        }
    }
}

/// The fields contradict each other. The configuration in force stays.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InvalidDynamicPoolConfig {
    /// Every problem, not only the first.
    pub problems: Vec<SizingProblem>,
}

/// One problem of a [`DynamicPoolConfig`].
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SizingProblem {
    /// The pool can never be as large as `maxSize`. For pools over something with a bound of its
    /// own, such as a driver.
    #[error("maxSize {max} is above ceiling {ceiling}: lower maxSize or raise the ceiling")]
    AboveCeiling {
        /// `maxSize`.
        max: u32,
        /// The bound.
        ceiling: u32,
    },
    /// The sizes contradict each other.
    #[error("minSize {min} and maxSize {max}: want minSize ≤ maxSize and maxSize ≥ 1")]
    Sizes {
        /// `minSize`.
        min: u32,
        /// `maxSize`.
        max: u32,
    },
    /// The thresholds contradict each other.
    #[error(
        "scaleDownThreshold {down} and scaleUpThreshold {up}: want 0 < scaleDownThreshold < \
         scaleUpThreshold ≤ 100"
    )]
    Thresholds {
        /// `scaleDownThreshold`.
        down: f64,
        /// `scaleUpThreshold`.
        up: f64,
    },
    /// No pool can be as large as `maxSize`.
    #[error("maxSize {max} is above {}: lower maxSize", Limits::CEILING)]
    TooLarge {
        /// `maxSize`.
        max: u32,
    },
    /// A pool that is looked at less than once a day is not sized by load.
    #[error("evaluationInterval {interval} ms is above {LONGEST_INTERVAL}, a day: lower it")]
    TooLong {
        /// `evaluationInterval` in milliseconds.
        interval: u64,
    },
    /// A field is zero that must not be.
    #[error("{field} is 0: want at least 1")]
    Zero {
        /// Its name.
        field: &'static str,
    },
}

impl From<SizingProblem> for InvalidDynamicPoolConfig {
    fn from(problem: SizingProblem) -> Self {
        Self {
            problems: vec![problem],
        }
    }
}

impl fmt::Display for InvalidDynamicPoolConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dynamic pool configuration: ")?;
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                write!(f, "; ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidDynamicPoolConfig {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(change: impl FnOnce(&mut DynamicPoolConfig)) -> String {
        let mut config = DynamicPoolConfig::default();
        change(&mut config);
        config
            .validate()
            .map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn the_defaults_are_those_of_the_seed_and_valid() {
        assert_eq!(problems(|_| {}), "");
    }

    #[test]
    fn each_problem_names_its_fields_and_values() {
        let all = problems(|config| {
            config.min_size = 101;
            config.scale_down_threshold = 80.0;
            config.scale_up_increment = 0;
        });
        for wanted in [
            "minSize 101",
            "maxSize 100",
            "scaleDownThreshold 80",
            "scaleUpIncrement is 0",
        ] {
            assert!(all.contains(wanted), "{all}");
        }
    }

    #[test]
    fn thresholds_keep_their_order_and_range() {
        for (down, up) in [
            (0.0, 70.0),
            (30.0, 30.0),
            (70.0, 30.0),
            (30.0, 100.1),
            (f64::NAN, 70.0),
            (30.0, f64::NAN),
        ] {
            let text = problems(|config| {
                config.scale_down_threshold = down;
                config.scale_up_threshold = up;
            });
            assert!(text.contains("scaleUpThreshold"), "{down} {up}: {text}");
        }
    }

    #[test]
    fn both_spellings_are_read_and_unknown_fields_are_not() {
        let read = serde_json::from_str::<DynamicPoolConfig>;
        let camel = read(r#"{"minSize": 1, "maxSize": 2, "evaluationInterval": 50}"#).unwrap();
        let snake = read(r#"{"min_size": 1, "max_size": 2, "evaluation_interval": 50}"#).unwrap();
        assert_eq!(camel, snake);
        let error = read(r#"{"minsize": 1}"#).unwrap_err().to_string();
        assert!(error.contains("minsize"), "{error}");
    }
}
