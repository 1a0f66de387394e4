//! Waiting for a connection.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::ConnectionManager;
use crate::clock::{NEVER, Nanos, between};
use crate::engine::{
    Effects, Given, Longest, Mailbox, Outcome, Place, Refusal, Refused, Slot, State, Waiter,
    Withdrawn,
};
use crate::error::{AcquireError, AcquireErrorKind};
use crate::shared::Shared;
use crate::sync::BriefGuard;

type Acquired<M> = Result<Box<Slot<<M as ConnectionManager>::Connection>>, AcquireError>;

/// Who looks at a caller's time.
#[derive(Clone, Copy)]
enum Timer {
    Caller,
    Pool,
}

impl<M: ConnectionManager> Shared<M> {
    /// Takes an idle connection, or queues until the pool's `acquire_timeout` is over.
    ///
    /// There is no timer: all callers have the same time, so they run out of it in the order of the
    /// queue, and upkeep looks at its front.
    #[inline]
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        caller: &'static Location<'static>,
    ) -> Acquired<M> {
        let mut ticket = None;
        poll_fn(|cx| match &mut ticket {
            None => self.take_or_queue(caller, Timer::Pool, cx, &mut ticket),
            Some(ticket) => ticket.poll(cx),
        })
        .await
    }

    /// The same with a time, and a timer, of its own for this caller.
    pub(crate) async fn acquire_within(
        self: &Arc<Self>,
        caller: &'static Location<'static>,
        timeout: Duration,
    ) -> Acquired<M> {
        let mut ticket = None;
        let at_once =
            poll_fn(|cx| Poll::Ready(self.take_or_queue(caller, Timer::Caller, cx, &mut ticket)));
        match at_once.await {
            Poll::Ready(acquired) => acquired,
            Poll::Pending => ticket.expect(QUEUED).wait(timeout).await,
        }
    }

    /// Takes an idle connection, or a place in the queue, under one lock. Who has a place is woken when
    /// there is something for it.
    #[inline]
    fn take_or_queue<'p>(
        self: &'p Arc<Self>,
        caller: &'static Location<'static>,
        timer: Timer,
        cx: &Context<'_>,
        ticket: &mut Option<Ticket<'p, M>>,
    ) -> Poll<Acquired<M>> {
        // What queueing takes is made ready outside the lock.
        let ready = self.prepare(timer, cx);
        let now = self.now();
        let mut state = self.state.lock();
        match state.try_take(now, caller) {
            Some(slot) => Poll::Ready(Ok(slot)),
            None => self.queue(state, now, caller, ready, cx, ticket),
        }
    }

    #[cold]
    fn prepare(&self, timer: Timer, cx: &Context<'_>) -> Prepared<M> {
        let mailbox = Mailbox::new(cx.waker().clone());
        Prepared {
            asked: match timer {
                Timer::Caller => None,
                Timer::Pool => Some(self.timer()),
            },
            ours: Arc::clone(&mailbox),
            mailbox,
        }
    }

    /// The ticket is put where it stays: to move it would wait until all that was just written under the
    /// lock has arrived.
    #[cold]
    fn queue<'p>(
        self: &'p Arc<Self>,
        mut state: BriefGuard<'_, State<M::Connection>>,
        now: Nanos,
        caller: &'static Location<'static>,
        ready: Prepared<M>,
        cx: &Context<'_>,
        ticket: &mut Option<Ticket<'p, M>>,
    ) -> Poll<Acquired<M>> {
        let Prepared {
            asked,
            ours,
            mailbox,
        } = ready;
        let time = state.rules.acquire_timeout;
        let expires = asked.map_or(NEVER, |asked| asked.saturating_add(time));
        let place = Place {
            since: now,
            caller,
            expires,
        };
        let mut fx = Effects::none();
        let given = state.queue(now, place, mailbox, &mut fx);
        drop(state);
        self.set_crowded(true);
        let number = match given {
            Given::Place(number) => number,
            Given::Refused(refused) => {
                self.carry_out(fx);
                return Poll::Ready(Err(self.turned_away(refused)));
            }
        };
        // Before foreign code can panic: dropped, it gives the place up.
        let ticket = ticket.insert(Ticket {
            shared: self,
            waiter: Some(Waiter {
                number,
                mailbox: ours,
            }),
            since: now,
        });
        let served = fx.delivery.is_some();
        self.carry_out(fx);
        if served {
            ticket.poll(cx)
        } else {
            Poll::Pending
        }
    }

    /// The way that does not wait, before anything is set up for the one that does: it allocates
    /// nothing and reads the clock once. Where callers queue, this one does as well.
    #[inline]
    pub(crate) fn acquire_at_once(
        &self,
        caller: &'static Location<'static>,
    ) -> Option<Box<Slot<M::Connection>>> {
        if self.crowded() {
            return None;
        }
        self.try_acquire(caller)
    }

    /// Takes an idle connection if there is a fit one and nobody waits.
    #[inline]
    pub(crate) fn try_acquire(
        &self,
        caller: &'static Location<'static>,
    ) -> Option<Box<Slot<M::Connection>>> {
        let now = self.now();
        self.state.lock().try_take(now, caller)
    }

    #[cold]
    fn turned_away(&self, refused: Refused) -> AcquireError {
        let kind = match refused {
            Refused::Closed => AcquireErrorKind::Closed,
            Refused::Connect(failure) => return self.cannot_connect(&failure, Duration::ZERO),
            Refused::QueueFull => AcquireErrorKind::QueueFull,
        };
        self.error(kind, Duration::ZERO, Longest::default())
    }

    #[cold]
    fn error(&self, kind: AcquireErrorKind, waited: Duration, longest: Longest) -> AcquireError {
        AcquireError::new(
            Arc::clone(&self.settings.name),
            kind,
            waited,
            self.context(waited, longest),
        )
    }

    #[cold]
    fn cannot_connect(
        &self,
        failure: &crate::engine::ConnectFailure,
        waited: Duration,
    ) -> AcquireError {
        let mut context = self.context(waited, Longest::default());
        let age = between(failure.at, self.now());
        context.last_connect_error = Some((age, Arc::clone(&failure.error)));
        let name = Arc::clone(&self.settings.name);
        AcquireError::new(name, AcquireErrorKind::Connect, waited, context)
    }
}

