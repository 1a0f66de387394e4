//! Taking a connection, or a place in the queue for one.

use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

use super::waiters::Removed;
use super::{
    ConnectFailure, Effects, Gate, Holder, Mailbox, Outcome, Phase, Place, Refusal, Slot, State,
    Waiter,
};
use crate::ConnectFault;
use crate::clock::Nanos;
use crate::error::Step;

/// What a caller is given when there is no connection for it at once.
#[derive(Debug)]
pub(crate) enum Given {
    /// The place in the queue with this number.
    Place(u64),
    /// Nothing: it would be no use to wait.
    Refused(Refused),
}

/// Why a caller was not let into the queue.
#[derive(Clone, Debug)]
pub(crate) enum Refused {
    Closed,
    Connect(Arc<ConnectFailure>),
    QueueFull,
}

/// What a caller that gives up had.
#[derive(Debug)]
pub(crate) enum Withdrawn<C> {
    /// Only its place; what may be on its way will find it gone. The waker is dropped outside the
    /// lock.
    Place(#[expect(dead_code, reason = "kept for its drop")] Waker),
    /// An outcome that it had not looked at yet.
    Outcome(Outcome<C>),
    /// A connection, which has gone to the next one.
    PassedOn,
}

impl<C> State<C> {
    /// Takes the warmest idle connection if that is fit and nobody is queued.
    #[inline]
    pub(crate) fn try_take(
        &mut self,
        now: Nanos,
        caller: &'static Location<'static>,
    ) -> Option<Box<Slot<C>>> {
        if self.gate != Gate::Open || !self.waiters.is_empty() {
            return None;
        }
        let bypass = self.rules.bypass;
        let slot = self.idle.pop_if(|slot| slot.fit(now, bypass))?;
        self.tally.immediate += 1;
        self.lend(&slot, now, caller, None);
        Some(slot)
    }

    /// Takes a place at the end of the queue. Under the same lock as a [`try_take`](Self::try_take)
    /// that found nothing: whoever returns a connection afterwards sees the place.
    #[cold]
    pub(crate) fn queue(
        &mut self,
        now: Nanos,
        place: Place,
        mailbox: &Arc<Mailbox<Outcome<C>>>,
        fx: &mut Effects<C>,
    ) -> Given {
        if self.gate == Gate::Closed {
            return Given::Refused(Refused::Closed);
        }
        // Callers for whom there is room, or something on its way, do not wait in vain.
        let coming = self.connecting + self.validating + self.idle_len();
        let covered = coming + self.ceiling.saturating_sub(self.total);
        if self.waiters.len() >= self.rules.max_waiters.saturating_add(covered) {
            self.tally.rejected += 1;
            return Given::Refused(Refused::QueueFull);
        }
        if let Some(failure) = self.hopeless(now) {
            self.tally.failed_fast += 1;
            return Given::Refused(Refused::Connect(failure));
        }
        if self.waiters.is_empty() {
            self.delay.was_empty();
            self.guess.forget();
        }
        let number = self.waiters.push_back(place, Arc::clone(mailbox));
        // Upkeep may be asleep until a caller before this one runs out of time.
        fx.kick |= self.waiters.shuffled();
        self.pump(now, fx);
        // Whoever waits for a check of an idle connection is not short of one.
        self.tally.short += u64::from(self.waiters.len() > self.validating);
        Given::Place(number)
    }

    /// The failure that makes waiting useless: nothing is open or being opened, and the last
    /// attempt failed for a reason that the next one, not yet due, would meet again.
    fn hopeless(&self, now: Nanos) -> Option<Arc<ConnectFailure>> {
        let failure = self.last_failure.as_ref()?;
        let hopeless = failure.fault == ConnectFault::Permanent
            && self.backoff.waits(now)
            && self.open() == 0
            && self.connecting == 0;
        hopeless.then(|| Arc::clone(failure))
    }

    /// Tells the callers whose time is over, by the timer's clock. Says when the next one's is.
    pub(crate) fn expire_all(&mut self, timer: Nanos, fx: &mut Effects<C>) -> Nanos {
        let step = self.awaited();
        let tally = &mut self.tally;
        let next = self.waiters.settle_expired(
            timer,
            || {
                tally.timeouts += 1;
                Err(Refusal::TimedOut(step))
            },
            |delivery| fx.deliver(delivery),
        );
        // A caller that comes later has more time than one that is here.
        next.unwrap_or_else(|| timer.saturating_add(self.rules.acquire_timeout))
    }

    /// What callers in the queue wait for.
    pub(crate) fn awaited(&self) -> Step {
        if self.gate == Gate::Paused {
            Step::Paused
        } else if self.connecting > 0 || (self.total < self.ceiling && self.open() == 0) {
            Step::Connect
        } else if self.validating > 0 {
            Step::Validate
        } else if self.closing > 0 && self.open() == 0 {
            Step::Close
        } else {
            Step::Return
        }
    }

    /// Gives up a place whose owner's time is over. An outcome that arrived in time counts.
    pub(crate) fn expire(&mut self, waiter: &Waiter<C>) -> Withdrawn<C> {
        match self.waiters.remove(waiter.number, &waiter.mailbox) {
            Removed::Left(waker) => {
                self.tally.timeouts += 1;
                Withdrawn::Place(waker)
            }
            Removed::Settled(outcome) => Withdrawn::Outcome(outcome),
        }
    }

    /// Gives up a place whose owner is gone. A connection that was on its way to it goes to the
    /// next one.
    pub(crate) fn cancel(
        &mut self,
        waiter: &Waiter<C>,
        now: Nanos,
        fx: &mut Effects<C>,
    ) -> Withdrawn<C> {
        match self.waiters.remove(waiter.number, &waiter.mailbox) {
            Removed::Left(waker) => {
                self.tally.cancelled += 1;
                Withdrawn::Place(waker)
            }
            Removed::Settled(Ok(slot)) => {
                self.tally.cancelled += 1;
                self.untake(slot, now, fx);
                Withdrawn::PassedOn
            }
            // It counts as what it was told, though it did not live to hear it.
            Removed::Settled(Err(refusal)) => Withdrawn::Outcome(Err(refusal)),
        }
    }

    /// Notes that `slot` is now with `caller`.
    #[inline]
    pub(crate) fn lend(
        &mut self,
        slot: &Slot<C>,
        now: Nanos,
        caller: &'static Location<'static>,
        waited: Option<Nanos>,
    ) {
        self.in_use += 1;
        if self.in_use > self.tally.peak_in_use {
            self.tally.peak_in_use = self.in_use;
        }
        let holder = Holder {
            since: now,
            waited,
            caller,
            reported: false,
        };
        self.slots.set(slot.row, Phase::Lent { holder });
    }

    /// A connection was handed to a caller that is gone.
    pub(crate) fn untake(&mut self, slot: Box<Slot<C>>, now: Nanos, fx: &mut Effects<C>) {
        self.in_use -= 1;
        if let Phase::Lent { holder } = self.slots.get(slot.row) {
            self.tally.passed_on(&holder);
        }
        self.deliver(slot, now, fx);
    }
}
