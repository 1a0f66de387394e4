//! What operators, a sizing policy and time do to the pool.

use super::{World, has_own_timer};
use crate::Limits;
use crate::clock::{NEVER, Nanos};
use crate::engine::State;

impl World {
    pub(super) fn resize(&mut self, rng: &mut fastrand::Rng) {
        let max = rng.u32(1..16);
        let min = rng.u32(0..=max.min(4));
        if rng.bool() {
            self.model.allowance = [0, rng.u32(0..16), u32::MAX][rng.usize(0..3)];
            let allowance = self.model.allowance;
            let name = format!("allow {allowance}");
            self.engine(&name, |state, now, fx| {
                state.set_allowance(allowance, now, fx)
            });
        }
        self.model.min = min;
        self.model.max = max;
        let limits = Limits::new(min, max).unwrap();
        let name = format!("resize to {limits}");
        self.engine(&name, |state, now, fx| state.set_limits(limits, now, fx));
    }

    pub(super) fn allow(&mut self, rng: &mut fastrand::Rng) {
        let allowed = rng.bool().then(|| rng.u32(0..12));
        // One at the least.
        self.model.allowed = allowed.map_or(u32::MAX, |allowed| allowed.max(1));
        let name = format!("allow demand {allowed:?}");
        self.engine(&name, |state, now, fx| state.allow(allowed, now, fx));
    }

    pub(super) fn retarget(&mut self, rng: &mut fastrand::Rng) {
        let target = rng.bool().then(|| rng.u32(0..16));
        self.engine("target", |state, now, fx| state.set_target(target, now, fx));
    }

    pub(super) fn evict(&mut self, rng: &mut fastrand::Rng) {
        if rng.bool() {
            self.model.generation += 1;
            self.engine("soft evict", State::soft_evict);
        } else {
            self.engine("evict idle", State::evict_idle);
        }
    }

    pub(super) fn pause(&mut self, rng: &mut fastrand::Rng) {
        if !self.model.closed {
            self.model.paused = true;
        }
        let until = if rng.bool() { NEVER } else { self.now + 50 };
        self.engine("pause", |state, _, fx| state.pause(until, fx));
    }

    pub(super) fn resume(&mut self) {
        self.model.paused = false;
        self.engine("resume", State::resume);
    }

    pub(super) fn upkeep(&mut self) {
        if !self.model.closed && self.now >= self.state.paused_until {
            self.model.paused = false;
        }
        let deadline = self.engine("expire", |state, now, fx| state.expire_all(now, now, fx));
        let mut waiting = self.model.queue.iter().filter(|one| !has_own_timer(**one));
        let overdue = waiting.find(|one| self.is_over(self.since[*one])).copied();
        self.expect(overdue.is_none(), || {
            format!("{overdue:?} is still queued, its time over")
        });
        let next = self.engine("upkeep", State::upkeep);
        let next = next.min(deadline);
        let now = self.now;
        self.expect(next > now || self.state_is_due(next), || {
            format!("due at {next}, now {now}")
        });
    }

    fn state_is_due(&self, next: Nanos) -> bool {
        // Only a check that cannot begin yet may be due already.
        next == self.now && self.state.validating >= self.state.rules.max_connecting
    }

    pub(super) fn detach(&mut self, rng: &mut fastrand::Rng) {
        if self.held.is_empty() {
            return;
        }
        let slot = self.held.swap_remove(rng.usize(0..self.held.len()));
        self.model.connections.remove(&slot.connection);
        self.engine("detach", |state, now, fx| state.detach(*slot, now, fx));
    }

    pub(super) fn close(&mut self) {
        self.model.closed = true;
        self.engine("close", |state, _, fx| state.close(fx));
    }
}
