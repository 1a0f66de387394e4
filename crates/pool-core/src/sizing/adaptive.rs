//! The smallest pool that meets a wait target.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::elasticity::{Elasticity, Knee, Said};
use super::experiment::Experiment;
use super::{Brake, Decision, Direction, Observation, SizingPolicy, queueing};

/// Buckets in which demand is remembered.
const BUCKETS: u32 = 6;

/// While the database is slower than it was, growth goes on by this factor an interval.
const PACE: f64 = 1.25;

/// After so many intervals without callers in line a slower database is taken as it is.
const CALM: u32 = 16;

/// How many connections come back an interval after a refusal.
const REGAINED: f64 = 0.25;

/// What is left of the pool's size once the server has refused a connect.
const REFUSED: f64 = 0.8;

/// The settings of an [`AdaptivePolicy`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[non_exhaustive]
pub struct AdaptiveConfig {
    /// The wait for a connection that is good enough. Defaults to 5 ms.
    pub wait_target: Duration,
    /// The share of callers that are to wait no longer than that, between 0 and 1. Defaults to
    /// 0.99.
    pub quantile: f64,
    /// How often the pool is looked at. Defaults to 250 ms.
    pub interval: Duration,
    /// For how long demand is remembered before the pool shrinks. Defaults to 60 s.
    pub memory: Duration,
    /// How long a connection above the target may stay idle. Defaults to 5 s.
    pub surplus_timeout: Duration,
    /// Growth is worth it while one per cent more connections buy at least this many per cent of
    /// throughput, between 0 and 1. Defaults to 0.15.
    pub least_gain: f64,
}

impl Default for AdaptiveConfig {
    fn default() -> Self {
        Self {
            wait_target: Duration::from_millis(5),
            quantile: 0.99,
            interval: Duration::from_millis(250),
            memory: Duration::from_secs(60),
            surplus_timeout: Duration::from_secs(5),
            least_gain: 0.15,
        }
    }
}

/// Settings of an [`AdaptivePolicy`] that cannot be.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidAdaptiveConfig {
    /// A duration is zero, or hardly more.
    #[error("{field} is below a millisecond: want at least one")]
    Zero {
        /// Its name.
        field: &'static str,
    },
    /// A share is not one.
    #[error("{field} is {value}: want more than 0 and less than 1")]
    Share {
        /// Its name.
        field: &'static str,
        /// What it was.
        value: f64,
    },
}

/// Keeps the smallest pool at which all but a few callers wait no longer than a target.
///
/// - The need of an interval is Erlang's: with `rate × hold` connections busy on average, the
///   fewest at which the wait target is met.
/// - The pool keeps what the greatest need of the last minute was, and grows at once.
/// - Hold time by concurrency is learned from what passes. Beyond the size at which more
///   connections make each operation slower by as much, growth buys nothing: it is held there
///   ([`Brake::Elasticity`]), also for bursts.
/// - A pool that stays full and knows too little for that makes an experiment: it lends
///   fewer connections for a few intervals and looks what that costs.
/// - Operations that take longer at the same concurrency have a cause outside. Such a database is
///   not chased at once: growth goes on by a quarter an interval ([`Brake::SlowDatabase`]).
/// - A refusal of the server takes a fifth of the pool away, which comes back by one connection
///   every four intervals ([`Brake::ServerFull`]).
#[derive(Clone, Debug)]
pub struct AdaptivePolicy {
    config: AdaptiveConfig,
    elasticity: Elasticity,
    experiment: Experiment,
    /// Hold time of late, in seconds.
    hold: f64,
    /// The greatest need in each of the last parts of `memory`, newest last.
    needs: VecDeque<u32>,
    /// How much of the newest part is over.
    elapsed: Duration,
    slow: Option<Slow>,
    /// How far the pool may grow after a refusal.
    room: Option<f64>,
}

/// A database that has become slower.
#[derive(Clone, Copy, Debug)]
struct Slow {
    /// Hold times in seconds.
    from: f64,
    to: f64,
    ceiling: f64,
    /// For how many intervals nobody has waited.
    calm: u32,
}

