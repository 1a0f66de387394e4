//! A connection comes back, from a caller or from a task.

use std::sync::Arc;

use super::{
    CloseReason, ConnectFailure, Delivery, Effects, Gate, Mailbox, Outcome, Phase, Refusal, Slot,
    State, Task, Waited,
};
use crate::ConnectFault;
use crate::clock::{NEVER, Nanos};
use crate::error::SharedError;

/// Controlled delay on the queue, as `DBConnection` does it: when even the shortest wait of an
/// interval was above the target, callers that have waited more than twice the target are turned
/// away until an interval is better.
///
/// Source: K. Nichols, V. Jacobson, "Controlling Queue Delay" (CoDel), ACM Queue 10(5), 2012;
/// the variant for checkout queues is that of Elixir's `db_connection`.
#[derive(Debug)]
pub(crate) struct QueueDelay {
    interval_ends: Nanos,
    shortest: Nanos,
    slow: bool,
}

impl QueueDelay {
    pub(crate) const fn new() -> Self {
        Self {
            interval_ends: 0,
            shortest: Nanos::MAX,
            slow: false,
        }
    }

    /// A caller comes to an empty queue: the shortest wait of this interval was none.
    pub(crate) const fn was_empty(&mut self) {
        self.shortest = 0;
        self.slow = false;
    }

    /// Whether the caller that has waited for `delay` is to be turned away.
    fn sheds(&mut self, delay: Nanos, now: Nanos, target: Nanos, interval: Nanos) -> bool {
        if now >= self.interval_ends {
            self.slow = self.shortest != Nanos::MAX && self.shortest > target;
            self.shortest = delay;
            self.interval_ends = now.saturating_add(interval);
        } else {
            self.shortest = self.shortest.min(delay);
        }
        self.slow && delay > target.saturating_mul(2)
    }
}

/// What became of a connection that came back.
#[derive(Debug)]
pub(crate) enum PutBack<C> {
    /// It is on its way to the oldest caller. In two parts, which stay in registers: what is moved in memory
    /// under the lock waits for what is written there.
    Handed(Box<Slot<C>>, Arc<Mailbox<Outcome<C>>>),
    Idle,
    /// Nothing yet.
    NotYet(Box<Slot<C>>),
}

impl<C> State<C> {
    /// A clean connection comes back from a caller, with nothing else to do: it goes to the oldest
    /// caller or on the idle stack. Anything else gives it back to the caller of this step, for
    /// [`put_back`](Self::put_back).
    #[inline]
    pub(crate) fn try_put_back(&mut self, mut slot: Box<Slot<C>>, now: Nanos) -> PutBack<C> {
        let plain = self.gate == Gate::Open
            && self.open() <= self.bound()
            && slot.generation == self.generation
            && now < slot.retires
            && !slot.retiring;
        if !plain {
            return PutBack::NotYet(slot);
        }
        if self.waiters.is_empty() {
            self.unlend(&slot, now);
            slot.idle_since = now;
            slot.proven = now;
            self.slots.set(slot.row, Phase::Idle);
            self.idle.push(slot);
            return PutBack::Idle;
        }
        // Neither is a caller to be turned away, nor the connection to be checked, nor is there
        // room for another.
        let only_handed = self.rules.controlled_delay.is_none()
            && self.rules.bypass > 0
            && self.total >= self.ceiling;
        if !only_handed {
            return PutBack::NotYet(slot);
        }
        self.unlend(&slot, now);
        slot.idle_since = now;
        slot.proven = now;
        let mailbox = self.hand(&slot, now);
        PutBack::Handed(slot, mailbox)
    }

    /// A clean connection comes back from a caller.
    pub(crate) fn put_back(&mut self, mut slot: Box<Slot<C>>, now: Nanos, fx: &mut Effects<C>) {
        self.unlend(&slot, now);
        slot.idle_since = now;
        slot.proven = now;
        self.begin_to_replace(&mut slot, now);
        self.deliver_used(slot, now, fx);
        self.grow(now, fx);
    }

    /// A connection that is not clean comes back from a caller.
    pub(crate) fn put_back_dirty(
        &mut self,
        mut slot: Box<Slot<C>>,
        now: Nanos,
        fx: &mut Effects<C>,
    ) {
        self.unlend(&slot, now);
        slot.idle_since = now;
        if let Some(reason) = self.unfit(&slot, now) {
            self.retire(slot, reason, fx);
            self.pump(now, fx);
            return;
        }
        self.recycling += 1;
        self.slots.set(slot.row, Phase::Recycling);
        fx.tasks.push(Task::Recycle(slot));
    }

