//! The twelve subjects: ours, and what others do, as far as it decides a pool's size.

use std::time::Duration;

use pool_core::DynamicPoolConfig;
use pool_core::sizing::{
    AdaptiveConfig, AdaptivePolicy, Decision, Observation, SizingPolicy, ThresholdPolicy,
};

/// How a pool comes to more connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// Only towards its target.
    Target,
    /// The engine's reactive path as well.
    Reactive,
    /// One at a time, with a pause of 30 ms, while more wait than are idle.
    Hikari,
    /// Each caller that finds none opens its own, as far as the maximum goes.
    Inline,
}

/// How a pool comes to fewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retention {
    /// It does not, within the time of a run.
    Keep,
    /// Idle connections above the target end after this time.
    Surplus(Duration),
    /// Idle connections above the target end when it is decided.
    Trim,
}

/// A pool as the simulator runs it.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) growth: Growth,
    pub(crate) retention: Retention,
    pub(crate) min: u32,
    pub(crate) max: u32,
    /// The oldest idle connection is lent first.
    pub(crate) fifo: bool,
    /// Asked again and again, if there is one.
    pub(crate) policy: Option<(Box<dyn SizingPolicy>, Duration)>,
    /// Another connection is allowed whenever a caller has waited for longer than this.
    pub(crate) per_slow_wait: Option<Duration>,
}

/// Who is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::exhaustive_enums, reason = "the simulator's own")]
pub enum Subject {
    /// As many as the minimum, always.
    FixedMin,
    /// As many as the maximum, always.
    FixedMax,
    /// The fewest that meet the wait target, known in hindsight.
    FixedOracle,
    /// `HikariCP`: opens one at a time while more wait than are idle; keeps them for ten minutes.
    HikariLike,
    /// sqlx: each caller opens its own, up to the maximum; the oldest idle one is lent first.
    SqlxLike,
    /// `FlexyPool` over a fixed pool: one more after each wait of more than 25 ms.
    FlexyPool,
    /// Npgsql: callers open; every 10 s the idle ones are counted, and after 6 counts their median
    /// is closed.
    NpgsqlMedian,
    /// Vibur: callers open; every 30 s a fifth of the connections at most is closed, as far as they
    /// were idle all the time.
    Vibur,
    /// A horizontal autoscaler: every 15 s towards 70 %, down by the greatest need of 300 s.
    Hpa,
    /// The eight fields alone: the size moves at evaluations only.
    Threshold,
    /// The eight fields and the reactive path: what a pool of this project does by default.
    ThresholdReactive,
    /// The adaptive policy and the reactive path.
    AdaptiveReactive,
}

impl Subject {
    /// In the order of tables.
    pub const ALL: [Self; 12] = [
        Self::FixedMin,
        Self::FixedMax,
        Self::FixedOracle,
        Self::HikariLike,
        Self::SqlxLike,
        Self::FlexyPool,
        Self::NpgsqlMedian,
        Self::Vibur,
        Self::Hpa,
        Self::Threshold,
        Self::ThresholdReactive,
        Self::AdaptiveReactive,
    ];

