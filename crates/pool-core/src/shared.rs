//! What the handles, guards and tasks of one pool have in common.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::{Duration, SystemTime};

use crossbeam_utils::CachePadded;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::builder::Settings;
use crate::clock::{Clock, Nanos, between, nanos};
use crate::engine::{Delivery, Effects, Holder, Longest, Outcome, PutBack, Slot, State};
use crate::error::{ErrorContext, HeldSince};
use crate::events::EventHub;
use crate::hooks::{ConnectionInfo, Hooks};
use crate::runtime_settings::RuntimeSettings;
use crate::sizing::Sizer;
use crate::sync::BriefMutex;
use crate::{ConnectionManager, ReleaseCheck};

/// One pool.
///
/// Invariant: while `state` is locked nothing awaits, spawns, or calls code of a manager, a hook or
/// a listener. Wakers are called after it; the one that ends evaluations when settings of sizing change
/// is the crate's own task's.
pub(crate) struct Shared<M: ConnectionManager> {
    pub(crate) state: CachePadded<BriefMutex<State<M::Connection>>>,
    /// Whether callers are queued, as it was a moment ago: a hint, read without the lock.
    pub(crate) crowded: CachePadded<AtomicBool>,
    /// Whether the pool is closed: set with the gate, for good, and read without the lock by those who
    /// look before each operation.
    pub(crate) shut: CachePadded<AtomicBool>,
    pub(crate) clock: Clock,
    /// The beginning of the timer's clock.
    pub(crate) epoch: tokio::time::Instant,
    pub(crate) manager: M,
    pub(crate) hooks: Hooks<M::Connection>,
    pub(crate) settings: Settings,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) tasks: TaskTracker,
    pub(crate) events: EventHub,
    /// Wakes upkeep.
    pub(crate) kick: Notify,
    /// Wakes whoever waits for the pool's size or state.
    pub(crate) changed: Notify,
    /// Notified along with `changed`, for whoever looks after several pools.
    pub(crate) watcher: OnceLock<Arc<Notify>>,
    /// Those of the settings that can change.
    pub(crate) tuned: Mutex<RuntimeSettings>,
    /// Cancelled when the pool is closed.
    pub(crate) closed: CancellationToken,
    pub(crate) sizer: Sizer,
    pub(crate) created: SystemTime,
}

impl<M: ConnectionManager> Shared<M> {
    #[inline]
    pub(crate) fn now(&self) -> Nanos {
        self.clock.now()
    }

    /// Whether callers were queued a moment ago.
    #[inline]
    pub(crate) fn crowded(&self) -> bool {
        self.crowded.load(Ordering::Relaxed)
    }

    /// Written only when it changes, so that everybody can go on reading it.
    #[inline]
    pub(crate) fn set_crowded(&self, crowded: bool) {
        if self.crowded() != crowded {
            self.crowded.store(crowded, Ordering::Relaxed);
        }
    }

    /// The timer's clock, on which callers' deadlines run.
    pub(crate) fn timer(&self) -> Nanos {
        nanos(self.epoch.elapsed())
    }

    /// Takes one step of the engine and carries out what it leaves to do.
    pub(crate) fn step<T>(
        self: &Arc<Self>,
        step: impl FnOnce(&mut State<M::Connection>, Nanos, &mut Effects<M::Connection>) -> T,
    ) -> T {
        let mut fx = Effects::none();
        let now = self.now();
        let result = step(&mut self.state.lock(), now, &mut fx);
        self.carry_out(fx);
        result
    }

    /// Does what a step left to do, now that the lock is free.
    #[inline]
    pub(crate) fn carry_out(self: &Arc<Self>, fx: Effects<M::Connection>) {
        let only_delivery = fx.tasks.is_empty()
            && fx.events.is_empty()
            && fx.deliveries.is_empty()
            && fx.forgotten.is_empty()
            && !fx.kick
            && !fx.changed
            && !fx.wanting;
        if only_delivery {
            if let Some(delivery) = fx.delivery
                && let Some(waker) = self.deliver(delivery)
            {
                self.wake(waker);
            }
        } else {
            self.carry_out_all(fx);
        }
    }

    /// Tells first, so that listeners hear of a connection before its user can end it; wakes last,
    /// because wakers are foreign code.
    #[cold]
    fn carry_out_all(self: &Arc<Self>, fx: Effects<M::Connection>) {
        for event in fx.events {
            self.announce(event);
        }
        for task in fx.tasks {
            self.start(task);
        }
        if fx.kick {
            self.kick.notify_one();
        }
        if fx.changed {
            self.changed.notify_waiters();
        }
        if (fx.changed || fx.wanting)
            && let Some(watcher) = self.watcher.get()
        {
            watcher.notify_one();
        }
        let deliveries = fx.delivery.into_iter().chain(fx.deliveries);
        // All are handed over before anybody is woken.
        let wakers: Vec<_> = deliveries.filter_map(|each| self.deliver(each)).collect();
        for waker in wakers {
            self.wake(waker);
        }
    }

