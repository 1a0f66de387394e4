//! When to connect, and what a connect that lands or fails changes.

use std::sync::Arc;

use super::slot::Row;
use super::{
    CloseReason, ConnectFailure, ConnectOrder, Effects, Gate, Phase, Refusal, Slot, State, Task,
};
use crate::clock::{NEVER, Nanos, between, nanos};
use crate::sizing::reactive::{Queue, Worth};
use crate::{ConnectFault, PoolEvent};

/// One pause between attempts for the whole pool, however many callers wait.
///
/// The pause is drawn evenly between zero and a bound that doubles with each failed period
/// ("full jitter": M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
/// It is counted from the beginning of the attempt that failed (as in gRPC's Connection Backoff
/// Protocol): one that hung has been its own pause. Attempts that were already under way when a
/// period began do not prolong it. While attempts fail, one at a time is made.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    period: u64,
    until: Nanos,
    /// Connections in a row that were opened and did not pass their first check: a proxy can
    /// finish handshakes for a server that is not there.
    stillborn: u32,
    /// Until when the next one counts as one in a row.
    stillborn_until: Nanos,
    /// Attempts of earlier periods were made at a server that the pool has left.
    left_before: u64,
}

impl Backoff {
    pub(crate) const fn new() -> Self {
        Self {
            failures: 0,
            period: 0,
            until: 0,
            stillborn: 0,
            stillborn_until: 0,
            left_before: 0,
        }
    }

    /// Ends the pause, not the care: the next attempt is made now, and alone.
    pub(crate) const fn cut_short(&mut self) {
        self.until = 0;
    }

    /// Begins anew, as with a server that has never failed.
    pub(crate) const fn start_over(&mut self) {
        let left_before = self.period + 1;
        *self = Self::new();
        self.period = left_before;
        self.left_before = left_before;
    }

    /// Whether an attempt was made at a server that the pool has left.
    const fn left(&self, period: u64) -> bool {
        period < self.left_before
    }

    pub(crate) const fn waits(&self, now: Nanos) -> bool {
        now < self.until
    }

    pub(crate) const fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether one attempt at a time is made.
    pub(crate) const fn careful(&self, now: Nanos) -> bool {
        self.failures > 0 || now < self.stillborn_until
    }

    /// When the next attempt may begin, if one is being waited for.
    pub(crate) fn until(&self, now: Nanos) -> Option<Nanos> {
        self.waits(now).then_some(self.until)
    }

    fn succeeded(&mut self, now: Nanos) {
        if self.failures > 0 && now >= self.stillborn_until {
            self.failures = 0;
            self.period += 1;
            self.until = 0;
        }
    }

    /// Begins the next period, unless the attempt belongs to one that has already failed.
    fn failed(
        &mut self,
        period: u64,
        began: Nanos,
        (base, cap): (Nanos, Nanos),
        rng: &mut fastrand::Rng,
    ) {
        if period != self.period {
            return;
        }
        let bound = base.saturating_mul(1 << self.failures.min(30)).min(cap);
        self.failures = self.failures.saturating_add(1);
        self.period += 1;
        self.until = began.saturating_add(rng.u64(0..=bound));
    }

    /// A connection did not pass its first check: that it could be opened means nothing.
    pub(crate) fn stillborn(
        &mut self,
        now: Nanos,
        (base, cap): (Nanos, Nanos),
        rng: &mut fastrand::Rng,
    ) {
        if now >= self.stillborn_until {
            self.stillborn = 0;
        }
        self.failures = self.failures.max(self.stillborn);
        self.stillborn = self.stillborn.saturating_add(1);
        self.stillborn_until = now.saturating_add(cap.saturating_mul(4));
        self.failed(self.period, now, (base, cap), rng);
    }

    /// A check has passed: the server is there. Says whether that ends a row of stillborn ones.
    pub(crate) fn proven(&mut self, now: Nanos) -> bool {
        let row = self.stillborn_until > 0;
        if row {
            self.stillborn = 0;
            self.stillborn_until = 0;
            self.succeeded(now);
        }
        row
    }
}

/// A connection that has just been opened.
#[derive(Debug)]
pub(crate) struct Landing<C> {
    pub(crate) order: ConnectOrder,
    pub(crate) connection: C,
    pub(crate) took: Nanos,
}

impl<C> State<C> {
    /// Serves the queue from the idle stack as far as that goes, then connects for the rest.
    pub(crate) fn pump(&mut self, now: Nanos, fx: &mut Effects<C>) {
        if self.gate == Gate::Open {
            self.serve(now, fx);
        }
        self.grow(now, fx);
    }

