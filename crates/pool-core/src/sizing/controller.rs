//! The loop that observes, asks the policy and sets the target.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use super::log::DecisionLog;
use super::window::Window;
use super::{
    Decision, DecisionRecord, DynamicPoolConfig, Explanation, InvalidDynamicPoolConfig,
    Observation, SizingPolicy, ThresholdPolicy, decide,
};
use crate::clock::nanos;
use crate::engine::Gate;
use crate::shared::Shared;
use crate::sync::Mutex;
use crate::{ConnectionManager, Limits, Pool, PoolEvent};

/// How often a policy is asked that does not say it, of a pool without a configuration.
const INTERVAL: Duration = Duration::from_secs(10);

/// Sizing by load, as each pool of this project offers it.
pub trait DynamicSizing {
    /// Puts a configuration in force while the pool runs: its sizes become the pool's limits, and
    /// an enabled one starts, or restarts, the evaluations. A disabled one stops them; its sizes
    /// hold all the same. In [`SizingMode::Advise`] it only bounds the advice.
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
    stop: CancellationToken,
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

/// What one run of the evaluations needs to know.
#[derive(Clone, Copy, Debug)]
struct Terms {
    config: Option<DynamicPoolConfig>,
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

    fn restart(&mut self) -> (Terms, CancellationToken) {
        self.stop.cancel();
        self.stop = CancellationToken::new();
        (self.terms(), self.stop.clone())
    }
}

impl Terms {
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
        self.shared
            .resize_by_load(|running| running.config = Some(config));
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
        self.shared.sizer.running.lock().log.latest()
    }

    fn explain(&self) -> Explanation {
        let (counts, target, ceiling) = {
            let state = self.shared.state.lock();
            (state.counts(), state.floor(), state.ceiling)
        };
        let running = self.shared.sizer.running.lock();
        let terms = running.terms();
        Explanation {
            pool: self.name().to_owned(),
            counts,
            target,
            ceiling,
            enabled: terms.enabled,
            mode: terms.mode,
            changed: running.log.changed().cloned(),
            last: running.log.last().cloned(),
            warnings: terms
                .config
                .map_or_else(Vec::new, |config| config.warnings()),
        }
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Changes how the pool is sized, and begins the evaluations anew.
    fn resize_by_load(self: &Arc<Self>, change: impl FnOnce(&mut Running)) {
        let (terms, stop) = {
            let mut running = self.sizer.running.lock();
            change(&mut running);
            running.restart()
        };
        let idle_timeout = self.tuned.lock().idle_timeout;
        let idle_timeout = idle_timeout.map_or(crate::clock::NEVER, nanos);
        self.step(|state, now, fx| {
            // A change that came meanwhile has the last word.
            if stop.is_cancelled() {
                return;
            }
            if terms.mode == SizingMode::Advise {
                state.rules.surplus_timeout = idle_timeout;
                state.allow(None, now, fx);
                state.set_target(None, now, fx);
                return;
            }
            state.rules.surplus_timeout = nanos(terms.surplus_timeout);
            if let Some(limits) = terms.limits() {
                state.set_limits(limits, now, fx);
            }
            // What a policy has allowed ends with it: a frozen pool serves demand up to its maximum.
            state.allow(None, now, fx);
            let frozen = terms.mode == SizingMode::Freeze && state.target.is_some();
            if !(frozen && terms.enabled) {
                let (min, max) = (state.limits.min(), state.limits.max());
                let target = terms.enabled.then(|| state.staying().clamp(min, max));
                state.set_target(target, now, fx);
            }
        });
        if terms.enabled {
            self.tasks
                .spawn_on(evaluate(Arc::clone(self), terms, stop), &self.runtime);
        }
    }

    /// Asks whoever decides. `None` while another run of the evaluations still asks it.
    fn decide(&self, terms: &Terms, seen: &Observation) -> Option<Decision> {
        let taken = {
            let mut running = self.sizer.running.lock();
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
        stop: &CancellationToken,
    ) {
        let (from, to) = (seen.target, decision.target);
        let reason = decision.reason.as_str();
        self.step(|state, now, fx| {
            // Another configuration has come meanwhile; under this lock it cannot come later.
            if stop.is_cancelled() {
                return;
            }
            if terms.mode != SizingMode::Apply {
                if to != from {
                    let reason = reason.into();
                    fx.events
                        .push(PoolEvent::TargetAdvised { from, to, reason });
                }
                return;
            }
            state.allow(decision.ceiling, now, fx);
            state.set_target(Some(to), now, fx);
            if to != from {
                let reason = reason.into();
                fx.events
                    .push(PoolEvent::TargetChanged { from, to, reason });
            }
        });
    }
}

/// Runs until the sizing is changed or the pool is closed.
async fn evaluate<M: ConnectionManager>(
    shared: Arc<Shared<M>>,
    terms: Terms,
    stop: CancellationToken,
) {
    let mut window = shared.step(|state, now, _| Window::open(state, now));
    let mut ticks = tokio::time::interval(terms.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await; // the first one is at once
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.closed.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let seen = shared.step(|state, now, _| {
            let limits = match terms.mode {
                SizingMode::Advise => terms.limits().unwrap_or(state.limits),
                SizingMode::Apply | SizingMode::Freeze => state.limits,
            };
            // An allowance from outside bounds what can be had, whatever the limits are.
            let limits = (limits.min(), limits.max().min(state.allowance));
            (state.gate != Gate::Closed).then(|| window.close(state, limits, now))
        });
        let Some(observation) = seen else { return };
        let Some(decision) = shared.decide(&terms, &observation) else {
            continue;
        };
        shared.apply(&observation, &decision, &terms, &stop);
        if let Some(brake) = decision.brake {
            shared.step(|state, _, _| state.tally.vetoes.count(brake));
        }
        let braked = PoolEvent::BrakeChanged {
            brake: decision.brake,
            reason: decision.reason.as_str().into(),
        };
        let record = DecisionRecord {
            at: SystemTime::now(),
            observation,
            decision,
            mode: terms.mode,
        };
        let brake_changed = {
            let mut running = shared.sizer.running.lock();
            if stop.is_cancelled() {
                return;
            }
            running.log.push(record)
        };
        if brake_changed {
            shared.step(|_, _, fx| fx.events.push(braked));
        }
    }
}
