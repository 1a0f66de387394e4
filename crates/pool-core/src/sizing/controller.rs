//! The loop that observes, asks the policy and sets the target.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::log::DecisionLog;
use super::window::Window;
use super::{
    Brake, Decision, DecisionRecord, DynamicPoolConfig, Explanation, InvalidDynamicPoolConfig,
    Observation, SizingPolicy, ThresholdPolicy, decide,
};
use crate::clock::nanos;
use crate::engine::Gate;
use crate::shared::Shared;
use crate::{ConnectionManager, Limits, Pool, PoolEvent};

/// How often a policy is asked that does not say it, of a pool without a configuration.
const INTERVAL: Duration = Duration::from_secs(10);

/// Sizing by load, as each pool of this project offers it.
pub trait DynamicSizing {
    /// Puts a configuration in force while the pool runs: its sizes become the pool's limits, and
    /// an enabled one starts the evaluations. A disabled one stops them; its sizes hold all the
    /// same. In [`SizingMode::Advise`] it only bounds the advice, and its sizes wait for another
    /// mode.
    ///
    /// Evaluations that run go on at their pace, unless the pace itself is another one: a
    /// configuration may be set again and again without keeping the pool from being looked at.
    ///
    /// The limits are the one truth: those that are set after a configuration
    /// ([`Pool::set_limits`]) hold until the next configuration, whatever becomes of the mode and
    /// the policy.
    ///
    /// What [`warnings`](DynamicPoolConfig::warnings) says of it is logged.
    ///
    /// # Errors
    ///
    /// Fields that contradict each other; what was in force stays.
    fn set_dynamic_pool_config(
        &self,
        config: DynamicPoolConfig,
    ) -> Result<(), InvalidDynamicPoolConfig>;

    /// The configuration in force, if one was set.
    fn dynamic_pool_config(&self) -> Option<DynamicPoolConfig>;

    /// Has `policy` decide from now on, instead of the thresholds of the configuration, within
    /// the configuration's sizes or, without one, the pool's limits.
    ///
    /// It stays when another configuration comes. A disabled configuration stops it as well.
    fn set_sizing_policy(&self, policy: impl SizingPolicy + 'static)
    where
        Self: Sized;

    /// What becomes of decisions from now on. Defaults to [`SizingMode::Apply`].
    fn set_sizing_mode(&self, mode: SizingMode);

    /// What becomes of decisions.
    fn sizing_mode(&self) -> SizingMode;

    /// The latest decisions, oldest first, 128 at the most.
    fn sizing_decisions(&self) -> Vec<DecisionRecord>;

    /// Why the pool is as large as it is, in sentences with their numbers.
    fn explain(&self) -> Explanation;
}

/// What becomes of a policy's decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "there is no fourth thing to do")]
pub enum SizingMode {
    /// They are put in force.
    #[default]
    Apply,
    /// They are told and kept, and nothing else: the pool behaves as without a policy, within the
    /// limits it has.
    Advise,
    /// They are told and kept; the target stays as it was. Callers are served as before, up to
    /// the maximum.
    Freeze,
}

/// The sizing of one pool.
#[derive(Debug, Default)]
pub(crate) struct Sizer {
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    config: Option<DynamicPoolConfig>,
    installed: Option<Installed>,
    mode: SizingMode,
    /// The sizes of the configuration have not become the pool's limits yet.
    sizes_due: bool,
    /// Ends the run of the evaluations.
    stop: CancellationToken,
    /// Cancelled by each change: what was decided before it comes to nothing.
    void: CancellationToken,
    /// What decisions that were applied hold growth back for.
    brake: Option<Brake>,
    log: DecisionLog,
}

#[derive(Debug)]
struct Installed {
    /// `None` while it decides, which it does outside the lock.
    policy: Option<Box<dyn SizingPolicy>>,
    /// Which of the installed ones it is.
    number: u64,
    interval: Option<Duration>,
    surplus_timeout: Option<Duration>,
}

/// What one evaluation needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Terms {
    config: Option<DynamicPoolConfig>,
    /// The number of the installed policy.
    policy: Option<u64>,
    enabled: bool,
    mode: SizingMode,
    interval: Duration,
    surplus_timeout: Duration,
}

impl Running {
    fn terms(&self) -> Terms {
        let installed = self.installed.as_ref();
        let interval = installed
            .and_then(|installed| installed.interval)
            .or_else(|| Some(self.config?.interval()))
            .unwrap_or(INTERVAL)
            .max(Duration::from_millis(1));
        Terms {
            config: self.config,
            policy: installed.map(|installed| installed.number),
            enabled: self
                .config
                .map_or_else(|| installed.is_some(), |config| config.enabled),
            mode: self.mode,
            interval,
            surplus_timeout: installed
                .and_then(|installed| installed.surplus_timeout)
                .unwrap_or(interval),
        }
    }