    fn serve(&mut self, now: Nanos, fx: &mut Effects<C>) {
        while !self.waiters.is_empty() {
            let Some(top) = self.idle.last() else {
                return;
            };
            if now >= top.expires {
                let slot = self.idle.pop().expect("the stack has a top");
                self.retire(slot, CloseReason::Lifetime, fx);
            } else if let Some(at) = self.fit(now) {
                let slot = self.idle.remove(at);
                self.serve_front(slot, now, fx);
            } else if self.validating < self.waiters.len() {
                let slot = self.idle.pop().expect("the stack has a top");
                self.validate(slot, fx);
            } else {
                // Each caller already has a check under way on its behalf.
                return;
            }
        }
    }

    /// The warmest idle connection that needs no check: the top, unless checks without use have
    /// proven one below it.
    fn fit(&mut self, now: Nanos) -> Option<usize> {
        let bypass = self.rules.bypass;
        if self.idle.last()?.fit(now, bypass) {
            return Some(self.idle.len() - 1);
        }
        if !self.proven_below {
            return None;
        }
        let found = self.idle.iter().rposition(|slot| slot.fit(now, bypass));
        self.proven_below = found.is_some();
        found
    }

    /// Has a task check a connection that is in no place; whoever is first in the queue when that
    /// is done gets it.
    pub(crate) fn validate(&mut self, slot: Box<Slot<C>>, fx: &mut Effects<C>) {
        self.validating += 1;
        self.slots.set(slot.row, Phase::Validating);
        fx.tasks.push(Task::Validate(slot));
    }

    /// The same for a connection that nobody has asked for.
    pub(crate) fn validate_for_upkeep(&mut self, mut slot: Box<Slot<C>>, fx: &mut Effects<C>) {
        slot.own_check = true;
        self.own_checks += 1;
        self.validate(slot, fx);
    }

    /// Starts as many connects as demand, room, `max_connecting` and backoff allow.
    pub(crate) fn grow(&mut self, now: Nanos, fx: &mut Effects<C>) {
        if self.gate != Gate::Open {
            return;
        }
        // Checks count on their way to a caller, unless the last one failed.
        let checks = if self.doubt { 0 } else { self.validating };
        let demand = self.waiters.len().saturating_sub(self.connecting + checks);
        // A connection whose replacement has been asked for does not count any more.
        let shortfall = self
            .floor()
            .saturating_sub(self.staying().saturating_sub(self.retiring));
        if demand == 0 && shortfall == 0 {
            return;
        }
        let room = self.ceiling.saturating_sub(self.total);
        if room == 0 {
            // Whoever has set the allowance may have more to give.
            fx.wanting |= demand > 0 && self.allowance < self.limits.max();
            return;
        }
        if self.backoff.waits(now) {
            fx.kick = true;
            return;
        }
        let at_once = if self.backoff.careful(now) {
            1
        } else if demand > shortfall {
            let queue = self.queue_now(now);
            let worth = match self.guess.worth(&queue, now) {
                Worth::Connects(connects) => connects,
                Worth::Insurance(holds_for) => {
                    if self.guess_holds_until == NEVER {
                        self.guess_holds_until = now.saturating_add(nanos(holds_for));
                        fx.kick = true;
                    }
                    1
                }
            };
            // A queue that is worth little does not hold up what is opened for the minimum.
            worth
                .max(shortfall.saturating_add(self.connecting))
                .min(self.rules.max_connecting)
        } else {
            self.rules.max_connecting
        };
        let starts = demand
            .max(shortfall)
            .min(room)
            .min(at_once.saturating_sub(self.connecting));
        for _ in 0..starts {
            self.tally.resizing(now, self.total);
            self.total += 1;
            self.connecting += 1;
            self.tally.peak_total = self.tally.peak_total.max(self.total);
            let id = self.next_id;
            self.next_id += 1;
            fx.tasks.push(Task::Connect(ConnectOrder {
                id,
                row: self.slots.open(now),
                generation: self.generation,
                period: self.backoff.period,
            }));
        }
    }

    /// The queue as the reactive path looks at it.
    fn queue_now(&mut self, now: Nanos) -> Queue {
        let since = self.waiters.front().map_or(now, |place| place.since);
        Queue {
            waiting: self.waiters.len(),
            oldest: between(since, now),
            in_use: self.flow.in_use,
            hold: between(0, self.tally.typical_hold(&self.flow)),
            connect: between(0, self.tally.typical_connect),
        }
    }

