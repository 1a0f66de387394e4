//! Waiting for a connection.

use std::future::poll_fn;
use std::panic::Location;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::ConnectionManager;
use crate::clock::{Nanos, between};
use crate::engine::{Effects, Gate, Given, Outcome, Refusal, Refused, Slot, WaiterKey, Withdrawn};
use crate::error::{AcquireError, AcquireErrorKind, Step};
use crate::shared::Shared;

type Acquired<M> = Result<Box<Slot<<M as ConnectionManager>::Connection>>, AcquireError>;

impl<M: ConnectionManager> Shared<M> {
    /// Takes an idle connection, or waits for one until `timeout` is over.
    ///
    /// The way that does not wait creates no timer, allocates nothing and reads the clock once.
    #[inline]
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        caller: &'static Location<'static>,
        timeout: Duration,
    ) -> Acquired<M> {
        let ticket = match poll_fn(|cx| Poll::Ready(self.first_look(caller, cx))).await {
            First::Connection(slot) => return Ok(slot),
            First::Ticket(ticket) => ticket,
            First::Refused(refused) => return Err(self.refused(refused)),
        };
        ticket.wait(timeout).await
    }

    #[inline]
    fn first_look(
        self: &Arc<Self>,
        caller: &'static Location<'static>,
        cx: &Context<'_>,
    ) -> First<M> {
        let now = self.now();
        let mut fx = Effects::none();
        let given = self
            .state
            .lock()
            .take_or_queue(now, caller, cx.waker(), &mut fx);
        match given {
            Given::Connection(slot) => First::Connection(slot),
            Given::Place(key) => {
                let ticket = Ticket {
                    shared: Arc::clone(self),
                    key: Some(key),
                    since: now,
                };
                self.carry_out(fx);
                First::Ticket(ticket)
            }
            Given::Refused(refused) => {
                self.carry_out(fx);
                First::Refused(refused)
            }
        }
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
    fn refused(&self, refused: Refused) -> AcquireError {
        let kind = match refused {
            Refused::Closed => AcquireErrorKind::Closed,
            Refused::Connect(failure) => return self.cannot_connect(&failure, Duration::ZERO),
            Refused::QueueFull => AcquireErrorKind::QueueFull,
        };
        self.error(kind, Duration::ZERO)
    }

    #[cold]
    fn error(&self, kind: AcquireErrorKind, waited: Duration) -> AcquireError {
        AcquireError::new(
            Arc::clone(&self.settings.name),
            kind,
            waited,
            self.context(),
        )
    }

    #[cold]
    fn cannot_connect(
        &self,
        failure: &crate::engine::ConnectFailure,
        waited: Duration,
    ) -> AcquireError {
        let mut context = self.context();
        let age = between(failure.at, self.now());
        context.last_connect_error = Some((age, Arc::clone(&failure.error)));
        let name = Arc::clone(&self.settings.name);
        AcquireError::new(name, AcquireErrorKind::Connect, waited, context)
    }

    /// What a caller whose time is over was waiting for.
    fn step_waited_for(&self) -> Step {
        let state = self.state.lock();
        if state.gate == Gate::Paused {
            Step::Paused
        } else if state.connecting > 0 || (state.total < state.ceiling && state.open() == 0) {
            Step::Connect
        } else if state.validating > 0 {
            Step::Validate
        } else {
            Step::Return
        }
    }
}

/// What the first look gave.
enum First<M: ConnectionManager> {
    Connection(Box<Slot<M::Connection>>),
    Ticket(Ticket<M>),
    Refused(Refused),
}

/// A place in the queue. Dropped, it gives the place up, and passes on what was on its way.
struct Ticket<M: ConnectionManager> {
    shared: Arc<Shared<M>>,
    /// `None` once the place is gone.
    key: Option<WaiterKey>,
    since: Nanos,
}

impl<M: ConnectionManager> Ticket<M> {
    async fn wait(mut self, timeout: Duration) -> Acquired<M> {
        let mut timer = pin!(tokio::time::sleep(timeout));
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

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Acquired<M>> {
        let key = self.key.expect("a ticket is not polled after its end");
        let now = self.shared.now();
        let look = self.shared.state.lock().look(key, cx.waker(), now);
        match look {
            Ok((waited, outcome)) => {
                self.key = None;
                Poll::Ready(self.settled(outcome, between(0, waited)))
            }
            // The waker that was replaced is dropped here, outside the lock.
            Err(_replaced) => Poll::Pending,
        }
    }

    #[cold]
    fn expire(&mut self) -> Acquired<M> {
        let key = self.key.take().expect("a ticket expires once");
        let now = self.shared.now();
        let waited = between(self.since, now);
        let step = self.shared.step_waited_for();
        let withdrawn = self.shared.state.lock().expire(key, now);
        match withdrawn {
            Withdrawn::Outcome(outcome) => self.settled(outcome, waited),
            Withdrawn::Place(_) | Withdrawn::PassedOn => {
                Err(self.shared.error(AcquireErrorKind::Timeout(step), waited))
            }
        }
    }

    fn settled(&self, outcome: Outcome<M::Connection>, waited: Duration) -> Acquired<M> {
        outcome.map_err(|refusal| match refusal {
            Refusal::Closed => self.shared.error(AcquireErrorKind::Closed, waited),
            Refusal::Connect(failure) => self.shared.cannot_connect(&failure, waited),
            Refusal::Shed => self.shared.error(AcquireErrorKind::Shed, waited),
        })
    }
}

impl<M: ConnectionManager> Drop for Ticket<M> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            let withdrawn = self
                .shared
                .step(|state, now, fx| state.cancel(key, now, fx));
            drop(withdrawn);
        }
    }
}
