//! Hand-off against cancelling, running out of time, releasing, resizing and closing: every
//! interleaving with up to three preemptions.
//!
//! ```text
//! RUSTFLAGS="--cfg pool_loom" cargo test -p pool-core --lib --release loom
//! ```

use std::future::Future;
use std::panic::Location;
use std::pin::Pin;
use std::task::{Context, Poll};

use loom::future::block_on;
use loom::sync::Arc;
use loom::thread;

use super::{
    ClosedSlot, Delivery, Effects, Given, Landing, Mailbox, Outcome, Place, PutBack, Refused,
    Rules, Slot, State, Task, Waiter, Withdrawn,
};
use crate::Limits;
use crate::clock::NEVER;
use crate::sync::BriefMutex;

type Connection = Box<Slot<u8>>;

/// Explores every schedule with at most three preemptions: nearly all bugs need fewer (M. Musuvathi,
/// S. Qadeer, "Iterative Context Bounding", PLDI 2007), and the time stays within seconds.
fn model(story: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(story);
}

/// A pool whose tasks are run at once by whoever caused them.
struct Pool(BriefMutex<State<u8>>);

impl Pool {
    fn new(max: u32) -> Arc<Self> {
        let rules = Rules {
            acquire_timeout: NEVER,
            bypass: NEVER,
            idle_timeout: NEVER,
            surplus_timeout: NEVER,
            max_lifetime: NEVER,
            keepalive: NEVER,
            leak_threshold: NEVER,
            max_waiters: u32::MAX,
            max_connecting: 4,
            backoff_base: 1,
            backoff_cap: 1,
            saturation_hold: 1,
            controlled_delay: None,
        };
        Arc::new(Self(BriefMutex::new(State::new(
            Limits::new(0, max).unwrap(),
            rules,
            1,
        ))))
    }

    fn step<T>(&self, step: impl FnOnce(&mut State<u8>, &mut Effects<u8>) -> T) -> T {
        let mut fx = Effects::none();
        let result = step(&mut self.0.lock(), &mut fx);
        self.carry_out(fx);
        result
    }

    fn carry_out(&self, fx: Effects<u8>) {
        for delivery in fx.delivery.into_iter().chain(fx.deliveries) {
            self.deliver(delivery);
        }
        for task in fx.tasks {
            match task {
                Task::Close { slot, reason } => {
                    let closed = ClosedSlot {
                        row: slot.row,
                        id: slot.id,
                        reason,
                    };
                    self.step(|state, fx| state.closed(closed, false, 0, fx));
                }
                Task::Connect(order) => {
                    let landing = Landing {
                        order,
                        connection: 0,
                        took: 1,
                    };
                    self.step(|state, fx| state.landed(landing, 0, fx));
                }
                Task::Recycle(_) | Task::Validate(_) => unreachable!("nothing is dirty or old"),
            }
        }
    }

    fn deliver(&self, delivery: Delivery<Outcome<u8>>) {
        match delivery.hand_over() {
            Ok(waker) => waker.wake(),
            Err(Ok(slot)) => self.step(|state, fx| state.untake(slot, 0, fx)),
            Err(Err(_)) => {}
        }
    }

    fn release(&self, slot: Connection) {
        let put = self.0.lock().try_put_back(slot, 0);
        match put {
            PutBack::Idle => {}
            PutBack::Handed(slot, mailbox) => self.deliver(Delivery::new(mailbox, Ok(slot))),
            PutBack::NotYet(slot) => self.step(|state, fx| state.put_back(slot, 0, fx)),
        }
    }

    fn resize(&self, max: u32) {
        self.step(|state, fx| state.set_limits(Limits::new(0, max).unwrap(), 0, fx));
    }

    /// Nothing is in anybody's hands, and the counts know it.
    fn check_at_rest(&self, max: u32) {
        let counts = self.0.lock().counts();
        assert_eq!(
            counts.active + counts.connecting + counts.closing + counts.waiting,
            0,
            "{counts}"
        );
        assert!(
            counts.total <= max && counts.total == counts.idle,
            "{counts}"
        );
    }