    /// The sizes that have become due, once.
    fn due(&mut self, terms: &Terms) -> Option<Limits> {
        if terms.mode == SizingMode::Advise || !self.sizes_due {
            return None;
        }
        self.sizes_due = false;
        terms.limits()
    }
}

impl Terms {
    /// Whether evaluations that run under `before` are not those that are wanted now.
    fn restarts(&self, before: &Self) -> bool {
        let run = |terms: &Self| (terms.enabled, terms.policy, terms.interval);
        run(self) != run(before)
    }

    const fn applied(&self) -> bool {
        self.enabled && matches!(self.mode, SizingMode::Apply)
    }

    fn limits(&self) -> Option<Limits> {
        let config = self.config?;
        let limits = Limits::new(config.min_size, config.max_size);
        Some(limits.expect("a validated configuration has valid sizes"))
    }
}

impl<M: ConnectionManager> DynamicSizing for Pool<M> {
    fn set_dynamic_pool_config(
        &self,
        config: DynamicPoolConfig,
    ) -> Result<(), InvalidDynamicPoolConfig> {
        config.validate()?;
        for warning in config.warnings() {
            tracing::warn!(pool = self.name(), %warning, "dynamic pool configuration");
        }
        self.shared.resize_by_load(|running| {
            running.config = Some(config);
            running.sizes_due = true;
        });
        Ok(())
    }

    fn dynamic_pool_config(&self) -> Option<DynamicPoolConfig> {
        self.shared.sizer.running.lock().config
    }

    fn set_sizing_policy(&self, policy: impl SizingPolicy + 'static) {
        let (interval, surplus_timeout) = (policy.interval(), policy.surplus_timeout());
        let policy: Box<dyn SizingPolicy> = Box::new(policy);
        let mut replaced = None;
        self.shared.resize_by_load(|running| {
            let before = running.installed.as_ref();
            let number = before.map_or(0, |installed| installed.number + 1);
            replaced = running.installed.replace(Installed {
                policy: Some(policy),
                number,
                interval,
                surplus_timeout,
            });
        });
    }

    fn set_sizing_mode(&self, mode: SizingMode) {
        self.shared.resize_by_load(|running| running.mode = mode);
    }

    fn sizing_mode(&self) -> SizingMode {
        self.shared.sizer.running.lock().mode
    }

    fn sizing_decisions(&self) -> Vec<DecisionRecord> {
        let latest = self.shared.sizer.running.lock().log.latest();
        latest.iter().map(|record| (**record).clone()).collect()
    }

