//! One simulated pool: its connections, its queue, and when it opens and closes.

use std::collections::VecDeque;
use std::time::Duration;

use pool_core::sizing::reactive::{Guess, Queue, Worth};
use pool_core::sizing::{Decision, Observation};

use crate::random::Random;
use crate::score::Decisions;
use crate::subject::{Growth, Plan, Retention};
use crate::time::{NEVER, Nanos, SECOND, secs};

/// Connects under way at once, as the engine has it by default.
const MAX_CONNECTING: u32 = 4;

/// How long a server that is full is not asked again, as the engine has it.
const SATURATION: Nanos = 10 * SECOND;

/// A caller in line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) request: usize,
    pub(crate) serial: u64,
    pub(crate) since: Nanos,
}

/// What is counted for observations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    in_use: u128,
    size: u128,
    pub(crate) waited: u64,
    pub(crate) arrivals: u64,
    pub(crate) returns: u64,
    pub(crate) held: u128,
    pub(crate) opened: u64,
    pub(crate) failures: u64,
    pub(crate) refusals: u64,
}

#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) plan: Plan,
    pub(crate) target: u32,
    /// What a policy allows demand to open.
    allowed: u32,
    server_room: u32,
    saturated_until: Nanos,
    /// Since when each has been idle, oldest first.
    pub(crate) idle: VecDeque<Nanos>,
    pub(crate) in_use: u32,
    pub(crate) connecting: u32,
    pub(crate) waiters: VecDeque<Place>,
    /// How many of those have not given up.
    pub(crate) waiting: u32,
    /// Hikari's one opener works, or pauses.
    pub(crate) opener_busy: bool,
    backoff: (u32, Nanos),
    typical_connect: Nanos,
    typical_hold: Nanos,
    hold_sampled: (u64, u128),
    guess_until: Nanos,
    pub(crate) guess: Guess,
    peak_in_use: u32,
    pub(crate) counts: Counts,
    counted: Counts,
    counted_at: Nanos,
    integrated: Nanos,
    pub(crate) decisions: Decisions,
    pub(crate) retired: bool,
    /// Connections opened before this many disasters are dead.
    pub(crate) generation: u32,
}

/// What a pool wants done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wish {
    pub(crate) connects: u32,
    /// When it wants to be asked again.
    pub(crate) again: Option<Nanos>,
}

impl Pool {
    pub(crate) fn new(plan: Plan, now: Nanos) -> Self {
        let target = plan.min;
        Self {
            plan,
            target,
            allowed: u32::MAX,
            server_room: u32::MAX,
            saturated_until: NEVER,
            idle: VecDeque::new(),
            in_use: 0,
            connecting: 0,
            waiters: VecDeque::new(),
            waiting: 0,
            opener_busy: false,
            backoff: (0, 0),
            typical_connect: 0,
            typical_hold: 0,
            hold_sampled: (0, 0),
            guess_until: NEVER,
            guess: Guess::none(),
            peak_in_use: 0,
            counts: Counts::default(),
            counted: Counts::default(),
            counted_at: now,
            integrated: now,
            decisions: Decisions::default(),
            retired: false,
            generation: 0,
        }
    }

    #[allow(clippy::cast_possible_truncation, reason = "bounded by the maximum")]
    pub(crate) fn open(&self) -> u32 {
        self.idle.len() as u32 + self.in_use
    }

    pub(crate) fn total(&self) -> u32 {
        self.open() + self.connecting
    }

    /// How many there may be.
    pub(crate) fn most(&self) -> u32 {
        self.plan.max.min(self.allowed)
    }

    fn ceiling(&self) -> u32 {
        self.most().min(self.server_room).max(1)
    }

    pub(crate) fn floor(&self) -> u32 {
        self.target
            .clamp(self.plan.min, self.plan.max)
            .min(self.ceiling())
    }

    /// Called before any count changes.
    pub(crate) fn integrate(&mut self, now: Nanos) {
        let passed = u128::from(now - self.integrated);
        self.counts.in_use += passed * u128::from(self.in_use);
        self.counts.size += passed * u128::from(self.total());
        self.integrated = now;
    }