/// What an interval needs, and why.
#[derive(Clone, Copy, Debug)]
struct Need {
    servers: u32,
    /// Connections busy on average if nobody had to wait.
    load: f64,
    rate: f64,
}

impl AdaptivePolicy {
    /// A policy that has seen nothing yet.
    ///
    /// # Errors
    ///
    /// A duration of zero, or a share that is not between 0 and 1.
    pub fn new(config: AdaptiveConfig) -> Result<Self, InvalidAdaptiveConfig> {
        for (field, duration) in [
            ("waitTarget", config.wait_target),
            ("interval", config.interval),
            ("memory", config.memory),
            ("surplusTimeout", config.surplus_timeout),
        ] {
            if duration < Duration::from_millis(1) {
                return Err(InvalidAdaptiveConfig::Zero { field });
            }
        }
        for (field, value) in [
            ("quantile", config.quantile),
            ("leastGain", config.least_gain),
        ] {
            if !(value > 0.0 && value < 1.0) {
                return Err(InvalidAdaptiveConfig::Share { field, value });
            }
        }
        Ok(Self {
            config,
            elasticity: Elasticity::new(config.least_gain),
            experiment: Experiment::Watching(0),
            hold: 0.0,
            needs: VecDeque::from([0]),
            elapsed: Duration::ZERO,
            slow: None,
            room: None,
        })
    }

    fn need(&mut self, seen: &Observation) -> Need {
        let seconds = seen.interval.as_secs_f64().max(1e-9);
        let returns = to_f64(seen.returns);
        if seen.returns > 0 {
            // Over four intervals, or over as many returns as make a mean.
            let share = if self.hold > 0.0 {
                (returns / 200.0).clamp(0.25, 1.0)
            } else {
                1.0
            };
            self.hold += share * (seen.hold.as_secs_f64() - self.hold);
        }
        let rate = to_f64(seen.arrivals) / seconds;
        let load = (rate * self.hold).max(seen.average_in_use);
        let servers = if self.hold > 0.0 {
            let target = self.config.wait_target.as_secs_f64() / self.hold;
            queueing::servers_for(load, target, self.config.quantile, seen.max)
        } else {
            ceil(load)
        };
        Need {
            servers,
            load,
            rate,
        }
    }

    /// The greatest need that is remembered.
    fn remembered(&mut self, need: u32, interval: Duration) -> u32 {
        self.elapsed += interval;
        let part = self.config.memory / BUCKETS;
        if self.elapsed >= part {
            self.elapsed = Duration::ZERO;
            if self.needs.len() == BUCKETS as usize {
                self.needs.pop_front();
            }
            self.needs.push_back(0);
        }
        if let Some(newest) = self.needs.back_mut() {
            *newest = need.max(*newest);
        }
        self.needs.iter().copied().max().unwrap_or(need)
    }

    /// Goes on at a measured pace while the database is slower than it was.
    fn pace(&mut self, said: Said, seen: &Observation) -> Option<(u32, String)> {
        if let Said::Slower(from, to) = said {
            let ceiling = f64::from(seen.size.max(seen.min));
            self.slow = Some(Slow {
                from,
                to,
                ceiling,
                calm: 0,
            });
        }
        let slow = self.slow.as_mut()?;
        if seen.waiting > 0 {
            slow.ceiling *= PACE;
            slow.calm = 0;
        } else {
            slow.calm += 1;
        }
        let ceiling = ceil(slow.ceiling).max(1);
        if ceiling >= seen.max || slow.calm >= CALM || said == Said::Faster {
            self.slow = None;
            return None;
        }
        let (from, to) = (millis(slow.from), millis(slow.to));
        let reason = format!("operations take {to} ms, at the same load it was {from} ms");
        Some((ceiling, reason))
    }