    fn explain(&self) -> Explanation {
        let (counts, target, ceiling) = {
            let state = self.shared.state.lock();
            (state.counts(), state.floor(), state.ceiling)
        };
        let (terms, changed, last) = {
            let running = self.shared.sizer.running.lock();
            (running.terms(), running.log.changed(), running.log.last())
        };
        let copy = |record: Arc<DecisionRecord>| (*record).clone();
        Explanation {
            pool: self.name().to_owned(),
            counts,
            target,
            ceiling,
            enabled: terms.enabled,
            mode: terms.mode,
            changed: changed.map(copy),
            last: last.map(copy),
            warnings: terms
                .config
                .map_or_else(Vec::new, |config| config.warnings()),
        }
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Changes how the pool is sized. Evaluations begin anew only if they are others than before.
    fn resize_by_load(self: &Arc<Self>, change: impl FnOnce(&mut Running)) {
        let idle_timeout = self.tuned.lock().idle_timeout;
        let idle_timeout = idle_timeout.map_or(crate::clock::NEVER, nanos);
        // One step under both locks, the state's first: of two changes the later one has the last
        // word in everything.
        let run = self.step(|state, now, fx| {
            let mut running = self.sizer.running.lock();
            let before = running.terms();
            change(&mut running);
            let terms = running.terms();
            if let Some(limits) = running.due(&terms) {
                state.set_limits(limits, now, fx);
            }
            if terms == before {
                return None;
            }
            running.void.cancel();
            running.void = CancellationToken::new();
            let policy_changed = terms.policy != before.policy;
            if policy_changed || !terms.applied() {
                // What a policy has allowed ends with its power to decide: demand is served up to
                // the maximum.
                state.allow(None, now, fx);
                if running.brake.take().is_some() {
                    fx.events.push(PoolEvent::BrakeChanged {
                        brake: None,
                        reason: "what held growth back does not decide any more".into(),
                    });
                }
            }
            let advises = terms.mode == SizingMode::Advise;
            state.rules.surplus_timeout = if advises {
                idle_timeout
            } else {
                nanos(terms.surplus_timeout)
            };
            let target = if advises || !terms.enabled {
                None
            } else {
                let (min, max) = (state.limits.min(), state.limits.max());
                let frozen = terms.mode == SizingMode::Freeze;
                // A policy that is new to the pool begins with what exists.
                let kept = state.target.filter(|_| frozen || !policy_changed);
                Some(kept.unwrap_or_else(|| state.staying()).clamp(min, max))
            };
            state.set_target(target, now, fx);
            if !terms.restarts(&before) {
                return None;
            }
            running.stop.cancel();
            running.stop = CancellationToken::new();
            terms
                .enabled
                .then(|| (terms.interval, running.stop.clone()))
        });
        if let Some((interval, stop)) = run {
            self.tasks
                .spawn_on(evaluate(Arc::clone(self), interval, stop), &self.runtime);
        }
    }

    /// Asks whoever decides. `None` once the question is void, and while another run of the
    /// evaluations still asks.
    fn decide(
        &self,
        terms: &Terms,
        seen: &Observation,
        void: &CancellationToken,
    ) -> Option<Decision> {
        let taken = {
            let mut running = self.sizer.running.lock();
            if void.is_cancelled() {
                return None;
            }
            match &mut running.installed {
                Some(installed) => Some((installed.policy.take()?, installed.number)),
                None => None,
            }
        };
        let Some((mut policy, number)) = taken else {
            let mut policy = ThresholdPolicy::new(terms.config?).ok()?;
            return Some(decide(&mut policy, seen));
        };
        // A panic decides nothing; what the policy knows may be wrong afterwards, but not unsafe.
        let decided = std::panic::catch_unwind(AssertUnwindSafe(|| decide(policy.as_mut(), seen)));
        let mut running = self.sizer.running.lock();
        if let Some(installed) = &mut running.installed
            && installed.number == number
        {
            installed.policy = Some(policy);
        }
        drop(running);
        if decided.is_err() {
            tracing::error!(pool = &*self.settings.name, "the sizing policy panicked");
        }
        decided.ok()
    }

    fn apply(
        self: &Arc<Self>,
        seen: &Observation,
        decision: &Decision,
        terms: &Terms,
        void: &CancellationToken,
    ) {
        let (from, to) = (seen.target, decision.target);
        let reason = || decision.reason.as_str().into();
        self.step(|state, now, fx| {
            // A change has come meanwhile; under this lock it cannot come later.
            if void.is_cancelled() {
                return;
            }
            let mut running = self.sizer.running.lock();
            running.log.push(DecisionRecord {
                at: SystemTime::now(),
                observation: *seen,
                decision: decision.clone(),
                mode: terms.mode,
            });
            if terms.mode != SizingMode::Apply {
                if to != from {
                    let reason = reason();
                    fx.events
                        .push(PoolEvent::TargetAdvised { from, to, reason });
                }
                return;
            }
            let before = std::mem::replace(&mut running.brake, decision.brake);
            drop(running);
            state.allow(decision.ceiling, now, fx);
            state.set_target(Some(to), now, fx);
            if let Some(brake) = decision.brake {
                state.tally.vetoes.count(brake);
            }
            if to != from {
                let reason = reason();
                fx.events
                    .push(PoolEvent::TargetChanged { from, to, reason });
            }
            if decision.brake != before {
                fx.events.push(PoolEvent::BrakeChanged {
                    brake: decision.brake,
                    reason: reason(),
                });
            }
        });
    }
}

/// Runs until it is stopped or the pool is closed. One that was stopped, even before it began, takes
/// nothing from its successor: whether it was is asked under the lock under which it is stopped.
async fn evaluate<M: ConnectionManager>(
    shared: Arc<Shared<M>>,
    interval: Duration,
    stop: CancellationToken,
) {
    let opened =
        shared.step(|state, now, _| (!stop.is_cancelled()).then(|| Window::open(state, now)));
    let Some(mut window) = opened else { return };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await; // the first one is at once
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = shared.closed.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let seen = shared.step(|state, now, _| {
            if stop.is_cancelled() || state.gate == Gate::Closed {
                return None;
            }
            let (terms, void) = {
                let running = shared.sizer.running.lock();
                (running.terms(), running.void.clone())
            };
            let limits = match terms.mode {
                SizingMode::Advise => terms.limits().unwrap_or(state.limits),
                SizingMode::Apply | SizingMode::Freeze => state.limits,
            };
            // An allowance from outside bounds what can be had, whatever the limits are.
            let limits = (limits.min(), limits.max().min(state.allowance));
            let observation = window.close(state, limits, now);
            Some((observation, terms, void))
        });
        let Some((observation, terms, void)) = seen else {
            return;
        };
        if let Some(decision) = shared.decide(&terms, &observation, &void) {
            shared.apply(&observation, &decision, &terms, &void);
        }
    }
}