const QUEUED: &str = "a caller that has to wait has a place";

/// What a caller brings along when it queues.
struct Prepared<M: ConnectionManager> {
    /// When it asked, on the timer's clock, if the pool looks at its time.
    asked: Option<Nanos>,
    /// For the caller.
    ours: Arc<Mailbox<Outcome<M::Connection>>>,
    /// For the queue.
    mailbox: Arc<Mailbox<Outcome<M::Connection>>>,
}

/// A place in the queue. Dropped, it gives the place up, and passes on what was on its way.
struct Ticket<'p, M: ConnectionManager> {
    shared: &'p Arc<Shared<M>>,
    /// `None` once the place is gone.
    waiter: Option<Waiter<M::Connection>>,
    since: Nanos,
}

impl<M: ConnectionManager> Ticket<'_, M> {
    async fn wait(mut self, timeout: Duration) -> Acquired<M> {
        // The pool's runtime keeps the time, wherever the caller runs.
        let timer = {
            let _within = self.shared.runtime.enter();
            tokio::time::sleep(timeout)
        };
        let mut timer = pin!(timer);
        poll_fn(|cx| {
            if let Poll::Ready(outcome) = self.poll(cx) {
                return Poll::Ready(outcome);
            }
            match timer.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(self.expire()),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    #[inline]
    fn poll(&mut self, cx: &Context<'_>) -> Poll<Acquired<M>> {
        let waiter = self
            .waiter
            .as_ref()
            .expect("a ticket is not polled after its end");
        match waiter.mailbox.look(cx.waker()) {
            Ok(outcome) => {
                self.waiter = None;
                Poll::Ready(outcome.map_err(|refusal| self.refused(refusal)))
            }
            // The waker that was replaced is dropped here, outside the lock.
            Err(_replaced) => Poll::Pending,
        }
    }

    #[cold]
    fn expire(&mut self) -> Acquired<M> {
        let waiter = self.waiter.take().expect("a ticket expires once");
        let now = self.shared.now();
        let (withdrawn, told) = {
            let mut state = self.shared.state.lock();
            (state.expire(&waiter), state.timed_out(now))
        };
        match withdrawn {
            Withdrawn::Outcome(outcome) => outcome.map_err(|refusal| self.refused(refusal)),
            Withdrawn::Place(_) | Withdrawn::PassedOn => Err(self.refused(Refusal::TimedOut(told))),
        }
    }

    #[cold]
    fn refused(&self, refusal: Refusal) -> AcquireError {
        let waited = between(self.since, self.shared.now());
        let (kind, longest) = match refusal {
            Refusal::Closed => (AcquireErrorKind::Closed, Longest::default()),
            Refusal::Connect(failure) => return self.shared.cannot_connect(&failure, waited),
            Refusal::Shed => (AcquireErrorKind::Shed, Longest::default()),
            Refusal::TimedOut(told) => (AcquireErrorKind::Timeout(told.step), told.longest),
        };
        self.shared.error(kind, waited, longest)
    }
}

impl<M: ConnectionManager> Drop for Ticket<'_, M> {
    fn drop(&mut self) {
        if let Some(waiter) = self.waiter.take() {
            let withdrawn = self
                .shared
                .step(|state, now, fx| state.cancel(&waiter, now, fx));
            drop(withdrawn);
        }
    }
}