    pub(crate) fn lent(&mut self) {
        self.in_use += 1;
        self.peak_in_use = self.peak_in_use.max(self.in_use);
    }

    pub(crate) fn returned(&mut self, held: Nanos) {
        self.counts.returns += 1;
        self.counts.held += u128::from(held);
    }

    pub(crate) fn take_idle(&mut self) -> bool {
        let taken = if self.plan.fifo {
            self.idle.pop_front()
        } else {
            self.idle.pop_back()
        };
        taken.is_some()
    }

    /// A pool that begins warm has seen how long connects take.
    pub(crate) const fn knows_connects(&mut self, took: Nanos) {
        self.typical_connect = took;
    }

    pub(crate) fn landed(&mut self, took: Nanos) {
        self.counts.opened += 1;
        self.backoff = (0, 0);
        self.typical_connect = if self.typical_connect == 0 {
            took
        } else {
            self.typical_connect - self.typical_connect / 8 + took / 8
        };
    }

    pub(crate) fn failed(&mut self, refused: bool, now: Nanos, random: &mut Random) {
        self.counts.failures += 1;
        if refused {
            self.counts.refusals += 1;
            self.server_room = self.open();
            self.saturated_until = now + SATURATION;
        }
        let (failures, _) = self.backoff;
        let most = if self.plan.growth == Growth::Hikari {
            5_000
        } else {
            500
        };
        let bound = secs(10_000_000 << failures.min(20)).min(f64::from(most) / 1e3);
        let pause = crate::time::from_secs(bound * random.unit());
        self.backoff = (failures + 1, now + pause);
    }

    /// As the engine estimates it.
    fn typical_hold(&mut self) -> Nanos {
        let (returns, held) = self.hold_sampled;
        let new = self.counts.returns - returns;
        if new >= 8 || (returns == 0 && new > 0) {
            let mean = (self.counts.held - held) / u128::from(new);
            self.typical_hold = Nanos::try_from(mean).unwrap_or(NEVER);
            self.hold_sampled = (self.counts.returns, self.counts.held);
        }
        self.typical_hold
    }

    /// How many connects to begin now.
    pub(crate) fn wish(&mut self, now: Nanos) -> Wish {
        if self.retired {
            return Wish::default();
        }
        let kept = match self.plan.growth {
            // What their pruning leaves is a size, not a goal.
            Growth::Inline => self.plan.min,
            Growth::Hikari | Growth::Reactive | Growth::Target => self.floor(),
        };
        let shortfall = kept.saturating_sub(self.total());
        let room = self.ceiling().saturating_sub(self.total());
        let demand = match self.plan.growth {
            Growth::Target | Growth::Inline => 0,
            Growth::Reactive => self.waiting.saturating_sub(self.connecting),
            Growth::Hikari => return self.wish_of_hikari(now),
        };
        if (demand == 0 && shortfall == 0) || room == 0 {
            return Wish::default();
        }
        let (failures, until) = self.backoff;
        if now < until {
            return Wish {
                connects: 0,
                again: Some(until),
            };
        }
        let mut again = None;
        let at_once = if failures > 0 {
            1
        } else if demand > shortfall {
            let queue = self.queue(now);
            let worth = match self.guess.worth(&queue, now) {
                Worth::Connects(connects) => connects,
                Worth::Insurance(holds_for) => {
                    if self.guess_until <= now || self.guess_until == NEVER {
                        self.guess_until = now + as_nanos(holds_for);
                        again = Some(self.guess_until);
                    }
                    1
                }
            };
            worth.max(shortfall).min(MAX_CONNECTING)
        } else {
            MAX_CONNECTING
        };
        let connects = demand
            .max(shortfall)
            .min(room)
            .min(at_once.saturating_sub(self.connecting));
        Wish { connects, again }
    }