    /// Wakes a caller. Wakers are foreign code: one that panics must neither cost the others their
    /// turn nor unwind out of the drop of a guard.
    #[inline]
    fn wake(&self, waker: Waker) {
        if std::panic::catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
            tracing::error!(pool = &*self.settings.name, "a caller's waker panicked");
        }
    }

    /// Hands an outcome over and returns whom to wake. A connection whose caller has given up
    /// meanwhile goes to the next one.
    #[inline]
    fn deliver(self: &Arc<Self>, delivery: Delivery<Outcome<M::Connection>>) -> Option<Waker> {
        match delivery.hand_over() {
            Ok(waker) => Some(waker),
            Err(outcome) => {
                self.pass_on(outcome);
                None
            }
        }
    }

    #[cold]
    fn pass_on(self: &Arc<Self>, outcome: Outcome<M::Connection>) {
        if let Ok(slot) = outcome {
            self.step(|state, now, fx| state.untake(slot, now, fx));
        }
    }

    /// A task of the pool was dropped before its end. Unless it panicked, its runtime has ended,
    /// and with it the pool: what cannot run must not be started again.
    pub(crate) fn abandon(self: &Arc<Self>) {
        if !std::thread::panicking() {
            self.begin_close();
        }
    }

    /// Takes a connection back from a caller.
    #[inline]
    pub(crate) fn give_back(self: &Arc<Self>, mut slot: Box<Slot<M::Connection>>) {
        let check = if slot.evict {
            ReleaseCheck::Broken
        } else {
            self.look_at(&mut slot)
        };
        if check != ReleaseCheck::Clean {
            return self.give_back_unclean(slot, check);
        }
        let now = self.now();
        let put = self.state.lock().try_put_back(slot, now);
        match put {
            PutBack::Idle => self.set_crowded(false),
            PutBack::Handed(slot, mailbox) => {
                if let Some(waker) = self.deliver(Delivery::new(mailbox, Ok(slot))) {
                    self.wake(waker);
                }
            }
            PutBack::NotYet(slot) => self.step(|state, now, fx| state.put_back(slot, now, fx)),
        }
    }

    #[cold]
    fn give_back_unclean(self: &Arc<Self>, slot: Box<Slot<M::Connection>>, check: ReleaseCheck) {
        self.step(|state, now, fx| match check {
            ReleaseCheck::Clean => state.put_back(slot, now, fx),
            ReleaseCheck::Dirty => state.put_back_dirty(slot, now, fx),
            ReleaseCheck::Broken => state.put_back_broken(slot, now, fx),
        });
    }

    /// Asks the manager and the hook; one that panics has broken the connection.
    #[inline]
    fn look_at(&self, slot: &mut Slot<M::Connection>) -> ReleaseCheck {
        let check = std::panic::catch_unwind(AssertUnwindSafe(|| {
            match self.manager.release_check(&mut slot.connection) {
                ReleaseCheck::Clean => match &self.hooks.on_release {
                    None => ReleaseCheck::Clean,
                    Some(hook) => {
                        let info = info(slot, self.now());
                        hook(&mut slot.connection, info)
                    }
                },
                unclean => unclean,
            }
        }));
        check.unwrap_or(ReleaseCheck::Broken)
    }

    /// Tells the log and the listeners.
    pub(crate) fn announce(&self, event: crate::PoolEvent) {
        // Who writes the log is foreign code: what a step has left to do does not end where that panics.
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| self.log(&event)));
        self.events.send(event);
    }

    fn log(&self, event: &crate::PoolEvent) {
        use crate::PoolEvent as E;
        let pool = &*self.settings.name;
        match event {
            E::ConnectFailed { error, fault } => {
                tracing::warn!(pool, error = %error, ?fault, "connect failed");
            }
            E::ConnectionFailed { id, error } => {
                tracing::info!(pool, id, %error, "connection failed its check");
            }
            E::LeakSuspected(leak) => {
                tracing::warn!(pool, held = ?leak.held, caller = %leak.caller, "checkout held for long");
            }
            E::LimitsChanged { from, to } => tracing::info!(pool, %from, %to, "limits changed"),
            E::BrakeChanged {
                brake: Some(brake),
                reason,
            } => {
                tracing::warn!(pool, %brake, %reason, "growth is held back");
            }
            E::TargetAdvised { from, to, reason } => {
                tracing::info!(pool, from, to, %reason, "target advised");
            }
            E::TargetChanged { from, to, reason } => {
                tracing::info!(pool, from, to, %reason, "target changed");
            }
            other => tracing::debug!(pool, event = ?other, "pool event"),
        }
    }

    /// What an error says of the pool to a caller that has waited for so long. Only those whose
    /// time was over are told who holds what and what is being opened: to find that out goes
    /// through all connections, and a refusal has to be cheap.
    pub(crate) fn context(&self, waited: Duration, longest: Longest) -> ErrorContext {
        let now = self.now();
        let state = self.state.lock();
        // A connect that has worked since served somebody else: this caller's wait began before.
        let failure = state
            .last_failure
            .as_ref()
            .filter(|failure| state.backoff.failures() > 0 || between(failure.at, now) < waited);
        ErrorContext {
            counts: state.counts(),
            oldest_holder: longest.holder.map(|holder| held_since(&holder, now)),
            oldest_connect: longest.connect.map(|since| between(since, now)),
            last_connect_error: failure
                .map(|failure| (between(failure.at, now), Arc::clone(&failure.error))),
        }
    }
}

pub(crate) fn held_since(holder: &Holder, now: Nanos) -> HeldSince {
    HeldSince {
        caller: holder.caller,
        held: between(holder.since, now),
    }
}

pub(crate) fn info<C>(slot: &Slot<C>, now: Nanos) -> ConnectionInfo {
    ConnectionInfo {
        id: slot.id,
        age: between(slot.created, now),
        idle: between(slot.idle_since, now),
    }
}
