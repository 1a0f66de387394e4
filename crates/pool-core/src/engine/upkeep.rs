//! What time alone changes: idle timeout, lifetime, keepalive, leaks, the end of a pause.

use super::{CloseReason, Effects, Gate, Slot, State};
use crate::clock::{NEVER, Nanos, between};
use crate::{Leak, PoolEvent};

impl<C> State<C> {
    /// Does what is due, and says when to look again.
    pub(crate) fn upkeep(&mut self, now: Nanos, fx: &mut Effects<C>) -> Nanos {
        if self.gate == Gate::Closed {
            return NEVER;
        }
        if now >= self.paused_until {
            self.resume(now, fx);
        }
        let next = self
            .lift_saturation(now)
            .min(self.close_expired(now, fx))
            .min(self.close_unused(now, fx))
            .min(self.keep_alive(now, fx))
            .min(self.report_leaks(now, fx))
            .min(self.paused_until);
        if now >= self.guess_holds_until {
            self.guess_holds_until = NEVER;
        }
        self.pump(now, fx);
        // The pump asks for a kick while it waits for a pause to end; this is the answer.
        fx.kick = false;
        next.min(self.guess_holds_until)
            .min(self.backoff.until(now).unwrap_or(NEVER))
    }

    fn lift_saturation(&mut self, now: Nanos) -> Nanos {
        match self.saturated_until {
            Some(until) if now < until => until,
            Some(_) => {
                self.saturated_until = None;
                self.server_room = u32::MAX;
                self.set_ceiling();
                NEVER
            }
            None => NEVER,
        }
    }

    /// Closes what is past its lifetime, and asks for replacements a little earlier.
    fn close_expired(&mut self, now: Nanos, fx: &mut Effects<C>) -> Nanos {
        if self.rules.max_lifetime == NEVER {
            return NEVER;
        }
        let mut next = now.saturating_add(self.rules.max_lifetime / 10);
        let mut at = 0;
        while at < self.idle.len() {
            let expires = self.idle[at].expires;
            if now >= expires {
                let slot = self.idle.remove(at);
                self.retire(slot, CloseReason::Lifetime, fx);
                continue;
            }
            let slot = &mut self.idle[at];
            if now < slot.retires {
                next = next.min(slot.retires);
            } else {
                if !slot.retiring {
                    slot.retiring = true;
                    self.retiring += 1;
                }
                next = next.min(expires);
            }
            at += 1;
        }
        next
    }

    /// Closes the oldest idle connections above the floor whose time is over.
    fn close_unused(&mut self, now: Nanos, fx: &mut Effects<C>) -> Nanos {
        let timeout = match self.target {
            Some(_) => self.rules.surplus_timeout.min(self.rules.idle_timeout),
            None => self.rules.idle_timeout,
        };
        if timeout == NEVER {
            return NEVER;
        }
        let most = self.staying().saturating_sub(self.floor()) as usize;
        let due = |slot: &Slot<C>| slot.idle_since.saturating_add(timeout);
        let surplus = &self.idle[..most.min(self.idle.len())];
        let unused = surplus.partition_point(|slot| now >= due(slot));
        let next = surplus.get(unused).map(|slot| due(slot));
        let gone: Vec<_> = self.idle.drain(..unused).collect();
        for slot in gone {
            self.retire(slot, CloseReason::Idle, fx);
        }
        next.unwrap_or_else(|| now.saturating_add(timeout))
    }

    /// Checks connections that have not been used or checked for a while, a few at a time.
    fn keep_alive(&mut self, now: Nanos, fx: &mut Effects<C>) -> Nanos {
        let interval = self.rules.keepalive;
        if interval == NEVER || self.gate != Gate::Open {
            return NEVER;
        }
        let mut next = now.saturating_add(interval);
        let mut at = 0;
        while at < self.idle.len() {
            let due = self.idle[at].proven.saturating_add(interval);
            if now < due {
                next = next.min(due);
            } else if self.validating < self.rules.max_connecting {
                let slot = self.idle.remove(at);
                self.validate_for_upkeep(slot, fx);
                continue;
            } else {
                // The end of a check kicks upkeep; this is the net below it.
                next = next.min(now.saturating_add(interval / 8));
            }
            at += 1;
        }
        next
    }

    /// Reports each checkout once that lasts longer than the threshold.
    fn report_leaks(&mut self, now: Nanos, fx: &mut Effects<C>) -> Nanos {
        let threshold = self.rules.leak_threshold;
        if threshold == NEVER {
            return NEVER;
        }
        let mut next = now.saturating_add(threshold);
        for holder in self.slots.holders_mut().filter(|holder| !holder.reported) {
            let due = holder.since.saturating_add(threshold);
            if now < due {
                next = next.min(due);
            } else {
                holder.reported = true;
                self.tally.leaks += 1;
                let held = between(holder.since, now);
                fx.events.push(PoolEvent::LeakSuspected(Leak {
                    held,
                    caller: holder.caller,
                }));
            }
        }
        next
    }
}