    /// A connection comes back from a caller that is not to be lent again.
    pub(crate) fn put_back_broken(
        &mut self,
        mut slot: Box<Slot<C>>,
        now: Nanos,
        fx: &mut Effects<C>,
    ) {
        self.unlend(&slot, now);
        slot.idle_since = now;
        self.retire(slot, CloseReason::Broken, fx);
        self.pump(now, fx);
    }

    /// A caller keeps its connection for good.
    pub(crate) fn detach(&mut self, slot: Slot<C>, now: Nanos, fx: &mut Effects<C>) -> C {
        self.unlend(&slot, now);
        self.tally.detached += 1;
        self.tally.last_used = Some(now);
        if slot.retiring {
            self.retiring -= 1;
        }
        self.forget(slot.row, now);
        self.pump(now, fx);
        fx.changed = true;
        slot.connection
    }

    /// A task has validated a connection.
    pub(crate) fn validated(&mut self, mut slot: Box<Slot<C>>, now: Nanos, fx: &mut Effects<C>) {
        self.validating -= 1;
        self.end_of_check(&mut slot, true);
        self.doubt = false;
        slot.proven = now;
        slot.checked_in = self.warmups;
        self.deliver(slot, now, fx);
        if self.backoff.proven(now) {
            self.pump(now, fx);
        }
        // Keepalive checks a few at a time; now there is room for the next.
        fx.kick |= self.rules.keepalive != NEVER;
        fx.changed = true;
    }

    /// A task has cleaned a connection.
    pub(crate) fn recycled(&mut self, mut slot: Box<Slot<C>>, now: Nanos, fx: &mut Effects<C>) {
        self.recycling -= 1;
        self.tally.recycled += 1;
        slot.proven = now;
        slot.idle_since = now;
        self.deliver_used(slot, now, fx);
        fx.changed = true;
    }

    /// Notes the end of a check that nobody had asked for.
    fn end_of_check(&mut self, slot: &mut Slot<C>, passed: bool) {
        if std::mem::take(&mut slot.own_check) {
            self.own_checks -= 1;
            self.tally.own_checks_passed += u64::from(passed);
        }
    }

    /// Asks for the replacement of a connection whose life is nearly over.
    pub(crate) fn begin_to_replace(&mut self, slot: &mut Slot<C>, now: Nanos) {
        if now >= slot.retires && !slot.retiring {
            slot.retiring = true;
            self.retiring += 1;
        }
    }

    /// Gives a connection that has just been used to the oldest caller, or to the idle stack. Where
    /// every checkout is to be checked, a hand-off is one.
    fn deliver_used(&mut self, slot: Box<Slot<C>>, now: Nanos, fx: &mut Effects<C>) {
        let unchecked = self.rules.bypass == 0 && self.gate == Gate::Open;
        if unchecked && !self.waiters.is_empty() && self.unfit(&slot, now).is_none() {
            self.validate(slot, fx);
        } else {
            self.deliver(slot, now, fx);
        }
    }

    /// A connection did not pass its check or its cleaning.
    pub(crate) fn turned_bad(
        &mut self,
        mut slot: Box<Slot<C>>,
        reason: CloseReason,
        error: String,
        now: Nanos,
        fx: &mut Effects<C>,
    ) {
        if matches!(self.slots.get(slot.row), Phase::Validating) {
            self.validating -= 1;
            self.doubt = true;
            self.end_of_check(&mut slot, false);
            self.tally.validation_failures += 1;
            self.count_stillborn(&slot, &error, now, fx);
        } else {
            self.recycling -= 1;
            self.tally.recycle_failures += 1;
        }
        self.tally.failed(now, error.clone());
        fx.events.push(crate::PoolEvent::ConnectionFailed {
            id: slot.id,
            error: error.into(),
        });
        self.retire(slot, reason, fx);
        self.pump(now, fx);
        fx.kick |= self.rules.keepalive != NEVER;
        fx.changed = true;
    }

    /// A connection that failed its very first check, soon after it was opened, is a failed
    /// connect to whoever asks why.
    fn count_stillborn(&mut self, slot: &Slot<C>, error: &str, now: Nanos, fx: &mut Effects<C>) {
        let bounds = (self.rules.backoff_base, self.rules.backoff_cap);
        let never_used = slot.proven == slot.created && slot.checked_in == 0;
        if never_used && now.saturating_sub(slot.created) < bounds.1 {
            self.backoff.stillborn(now, bounds, &mut self.rng);
            let text = format!("a new connection did not pass its first check: {error}");
            let error = SharedError::from(Box::<dyn std::error::Error + Send + Sync>::from(text));
            let failure = ConnectFailure::new(error, now, ConnectFault::Transient);
            fx.forgotten
                .extend(self.last_failure.replace(Arc::new(failure)));
        }
    }