    /// Everybody who asked is counted, as one thing.
    fn check_counted_once(&self, asked: u64) {
        assert_eq!(self.0.lock().settled(), asked);
    }
}

/// Begins to acquire.
fn acquire(pool: &Arc<Pool>) -> Caller {
    Caller {
        pool: Arc::clone(pool),
        waiter: None,
    }
}

/// A caller, as in `acquire.rs`, without a runtime.
struct Caller {
    pool: Arc<Pool>,
    waiter: Option<Waiter<u8>>,
}

impl Future for Caller {
    type Output = Option<Connection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Connection>> {
        let pool = Arc::clone(&self.pool);
        if let Some(waiter) = &self.waiter {
            let Ok(outcome) = waiter.mailbox.look(cx.waker()) else {
                return Poll::Pending;
            };
            self.waiter = None;
            return Poll::Ready(outcome.ok());
        }
        let mut fx = Effects::none();
        let mut state = pool.0.lock();
        if let Some(slot) = state.try_take(0, Location::caller()) {
            return Poll::Ready(Some(slot));
        }
        let place = Place {
            since: 0,
            caller: Location::caller(),
            expires: 1,
        };
        let mailbox = Mailbox::new(cx.waker().clone());
        let given = state.queue(0, place, std::sync::Arc::clone(&mailbox), &mut fx);
        drop(state);
        match given {
            Given::Place(number) => {
                let waiter = self.waiter.insert(Waiter { number, mailbox });
                let served = fx.delivery.is_some();
                pool.carry_out(fx);
                if served && let Ok(outcome) = waiter.mailbox.look(cx.waker()) {
                    self.waiter = None;
                    return Poll::Ready(outcome.ok());
                }
                Poll::Pending
            }
            Given::Refused(Refused::Closed) => {
                pool.carry_out(fx);
                Poll::Ready(None)
            }
            Given::Refused(refused) => panic!("{refused:?}"),
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            let withdrawn = self.pool.step(|state, fx| state.cancel(&waiter, 0, fx));
            assert!(
                !matches!(withdrawn, Withdrawn::Outcome(Ok(_))),
                "a connection was lost"
            );
        }
    }
}

/// Polls once and gives up, wherever that leaves it.
fn look_once_and_give_up(pool: &Arc<Pool>) {
    let mut caller = Box::pin(acquire(pool));
    block_on(std::future::poll_fn(|cx| {
        if let Poll::Ready(Some(slot)) = caller.as_mut().poll(cx) {
            pool.release(slot);
        }
        Poll::Ready(())
    }));
}

#[test]
fn loom_each_caller_is_served_while_others_release() {
    model(|| {
        let pool = Pool::new(1);
        let other = Arc::clone(&pool);
        let caller = thread::spawn(move || {
            let slot = block_on(acquire(&other)).expect("the pool is open");
            other.release(slot);
        });
        let slot = block_on(acquire(&pool)).expect("the pool is open");
        pool.release(slot);
        caller.join().unwrap();
        pool.check_at_rest(1);
    });
}

#[test]
fn loom_a_hand_off_to_a_caller_that_gives_up_reaches_the_next() {
    model(|| {
        let pool = Pool::new(1);
        let held = block_on(acquire(&pool)).expect("the pool is open");
        let (first, second) = (Arc::clone(&pool), Arc::clone(&pool));
        let gives_up = thread::spawn(move || look_once_and_give_up(&first));
        let waits = thread::spawn(move || {
            let slot = block_on(acquire(&second)).expect("the pool is open");
            second.release(slot);
        });
        pool.release(held);
        gives_up.join().unwrap();
        waits.join().unwrap();
        pool.check_at_rest(1);
    });
}