    /// A connect has succeeded.
    pub(crate) fn landed(&mut self, landing: Landing<C>, now: Nanos, fx: &mut Effects<C>) {
        let Landing {
            order,
            connection,
            took,
        } = landing;
        self.connecting -= 1;
        self.backoff.succeeded(now);
        self.tally.connected(took);
        let id = order.id;
        fx.events.push(PoolEvent::Connected {
            id,
            took: between(0, took),
        });
        fx.changed = true;
        let expires = self.end_of_life(now);
        let slot = Box::new(Slot {
            connection,
            row: order.row,
            id,
            generation: order.generation,
            created: now,
            expires,
            retires: expires.saturating_sub(self.lead()),
            proven: now,
            checked_in: 0,
            idle_since: now,
            own_check: false,
            retiring: false,
            evict: false,
        });
        self.deliver(slot, now, fx);
        self.close_replaced(fx);
        self.pump(now, fx);
    }

    /// Ten per cent more or less than the maximum lifetime, so that connections that were opened
    /// together do not end together.
    fn end_of_life(&mut self, now: Nanos) -> Nanos {
        let lifetime = self.rules.max_lifetime;
        if lifetime == NEVER {
            return NEVER;
        }
        let tenth = lifetime / 10;
        now.saturating_add(lifetime - tenth)
            .saturating_add(self.rng.u64(0..=tenth * 2))
    }

    /// How long before the end of its life a connection is replaced: five seconds, or a twentieth
    /// of its life.
    pub(crate) fn lead(&self) -> Nanos {
        const LEAD: Nanos = 5 * 1_000_000_000;
        LEAD.min(self.rules.max_lifetime / 20)
    }

    /// Closes idle connections whose replacement is there.
    fn close_replaced(&mut self, fx: &mut Effects<C>) {
        // What is still being opened replaces nothing yet.
        while self.retiring > 0 && self.open() > self.floor() {
            let Some(at) = self.idle.iter().position(|slot| slot.retiring) else {
                return;
            };
            let slot = self.idle.remove(at);
            self.retire(slot, CloseReason::Lifetime, fx);
        }
    }

    /// A connect has failed, timed out or panicked.
    pub(crate) fn connect_failed(
        &mut self,
        order: ConnectOrder,
        failure: ConnectFailure,
        now: Nanos,
        fx: &mut Effects<C>,
    ) {
        self.connecting -= 1;
        let began = match self.slots.get(order.row) {
            Phase::Connecting { since } => since,
            _ => now,
        };
        self.forget(order.row, now);
        self.tally.connect_failed(failure.code.as_deref());
        let failure = Arc::new(failure);
        self.tally.failed(now, failure.text.clone());
        fx.events.push(PoolEvent::ConnectFailed {
            error: Arc::clone(&failure.error),
            fault: failure.fault,
        });
        fx.kick = true;
        fx.changed = true;
        if self.backoff.left(order.period) {
            // Says nothing of the server that callers wait for.
            self.pump(now, fx);
            return;
        }
        let bounds = (self.rules.backoff_base, self.rules.backoff_cap);
        self.backoff
            .failed(order.period, began, bounds, &mut self.rng);
        match failure.fault {
            ConnectFault::Permanent if self.open() == 0 => self.refuse_all(&failure, fx),
            ConnectFault::Saturated => self.saturated(now),
            ConnectFault::Permanent | ConnectFault::Transient => {}
        }
        fx.forgotten.extend(self.last_failure.replace(failure));
        self.pump(now, fx);
    }

    /// Nothing that is open could ever serve the queue, and nothing can be opened.
    fn refuse_all(&mut self, failure: &Arc<ConnectFailure>, fx: &mut Effects<C>) {
        while !self.waiters.is_empty() {
            self.tally.failed_fast += 1;
            let refusal = Refusal::Connect(Arc::clone(failure));
            fx.deliver(self.waiters.settle_front(Err(refusal)));
        }
    }

    /// The server has no room for more than it has now.
    fn saturated(&mut self, now: Nanos) {
        self.tally.refusals += 1;
        self.server_room = self.open().max(1);
        self.set_ceiling();
        self.saturated_until = Some(now.saturating_add(self.rules.saturation_hold));
    }

    /// A connection is closed, or its time to close is over.
    pub(crate) fn closed(
        &mut self,
        slot: ClosedSlot,
        timed_out: bool,
        now: Nanos,
        fx: &mut Effects<C>,
    ) {
        self.closing -= 1;
        if timed_out {
            self.tally.close_timeouts += 1;
        }
        self.forget(slot.row, now);
        fx.events.push(PoolEvent::Disconnected {
            id: slot.id,
            reason: slot.reason,
        });
        fx.changed = true;
        self.pump(now, fx);
    }

    /// A connection that is in no place does not exist any more.
    pub(crate) fn forget(&mut self, row: Row, now: Nanos) {
        self.tally.resizing(now, self.total);
        self.total -= 1;
        self.slots.release(row);
    }
}

/// What is left of a connection once it has been given to its `close`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClosedSlot {
    pub(crate) row: Row,
    pub(crate) id: u64,
    pub(crate) reason: CloseReason,
}