    /// Gives a connection that is in no place to the oldest caller, or to the idle stack.
    pub(crate) fn deliver(&mut self, slot: Box<Slot<C>>, now: Nanos, fx: &mut Effects<C>) {
        if let Some(reason) = self.unfit(&slot, now) {
            self.retire(slot, reason, fx);
            self.pump(now, fx);
            return;
        }
        if self.gate == Gate::Open {
            self.shed(now, fx);
            if !self.waiters.is_empty() {
                self.serve_front(slot, now, fx);
                return;
            }
        }
        self.slots.set(slot.row, Phase::Idle);
        // Nearly always the end: only a check without use keeps an older date.
        let at = self
            .idle
            .partition_point(|other| other.idle_since <= slot.idle_since);
        // Out of the order of use, the top need not be the one that was proven last.
        let below = at.checked_sub(1).map(|below| self.idle[below].proven);
        self.proven_below |= at < self.idle.len() || below > Some(slot.proven);
        self.idle.insert(at, slot);
    }

    /// Gives a fit connection to the oldest caller.
    pub(crate) fn serve_front(&mut self, slot: Box<Slot<C>>, now: Nanos, fx: &mut Effects<C>) {
        let mailbox = self.hand(&slot, now);
        fx.deliver(Delivery::new(mailbox, Ok(slot)));
    }

    /// Notes that the oldest caller is given a fit connection. Says where to put it.
    #[inline]
    fn hand(&mut self, slot: &Slot<C>, now: Nanos) -> Arc<Mailbox<Outcome<C>>> {
        let place = self.waiters.front().expect("callers are queued");
        self.flow.queued += 1;
        let waited = Waited::between(place.since, now);
        self.lend(slot, now, place.caller, Some(waited));
        self.waiters.pop_front()
    }

    /// Turns callers away that have waited far above the target, while the queue is slow.
    fn shed(&mut self, now: Nanos, fx: &mut Effects<C>) {
        let Some((target, interval)) = self.rules.controlled_delay else {
            return;
        };
        while let Some(place) = self.waiters.front() {
            let delay = now.saturating_sub(place.since);
            if !self.delay.sheds(delay, now, target, interval) {
                return;
            }
            self.tally.shed += 1;
            fx.deliver(self.waiters.settle_front(Err(Refusal::Shed)));
        }
    }

    /// Why a connection may not be lent any more.
    fn unfit(&self, slot: &Slot<C>, now: Nanos) -> Option<CloseReason> {
        if self.gate == Gate::Closed {
            Some(CloseReason::Closed)
        } else if slot.generation != self.generation {
            Some(CloseReason::Evicted)
        } else if now >= slot.expires || (slot.retiring && self.open() > self.floor()) {
            Some(CloseReason::Lifetime)
        } else if self.open() > self.bound() {
            Some(CloseReason::Surplus)
        } else {
            None
        }
    }

    /// Sends a connection that is in no place away.
    pub(crate) fn retire(&mut self, slot: Box<Slot<C>>, reason: CloseReason, fx: &mut Effects<C>) {
        if slot.retiring {
            self.retiring -= 1;
        }
        self.closing += 1;
        self.tally.last_used = self.tally.last_used.max(slot.last_used());
        self.tally.closed[reason as usize] += 1;
        self.slots.set(slot.row, Phase::Closing);
        fx.tasks.push(Task::Close { slot, reason });
    }

    #[inline]
    fn unlend(&mut self, slot: &Slot<C>, now: Nanos) {
        self.flow.in_use -= 1;
        if let Phase::Lent { holder } = self.slots.get(slot.row) {
            self.tally.returned(&mut self.flow, &holder, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_slow_when_even_its_shortest_wait_was_above_the_target() {
        let mut delay = QueueDelay::new();
        let mut sheds = |waited, now| delay.sheds(waited, now, 50, 1_000);
        assert!(
            !sheds(500, 0),
            "nothing is known before the first interval ends"
        );
        assert!(!sheds(60, 500));
        assert!(
            sheds(500, 1_000),
            "the shortest wait of the interval was 60"
        );
        assert!(!sheds(90, 1_100), "below twice the target");
        assert!(!sheds(10, 1_200));
        assert!(
            !sheds(500, 2_000),
            "one wait of 10 was seen: no longer slow"
        );
    }
}