#[test]
fn loom_resizing_loses_neither_a_caller_nor_a_place() {
    model(|| {
        let pool = Pool::new(2);
        let held = block_on(acquire(&pool)).expect("the pool is open");
        let (caller, resizer) = (Arc::clone(&pool), Arc::clone(&pool));
        let waits = thread::spawn(move || {
            let slot = block_on(acquire(&caller)).expect("the pool is open");
            caller.release(slot);
        });
        let resizes = thread::spawn(move || resizer.resize(1));
        pool.release(held);
        waits.join().unwrap();
        resizes.join().unwrap();
        pool.check_at_rest(1);
    });
}

#[test]
fn loom_closing_leaves_nobody_waiting() {
    model(|| {
        let pool = Pool::new(1);
        let held = block_on(acquire(&pool)).expect("the pool is open");
        let (caller, closer) = (Arc::clone(&pool), Arc::clone(&pool));
        let waits = thread::spawn(move || {
            if let Some(slot) = block_on(acquire(&caller)) {
                caller.release(slot);
            }
        });
        let closes = thread::spawn(move || closer.step(|state, fx| state.close(fx)));
        pool.release(held);
        waits.join().unwrap();
        closes.join().unwrap();
        pool.check_at_rest(0);
    });
}

/// Waits like `acquire.rs` does; told that its time is over, or served.
fn wait_for_an_outcome(pool: &Arc<Pool>) {
    if let Some(slot) = block_on(acquire(pool)) {
        pool.release(slot);
    }
}

/// The pool ends the time of all who wait, while a connection is on its way to one of them.
#[test]
fn loom_a_hand_off_against_the_end_of_time_is_one_or_the_other() {
    model(|| {
        let pool = Pool::new(1);
        let held = block_on(acquire(&pool)).expect("the pool is open");
        let (caller, keeper) = (Arc::clone(&pool), Arc::clone(&pool));
        let waits = thread::spawn(move || wait_for_an_outcome(&caller));
        let expires = thread::spawn(move || {
            keeper.step(|state, fx| state.expire_all(NEVER - 1, 0, fx));
        });
        pool.release(held);
        waits.join().unwrap();
        expires.join().unwrap();
        pool.check_at_rest(1);
        pool.check_counted_once(2);
    });
}

/// A caller with a timer of its own runs out of time while a connection is on its way to it.
#[test]
fn loom_a_timer_against_a_hand_off_loses_no_connection() {
    model(|| {
        let pool = Pool::new(1);
        let held = block_on(acquire(&pool)).expect("the pool is open");
        let other = Arc::clone(&pool);
        let times_out = thread::spawn(move || {
            let mut caller = Box::pin(acquire(&other));
            block_on(std::future::poll_fn(|cx| {
                if let Poll::Ready(Some(slot)) = caller.as_mut().poll(cx) {
                    other.release(slot);
                }
                Poll::Ready(())
            }));
            let Some(waiter) = caller.waiter.take() else {
                return;
            };
            let withdrawn = other.0.lock().expire(&waiter);
            if let Withdrawn::Outcome(Ok(slot)) = withdrawn {
                other.release(slot);
            }
        });
        pool.release(held);
        times_out.join().unwrap();
        pool.check_at_rest(1);
        pool.check_counted_once(2);
    });
}

/// A caller gives up while the pool tells it that its time is over: it counts as one of the two.
#[test]
fn loom_who_gives_up_as_its_time_ends_counts_once() {
    model(|| {
        let pool = Pool::new(1);
        let held = block_on(acquire(&pool)).expect("the pool is open");
        let (caller, keeper) = (Arc::clone(&pool), Arc::clone(&pool));
        let gives_up = thread::spawn(move || look_once_and_give_up(&caller));
        let expires = thread::spawn(move || {
            keeper.step(|state, fx| state.expire_all(NEVER - 1, 0, fx));
        });
        gives_up.join().unwrap();
        expires.join().unwrap();
        pool.check_counted_once(2);
        pool.release(held);
        pool.check_at_rest(1);
    });
}
