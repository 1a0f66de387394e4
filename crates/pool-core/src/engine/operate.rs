//! What an operator or a sizing policy does to a pool that runs.

use std::cmp::Ordering;

use super::{CloseReason, Effects, Gate, Refusal, State};
use crate::clock::{NEVER, Nanos};
use crate::{Limits, PoolEvent};

impl<C> State<C> {
    /// Puts new limits in force: growth serves waiting callers at once, shrinking closes idle
    /// connections at once, oldest first, and the others when they come back.
    pub(crate) fn set_limits(&mut self, limits: Limits, now: Nanos, fx: &mut Effects<C>) {
        if limits == self.limits {
            return;
        }
        fx.events.push(PoolEvent::LimitsChanged {
            from: self.limits,
            to: limits,
        });
        let size = |limits: Limits| (limits.max(), limits.min());
        if size(limits) > size(self.limits) {
            self.tally.resized.limits_up += 1;
        } else {
            self.tally.resized.limits_down += 1;
        }
        self.limits = limits;
        self.tally.resizes += 1;
        self.resized(now, fx);
    }

    /// Allows so much of the maximum: as [`set_limits`](Self::set_limits), for a maximum that is
    /// not the pool's own.
    pub(crate) fn set_allowance(&mut self, allowance: u32, now: Nanos, fx: &mut Effects<C>) {
        if allowance != self.allowance {
            self.allowance = allowance;
            self.resized(now, fx);
        }
    }

    fn resized(&mut self, now: Nanos, fx: &mut Effects<C>) {
        self.saturated_until = None;
        self.server_room = u32::MAX;
        self.set_ceiling();
        self.trim(fx);
        self.pump(now, fx);
        fx.kick = true;
        fx.changed = true;
    }

    /// Closes idle connections, oldest first, until the rest is within the maximum or in use.
    fn trim(&mut self, fx: &mut Effects<C>) {
        let surplus = self
            .open()
            .saturating_sub(self.bound())
            .min(self.idle_len());
        let gone: Vec<_> = self.idle.drain(..surplus as usize).collect();
        for slot in gone {
            self.retire(slot, CloseReason::Surplus, fx);
        }
    }

    /// Sets how many connections are kept warm between the limits; `None` means the minimum.
    pub(crate) fn set_target(&mut self, target: Option<u32>, now: Nanos, fx: &mut Effects<C>) {
        let before = self.wanted();
        self.target = target;
        match self.wanted().cmp(&before) {
            Ordering::Greater => self.tally.resized.target_up += 1,
            Ordering::Less => self.tally.resized.target_down += 1,
            Ordering::Equal => {}
        }
        self.grow(now, fx);
        fx.kick = true;
    }

    /// Allows demand to open at most this many connections, one at the least, within the maximum;
    /// surplus is closed as after [`set_limits`](Self::set_limits).
    pub(crate) fn allow(&mut self, allowed: Option<u32>, now: Nanos, fx: &mut Effects<C>) {
        let allowed = allowed.map_or(u32::MAX, |allowed| allowed.max(1));
        if allowed == self.allowed {
            return;
        }
        self.allowed = allowed;
        self.set_ceiling();
        self.trim(fx);
        self.pump(now, fx);
        fx.changed = true;
    }

    /// Closes what is idle now. Returns how many that were.
    pub(crate) fn evict_idle(&mut self, now: Nanos, fx: &mut Effects<C>) -> u32 {
        let evicted = self.idle_len();
        self.close_idle(CloseReason::Evicted, fx);
        self.grow(now, fx);
        evicted
    }

    /// Closes each connection that exists now, as soon as it is not in use.
    pub(crate) fn soft_evict(&mut self, now: Nanos, fx: &mut Effects<C>) {
        self.generation += 1;
        self.close_idle(CloseReason::Evicted, fx);
        self.grow(now, fx);
    }

    /// Somebody has seen the server: what would be tried after a pause is tried now.
    pub(crate) fn retry_now(&mut self, now: Nanos, fx: &mut Effects<C>) {
        if self.backoff.waits(now) {
            self.backoff.cut_short();
            self.grow(now, fx);
        }
    }

    /// Connects go to another server from now on: nothing that the last one did holds for it.
    pub(crate) fn start_over(&mut self, now: Nanos, fx: &mut Effects<C>) {
        self.generation += 1;
        self.close_idle(CloseReason::Evicted, fx);
        self.backoff.start_over();
        fx.forgotten.extend(self.last_failure.take());
        self.resized(now, fx);
    }

    fn close_idle(&mut self, reason: CloseReason, fx: &mut Effects<C>) {
        for slot in std::mem::take(&mut self.idle) {
            self.retire(slot, reason, fx);
        }
    }

    /// Lends nothing and opens nothing until [`resume`](Self::resume) or `until`.
    pub(crate) fn pause(&mut self, until: Nanos, fx: &mut Effects<C>) {
        if self.gate == Gate::Closed {
            return;
        }
        self.gate = Gate::Paused;
        self.paused_until = until;
        fx.events.push(PoolEvent::Paused);
        fx.kick = true;
    }

    pub(crate) fn resume(&mut self, now: Nanos, fx: &mut Effects<C>) {
        if self.gate != Gate::Paused {
            return;
        }
        self.gate = Gate::Open;
        self.paused_until = NEVER;
        fx.events.push(PoolEvent::Resumed);
        self.pump(now, fx);
    }

    /// Turns the queue away and closes what is idle; the rest is closed when it comes back.
    /// Returns how many callers were turned away.
    pub(crate) fn close(&mut self, fx: &mut Effects<C>) -> u32 {
        if self.gate == Gate::Closed {
            return 0;
        }
        self.gate = Gate::Closed;
        let refused = self.waiters.len();
        while !self.waiters.is_empty() {
            fx.deliver(self.waiters.settle_front(Err(Refusal::Closed)));
        }
        self.close_idle(CloseReason::Closed, fx);
        fx.events.push(PoolEvent::Closed);
        fx.kick = true;
        fx.changed = true;
        refused
    }
}