    fn wish_of_hikari(&self, now: Nanos) -> Wish {
        #[allow(clippy::cast_possible_truncation, reason = "bounded by the maximum")]
        let idle = self.idle.len() as u32;
        let wanted = self.waiting > idle || idle < self.plan.min;
        let (_, until) = self.backoff;
        if self.opener_busy || !wanted || self.total() >= self.plan.max {
            return Wish::default();
        }
        if now < until {
            return Wish {
                connects: 0,
                again: Some(until),
            };
        }
        Wish {
            connects: 1,
            again: None,
        }
    }

    fn queue(&mut self, now: Nanos) -> Queue {
        let oldest = self.waiters.front().map_or(0, |place| now - place.since);
        Queue {
            waiting: self.waiting,
            oldest: Duration::from_nanos(oldest),
            in_use: self.in_use,
            hold: Duration::from_nanos(self.typical_hold()),
            connect: Duration::from_nanos(self.typical_connect),
        }
    }

    /// What the policy sees; the next interval begins.
    #[allow(clippy::cast_precision_loss, reason = "averages")]
    pub(crate) fn observe(&mut self, now: Nanos) -> Observation {
        self.integrate(now);
        let then = std::mem::replace(&mut self.counted, self.counts);
        let interval = now - std::mem::replace(&mut self.counted_at, now);
        let nanos = interval.max(1) as f64;
        let returns = self.counts.returns - then.returns;
        let held = (self.counts.held - then.held) / u128::from(returns.max(1));
        Observation {
            interval: Duration::from_nanos(interval),
            average_in_use: (self.counts.in_use - then.in_use) as f64 / nanos,
            average_size: (self.counts.size - then.size) as f64 / nanos,
            peak_in_use: std::mem::replace(&mut self.peak_in_use, self.in_use),
            waiting: self.waiting,
            waited: self.counts.waited - then.waited,
            arrivals: self.counts.arrivals - then.arrivals,
            returns,
            hold: Duration::from_nanos(Nanos::try_from(held).unwrap_or(NEVER)),
            connect: Duration::from_nanos(self.typical_connect),
            opened: self.counts.opened - then.opened,
            connect_failures: self.counts.failures - then.failures,
            refusals: self.counts.refusals - then.refusals,
            size: self.total(),
            target: self.floor(),
            min: self.plan.min,
            max: self.plan.max,
            server_room: if self.saturated_until == NEVER {
                self.plan.max
            } else {
                self.ceiling()
            },
        }
    }

    /// Puts a decision in force. Returns how many idle connections are closed at once.
    pub(crate) fn apply(&mut self, seen: &Observation, decision: &Decision) -> u32 {
        self.decisions.note(seen, decision);
        self.target = decision.target;
        self.allowed = decision.ceiling.map_or(u32::MAX, |ceiling| ceiling.max(1));
        let above = match self.plan.retention {
            Retention::Trim => self.open().saturating_sub(self.floor()),
            Retention::Keep | Retention::Surplus(_) => self.open().saturating_sub(self.most()),
        };
        self.close_idle(above)
    }

    fn close_idle(&mut self, most: u32) -> u32 {
        let mut closed = 0;
        while closed < most && self.idle.pop_front().is_some() {
            closed += 1;
        }
        closed
    }

    /// Closes what has been idle for too long; returns how many. Lifts what is over.
    pub(crate) fn upkeep(&mut self, now: Nanos) -> u32 {
        if now >= self.saturated_until {
            self.saturated_until = NEVER;
            self.server_room = u32::MAX;
        }
        let Retention::Surplus(timeout) = self.plan.retention else {
            return 0;
        };
        let timeout = as_nanos(timeout);
        let surplus = self.total().saturating_sub(self.floor());
        let due = |since: &&Nanos| now >= **since + timeout;
        let expired = self.idle.iter().take_while(due).count();
        self.close_idle(surplus.min(u32::try_from(expired).unwrap_or(u32::MAX)))
    }

    /// A caller has waited for so long.
    pub(crate) fn waited(&mut self, waited: Nanos) {
        let slow = self.plan.per_slow_wait;
        if slow.is_some_and(|slow| waited > as_nanos(slow)) && self.target < self.plan.max {
            self.target += 1;
            self.decisions.resizes += 1;
        }
    }
}

fn as_nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(NEVER)
}