    /// On the command line and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FixedMin => "fixed-min",
            Self::FixedMax => "fixed-max",
            Self::FixedOracle => "fixed-oracle",
            Self::HikariLike => "hikari-like",
            Self::SqlxLike => "sqlx-like",
            Self::FlexyPool => "flexypool",
            Self::NpgsqlMedian => "npgsql-median",
            Self::Vibur => "vibur",
            Self::Hpa => "hpa",
            Self::Threshold => "threshold",
            Self::ThresholdReactive => "threshold+reactive",
            Self::AdaptiveReactive => "adaptive+reactive",
        }
    }

    /// The plan within limits. `oracle` is the size that hindsight knows.
    pub(crate) fn plan(self, (min, max): (u32, u32), oracle: u32) -> Plan {
        let plan = |growth, retention| Plan {
            growth,
            retention,
            min,
            max,
            fifo: false,
            policy: None,
            per_slow_wait: None,
        };
        let fixed = |size| Plan {
            min: size,
            max: size,
            ..plan(Growth::Target, Retention::Keep)
        };
        let secs = Duration::from_secs;
        let by = |policy: Box<dyn SizingPolicy>, every, plan| Plan {
            policy: Some((policy, every)),
            ..plan
        };
        let config = threshold(min, max);
        let thresholds =
            || Box::new(ThresholdPolicy::new(config).expect("the simulator's own is valid"));
        match self {
            Self::FixedMin => fixed(min),
            Self::FixedMax => fixed(max),
            Self::FixedOracle => fixed(oracle),
            Self::HikariLike => plan(Growth::Hikari, Retention::Keep),
            Self::SqlxLike => Plan {
                fifo: true,
                ..plan(Growth::Inline, Retention::Keep)
            },
            Self::FlexyPool => Plan {
                per_slow_wait: Some(Duration::from_millis(25)),
                ..plan(Growth::Target, Retention::Keep)
            },
            Self::NpgsqlMedian => {
                let inline = Plan {
                    fifo: true,
                    ..plan(Growth::Inline, Retention::Trim)
                };
                by(Box::<IdleMedian>::default(), secs(10), inline)
            }
            Self::Vibur => by(
                Box::new(NeverUsed),
                secs(30),
                plan(Growth::Inline, Retention::Trim),
            ),
            Self::Hpa => by(
                Box::<Autoscaler>::default(),
                secs(15),
                plan(Growth::Target, Retention::Trim),
            ),
            Self::Threshold => {
                let every = config.interval();
                by(
                    thresholds(),
                    every,
                    plan(Growth::Target, Retention::Surplus(every)),
                )
            }
            Self::ThresholdReactive => {
                let every = config.interval();
                by(
                    thresholds(),
                    every,
                    plan(Growth::Reactive, Retention::Surplus(every)),
                )
            }
            Self::AdaptiveReactive => {
                let config = AdaptiveConfig::default();
                let policy = AdaptivePolicy::new(config).expect("the defaults are valid");
                let kept = Retention::Surplus(config.surplus_timeout);
                by(
                    Box::new(policy),
                    config.interval,
                    plan(Growth::Reactive, kept),
                )
            }
        }
    }
}

/// The seed's settings, with steps that do not flap.
pub(crate) fn threshold(min: u32, max: u32) -> DynamicPoolConfig {
    DynamicPoolConfig {
        enabled: true,
        min_size: min,
        max_size: max,
        scale_up_increment: min.max(1),
        scale_down_increment: (min / 2).max(1),
        ..DynamicPoolConfig::default()
    }
}

/// Npgsql's pruning. It counts the idle ones at one moment; here the average of the interval stands
/// for that.
#[derive(Debug, Default)]
struct IdleMedian {
    samples: Vec<u32>,
}

impl SizingPolicy for IdleMedian {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    fn decide(&mut self, seen: &Observation) -> Decision {
        let idle = (seen.average_size - seen.average_in_use).max(0.0).round() as u32;
        self.samples.push(idle);
        if self.samples.len() < 6 {
            return Decision::resize(seen.size, seen.size, String::new());
        }
        self.samples.sort_unstable();
        let median = self.samples[self.samples.len() / 2];
        self.samples.clear();
        Decision::resize(seen.size, seen.size.saturating_sub(median), String::new())
    }
}

/// Vibur's reducer.
#[derive(Debug)]
struct NeverUsed;

impl SizingPolicy for NeverUsed {
    fn decide(&mut self, seen: &Observation) -> Decision {
        let unused = seen.size.saturating_sub(seen.peak_in_use);
        let gone = unused.min(seen.size.div_ceil(5));
        Decision::resize(seen.size, seen.size - gone, String::new())
    }
}

/// Kubernetes' horizontal pod autoscaler, with pods that are connections.
#[derive(Debug, Default)]
struct Autoscaler {
    /// What was recommended of late, newest last.
    recommended: Vec<u32>,
}

impl SizingPolicy for Autoscaler {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a count"
    )]
    fn decide(&mut self, seen: &Observation) -> Decision {
        let ratio = seen.utilisation() / 70.0;
        let desired = if (ratio - 1.0).abs() <= 0.1 {
            seen.size
        } else {
            (f64::from(seen.size) * ratio).ceil() as u32
        };
        self.recommended.push(desired);
        // 300 s of 15 s each.
        if self.recommended.len() > 20 {
            self.recommended.remove(0);
        }
        let most = self.recommended.iter().copied().max().unwrap_or(desired);
        let up = desired.min(seen.size.max(4) * 2);
        let target = if desired > seen.size {
            up
        } else {
            most.min(seen.size)
        };
        Decision::resize(seen.size, target, String::new())
    }
}