    /// Gives way when the server is full, and comes back slowly.
    fn yield_room(&mut self, seen: &Observation) -> Option<(u32, String)> {
        if seen.refusals > 0 {
            let left = (f64::from(seen.size) * REFUSED).max(f64::from(seen.min));
            self.room = Some(self.room.map_or(left, |room| room.min(left)));
        } else if let Some(room) = &mut self.room {
            *room += REGAINED;
        }
        let room = ceil(self.room?).max(1);
        if room >= seen.max {
            self.room = None;
            return None;
        }
        Some((room, "the server has refused connects".to_owned()))
    }
}

impl SizingPolicy for AdaptivePolicy {
    fn decide(&mut self, seen: &Observation) -> Decision {
        let said = self.elasticity.note(
            seen.average_in_use,
            seen.hold.as_secs_f64(),
            to_f64(seen.returns),
        );
        if said != Said::Nothing {
            self.experiment.forget();
        }
        let need = self.need(seen);
        let wanted = seen.within(self.remembered(need.servers, seen.interval));
        let knee = self.elasticity.knee();
        let slow = self.pace(said, seen);
        let known = knee.is_some() || slow.is_some();
        let brakes = [
            self.yield_room(seen)
                .map(|(room, why)| (Brake::ServerFull, room, why)),
            slow.map(|(ceiling, why)| (Brake::SlowDatabase, ceiling, why)),
            knee.map(|knee| (Brake::Elasticity, knee.size, explain(&knee))),
            self.experiment
                .step(seen, known)
                .map(|(ceiling, why)| (Brake::Elasticity, ceiling, why)),
        ];
        let lowest = brakes
            .into_iter()
            .flatten()
            .min_by_key(|(_, ceiling, _)| *ceiling);
        let (from, load, rate) = (seen.target, need.load, need.rate);
        let (hold, goal) = (
            millis(self.hold),
            millis(self.config.wait_target.as_secs_f64()),
        );
        let percent = self.config.quantile * 100.0;
        let mut reason = format!(
            "load {load:.1} ({rate:.0}/s × {hold} ms) needs {} for a wait of at most {goal} ms \
             for {percent} %",
            need.servers
        );
        if wanted > seen.within(need.servers) {
            let memory = self.config.memory.as_secs();
            reason = format!("{reason}; the last {memory} s needed {wanted}");
        }
        let Some((brake, ceiling, why)) = lowest else {
            let reason = match Direction::between(from, wanted) {
                Direction::Stay => format!("{reason}: {wanted} stays"),
                Direction::Up | Direction::Down => format!("{reason}: {from} → {wanted}"),
            };
            return Decision::resize(from, wanted, reason);
        };
        let ceiling = seen.within(ceiling);
        let target = wanted.min(ceiling);
        let holds = wanted > ceiling || seen.waiting > 0;
        let reason = if holds {
            format!("{reason}, but growth is held at {ceiling}: {why}")
        } else {
            format!("{reason}: {from} → {target}, with at most {ceiling}: {why}")
        };
        Decision {
            ceiling: (ceiling < seen.max).then_some(ceiling),
            brake: holds.then_some(brake),
            ..Decision::resize(from, target, reason)
        }
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.config.interval)
    }

    fn surplus_timeout(&self) -> Option<Duration> {
        Some(self.config.surplus_timeout)
    }
}

fn explain(knee: &Knee) -> String {
    let &Knee {
        size,
        low: (low, low_hold),
        high: (high, high_hold),
    } = knee;
    format!(
        "with {low:.0} in use operations take {} ms, with {high:.0} they take {} ms, so that more \
         than {size} buy no throughput",
        millis(low_hold),
        millis(high_hold)
    )
}

/// Seconds in milliseconds, with two digits that count.
fn millis(seconds: f64) -> f64 {
    let millis = seconds * 1e3;
    let digits = if millis >= 10.0 { 1.0 } else { 100.0 };
    (millis * digits).round() / digits
}

#[allow(
    clippy::cast_precision_loss,
    reason = "counts of an interval stay far below 2^53"
)]
const fn to_f64(count: u64) -> f64 {
    count as f64
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is bounded by the limits afterwards"
)]
fn ceil(value: f64) -> u32 {
    value.ceil() as u32
}

#[cfg(test)]
mod tests;
