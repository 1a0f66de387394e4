//! Taking a connection, or a place in the queue for one.

use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

use super::waiters::{A_LITTLE, Removed};
use super::{
    ConnectFailure, Effects, Gate, Holder, Longest, Mailbox, Outcome, Phase, Place, Refusal, Slot,
    SlotTable, State, TimedOut, Waited, Waiter,
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
        self.immediate += 1;
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
        mailbox: Arc<Mailbox<Outcome<C>>>,
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
        // Upkeep sleeps for no longer than a caller before this one has time, which is nearly always less.
        fx.kick |= place.expires.saturating_add(A_LITTLE) < self.looks_at;
        let number = self.waiters.push_back(place, mailbox);
        self.pump(now, fx);
        // Whoever waits for a check of an idle connection is not short of one.
        self.flow.short += u64::from(self.waiters.len() > self.validating);
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
    pub(crate) fn expire_all(&mut self, timer: Nanos, now: Nanos, fx: &mut Effects<C>) -> Nanos {
        let step = self.awaited();
        let (tally, slots, looked) = (&mut self.tally, &self.slots, &mut self.looked);
        let mut told = None;
        let next = self.waiters.settle_expired(
            timer,
            || {
                tally.timeouts += 1;
                let told = told.get_or_insert_with(|| {
                    let longest = look(slots, looked, now);
                    Arc::new(TimedOut { step, longest })
                });
                Err(Refusal::TimedOut(Arc::clone(told)))
            },
            |delivery| fx.deliver(delivery),
        );
        // A caller that comes later has more time than one that is here; one that has less kicks.
        self.looks_at = next.unwrap_or_else(|| timer.saturating_add(self.rules.acquire_timeout));
        self.looks_at
    }

    /// What a caller is told whose time is over now.
    pub(crate) fn timed_out(&mut self, now: Nanos) -> Arc<TimedOut> {
        let longest = look(&self.slots, &mut self.looked, now);
        let step = self.awaited();
        Arc::new(TimedOut { step, longest })
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
            // Counted once what is on its way finds nobody, or as what that says.
            Removed::OnItsWay(waker) => Withdrawn::Place(waker),
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
            // Counted once what is on its way finds nobody, or as what that says.
            Removed::OnItsWay(waker) => Withdrawn::Place(waker),
            Removed::Settled(Ok(slot)) => {
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
        waited: Option<Waited>,
    ) {
        self.flow.lent();
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
        self.flow.in_use -= 1;
        self.tally.cancelled += 1;
        if let Phase::Lent { holder } = self.slots.get(slot.row) {
            self.tally.passed_on(&holder);
        }
        self.deliver(slot, now, fx);
    }
}

/// For how long a look will do, for each connection. A look takes a few nanoseconds for each, under
/// the lock; callers whose time ends one by one must not make one each.
const LOOK_AGAIN: Nanos = 100;

/// What has lasted longest: at this moment, or a little earlier.
fn look(slots: &SlotTable, looked: &mut Option<(Nanos, Longest)>, now: Nanos) -> Longest {
    match looked {
        Some((until, longest)) if now < *until => *longest,
        _ => {
            let longest = slots.longest();
            let lasts = LOOK_AGAIN.saturating_mul(slots.len() as Nanos);
            *looked = Some((now.saturating_add(lasts), longest));
            longest
        }
    }
}

#[cfg(all(test, not(pool_loom)))]
mod tests {
    use super::*;
    use crate::Limits;
    use crate::clock::NEVER;
    use crate::engine::{Landing, Task};

    type Held = Box<Slot<u32>>;

    const SECOND: Nanos = 1_000_000_000;

    /// A pool of `n` connections, all of them lent since a second of their own.
    fn lent(n: u32) -> (State<u32>, Vec<Held>) {
        let rules = crate::builder::Settings::default().rules(false);
        let mut state = State::new(Limits::new(n, n).unwrap(), rules, 1);
        (state.rules.max_connecting, state.rules.bypass) = (n, NEVER);
        state.rules.max_lifetime = NEVER;
        let mut fx = Effects::none();
        state.grow(0, &mut fx);
        for task in fx.tasks {
            let Task::Connect(order) = task else {
                unreachable!("nothing but connects is wanted")
            };
            let landing = Landing {
                order,
                connection: 0,
                took: 1,
            };
            state.landed(landing, 0, &mut Effects::none());
        }
        let mut take = |n: u32| state.try_take(SECOND * Nanos::from(n), Location::caller());
        let held = (1..=n).map(|n| take(n).expect("it is idle")).collect();
        (state, held)
    }

    fn wait(state: &mut State<u32>, now: Nanos, expires: Nanos) -> Waiter<u32> {
        wait_kicking(state, now, expires).0
    }

    /// Says also whether upkeep was kicked for it.
    fn wait_kicking(state: &mut State<u32>, now: Nanos, expires: Nanos) -> (Waiter<u32>, bool) {
        let mut fx = Effects::none();
        let mailbox = Mailbox::new(Waker::noop().clone());
        let place = Place {
            since: now,
            caller: Location::caller(),
            expires,
        };
        match state.queue(now, place, Arc::clone(&mailbox), &mut fx) {
            Given::Place(number) => (Waiter { number, mailbox }, fx.kick),
            Given::Refused(refused) => panic!("{refused:?}"),
        }
    }

    #[test]
    fn callers_whose_time_ends_together_share_one_look_at_the_connections() {
        let now = 100 * SECOND;
        let (mut state, _held) = lent(4);
        let waiters: Vec<_> = (0..3).map(|_| wait(&mut state, now, now)).collect();
        let mut fx = Effects::none();
        state.expire_all(now, now, &mut fx);
        for delivery in fx.delivery.into_iter().chain(fx.deliveries) {
            assert!(delivery.hand_over().is_ok());
        }
        let told: Vec<_> = waiters
            .iter()
            .map(|waiter| match waiter.mailbox.look(Waker::noop()) {
                Ok(Err(Refusal::TimedOut(told))) => told,
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(told.iter().all(|each| Arc::ptr_eq(each, &told[0])));
        assert_eq!(
            told[0].longest.holder.map(|holder| holder.since),
            Some(SECOND)
        );
    }

    /// Whoever is held up between reading the clock and taking the lock queues behind callers with more
    /// time. Where many wait there is always somebody, and each kick has upkeep look at all of them.
    #[test]
    fn callers_with_more_time_than_upkeep_sleeps_do_not_kick_it() {
        const HELD_UP: Nanos = 5_000_000;
        let now = 100 * SECOND;
        let (mut state, _held) = lent(1);
        let time = state.rules.acquire_timeout;
        state.expire_all(now, now, &mut Effects::none());
        let mut waiters = vec![wait(&mut state, now, now + time)];
        let (waiter, kicked) = wait_kicking(&mut state, now + HELD_UP, now + time - HELD_UP);
        waiters.push(waiter);
        assert!(kicked, "it has less time than upkeep sleeps");
        for (early, kicks) in [(A_LITTLE, false), (A_LITTLE + 1, true)] {
            let (waiter, kicked) = wait_kicking(&mut state, now, now + time - early);
            waiters.push(waiter);
            assert_eq!(kicked, kicks, "{early} ns before upkeep looks");
        }
        let next = state.expire_all(now, now + HELD_UP, &mut Effects::none());
        assert_eq!(next, now + time - HELD_UP);
        for later in HELD_UP..HELD_UP + 100 {
            let now = now + later;
            let (waiter, kicked) = wait_kicking(&mut state, now, now + time);
            waiters.push(waiter);
            assert!(!kicked, "it has more time than upkeep sleeps");
        }
    }

    #[test]
    fn callers_with_timers_of_their_own_look_no_more_often_than_a_look_is_worth() {
        let (mut state, mut held) = lent(1_000);
        let since = |state: &mut State<u32>, now| {
            let told = state.timed_out(now);
            told.longest.holder.map(|holder| holder.since)
        };
        let now = 2_000 * SECOND;
        assert_eq!(since(&mut state, now), Some(SECOND));
        let put = state.try_put_back(held.remove(0), now);
        assert!(matches!(put, crate::engine::PutBack::Idle));
        // A thousand rows: 100 µs.
        assert_eq!(since(&mut state, now + 99_999), Some(SECOND));
        assert_eq!(since(&mut state, now + 100_000), Some(2 * SECOND));
    }
}
