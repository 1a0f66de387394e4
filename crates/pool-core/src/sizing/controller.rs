//! The loop that observes, asks the policy and sets the target.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use super::{
    Decision, DynamicPoolConfig, InvalidDynamicPoolConfig, Observation, SizingPolicy,
    ThresholdPolicy,
};
use crate::clock::{Nanos, between, nanos};
use crate::engine::Gate;
use crate::shared::Shared;
use crate::sync::Mutex;
use crate::{ConnectionManager, Limits, Pool, PoolEvent};

/// Decisions kept for whoever asks.
const KEPT: usize = 128;

/// Sizing by load, as each pool of this project offers it.
pub trait DynamicSizing {
    /// Puts a configuration in force while the pool runs: its sizes become the pool's limits, and
    /// an enabled one starts, or restarts, the evaluations. A disabled one stops them; its sizes
    /// hold all the same.
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

    /// The latest decisions, oldest first, 128 at the most.
    fn sizing_decisions(&self) -> Vec<DecisionRecord>;
}

/// A decision with what led to it.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DecisionRecord {
    /// When it was made.
    pub at: SystemTime,
    /// What the pool had seen.
    pub observation: Observation,
    /// What was decided.
    pub decision: Decision,
}

/// The sizing of one pool.
#[derive(Debug, Default)]
pub(crate) struct Sizer {
    running: Mutex<Running>,
}

#[derive(Debug, Default)]
struct Running {
    config: Option<DynamicPoolConfig>,
    stop: CancellationToken,
    decisions: VecDeque<DecisionRecord>,
}

impl<M: ConnectionManager> DynamicSizing for Pool<M> {
    fn set_dynamic_pool_config(
        &self,
        config: DynamicPoolConfig,
    ) -> Result<(), InvalidDynamicPoolConfig> {
        config.validate()?;
        let limits = Limits::new(config.min_size, config.max_size)
            .expect("a validated configuration has valid sizes");
        let stop = CancellationToken::new();
        {
            let mut running = self.shared.sizer.running.lock();
            running.stop.cancel();
            running.stop = stop.clone();
            running.config = Some(config);
        }
        self.shared.step(|state, now, fx| {
            state.rules.surplus_timeout = nanos(config.interval());
            state.set_limits(limits, now, fx);
            let target = config
                .enabled
                .then(|| state.staying().clamp(limits.min(), limits.max()));
            state.set_target(target, now, fx);
        });
        if config.enabled {
            let shared = Arc::clone(&self.shared);
            self.shared
                .tasks
                .spawn_on(evaluate(shared, config, stop), &self.shared.runtime);
        }
        Ok(())
    }

    fn dynamic_pool_config(&self) -> Option<DynamicPoolConfig> {
        self.shared.sizer.running.lock().config
    }

    fn sizing_decisions(&self) -> Vec<DecisionRecord> {
        self.shared
            .sizer
            .running
            .lock()
            .decisions
            .iter()
            .cloned()
            .collect()
    }
}

/// Runs until another configuration comes or the pool is closed.
async fn evaluate<M: ConnectionManager>(
    shared: Arc<Shared<M>>,
    config: DynamicPoolConfig,
    stop: CancellationToken,
) {
    let mut policy = ThresholdPolicy::new(config);
    let mut window = shared.step(|state, now, _| Window::open(state, now));
    let mut ticks = tokio::time::interval(config.interval());
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await; // the first one is at once
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.closed.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let seen = shared
            .step(|state, now, _| (state.gate != Gate::Closed).then(|| window.close(state, now)));
        let Some(observation) = seen else { return };
        let decision = policy.decide(&observation);
        shared.apply(&observation, &decision, &stop);
        let record = DecisionRecord {
            at: SystemTime::now(),
            observation,
            decision,
        };
        let mut running = shared.sizer.running.lock();
        if running.decisions.len() == KEPT {
            running.decisions.pop_front();
        }
        running.decisions.push_back(record);
    }
}

impl<M: ConnectionManager> Shared<M> {
    fn apply(self: &Arc<Self>, seen: &Observation, decision: &Decision, stop: &CancellationToken) {
        let &Decision {
            target, ref reason, ..
        } = decision;
        self.step(|state, now, fx| {
            // Another configuration has come meanwhile; under this lock it cannot come later.
            if stop.is_cancelled() {
                return;
            }
            state.set_target(Some(target), now, fx);
            if target != seen.target {
                fx.events.push(PoolEvent::TargetChanged {
                    from: seen.target,
                    to: target,
                    reason: reason.as_str().into(),
                });
            }
        });
    }
}

/// The readings at the beginning of an interval.
#[derive(Debug)]
struct Window {
    began: Nanos,
    use_integral: u128,
    size_integral: u128,
    queued: u64,
}

impl Window {
    fn open<C>(state: &mut crate::engine::State<C>, now: Nanos) -> Self {
        let window = Self {
            began: now,
            use_integral: state.use_integral(now),
            size_integral: state.tally.size_integral(now, state.total),
            queued: state.tally.queued,
        };
        state.tally.peak_in_use = state.in_use;
        window
    }

    /// What was seen since the interval began; the next one begins.
    #[allow(
        clippy::cast_precision_loss,
        reason = "averages need no more than 52 bits"
    )]
    fn close<C>(&mut self, state: &mut crate::engine::State<C>, now: Nanos) -> Observation {
        let peak_in_use = state.tally.peak_in_use;
        let then = std::mem::replace(self, Self::open(state, now));
        let interval = between(then.began, now);
        let nanos = interval.as_nanos().max(1) as f64;
        let used = self.use_integral.saturating_sub(then.use_integral);
        let sized = self.size_integral.saturating_sub(then.size_integral);
        Observation {
            interval,
            average_in_use: used as f64 / nanos,
            average_size: sized as f64 / nanos,
            peak_in_use,
            waiting: state.waiters.len(),
            waited: self.queued - then.queued,
            size: state.staying(),
            target: state.floor(),
            min: state.limits.min(),
            max: state.most(),
        }
    }
}
