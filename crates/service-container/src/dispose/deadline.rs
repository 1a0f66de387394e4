//! The end of a disposal, which whoever ends the scope around it can bring forward.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::after;

/// When a disposal is over, and for how long what it has not begun with may run then.
///
/// A scope can be closing already, at its own pace, when the scope that it stands in is closed. It
/// has no more time than that one from then on, so its deadline moves while it is waited for.
#[derive(Debug)]
pub(crate) struct Deadline(watch::Sender<Limits>);

#[derive(Clone, Copy, Debug)]
struct Limits {
    own: Limit,
    /// That of the scope around, once it closes.
    around: Option<Limit>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Limit {
    pub(crate) at: Instant,
    pub(crate) grace: Duration,
}

impl Deadline {
    pub(crate) fn new(at: Instant, grace: Duration) -> Self {
        let own = Limit { at, grace };
        Self(watch::Sender::new(Limits { own, around: None }))
    }

    /// When it is, as far as is known.
    pub(crate) fn at(&self) -> Instant {
        self.0.borrow().at()
    }

    pub(crate) fn has_passed(&self) -> bool {
        Instant::now() >= self.at()
    }

    /// What the scopes inside have at the most.
    pub(crate) fn inside(&self) -> Limit {
        let Limits { own, around } = *self.0.borrow();
        around.map_or(own, |around| around.and(own))
    }

    /// Keeps the disposal within `around` from now on.
    pub(crate) fn shorten(&self, around: Limit) {
        self.0.send_if_modified(|limits| {
            let shorter = limits.around.map_or(around, |known| known.and(around));
            limits.around.replace(shorter) != Some(shorter)
        });
    }

    /// Does `work`, but not for longer than `patience`, and not past the deadline.
    pub(crate) async fn wait<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let patience = after(Instant::now(), patience);
        self.until(|limits| limits.at().min(patience), work).await
    }

    /// Does `work` within the grace period, which begins now.
    pub(crate) async fn wait_in_grace<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let now = Instant::now();
        self.until(|limits| limits.end_of_grace(now), work).await
    }

    async fn until<T>(
        &self,
        end: impl Fn(&Limits) -> Instant,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let mut changes = self.0.subscribe();
        let passed = async move {
            loop {
                let at = end(&changes.borrow_and_update());
                match select(pin!(sleep_until(at)), pin!(changes.changed())).await {
                    Either::Left(_) => return,
                    // A change: the sender is `self`, and there.
                    Either::Right(_) => {}
                }
            }
        };
        match select(pin!(work), pin!(passed)).await {
            Either::Left((done, _)) => Some(done),
            Either::Right(_) => None,
        }
    }
}

impl Limits {
    fn at(&self) -> Instant {
        self.around
            .map_or(self.own.at, |around| around.at.min(self.own.at))
    }

    /// Each scope has a grace period of its own, which begins when it comes to it; one that has
    /// begun with it early has until the end of that of the scope around.
    fn end_of_grace(&self, began: Instant) -> Instant {
        let own = after(began, self.own.grace);
        self.around.map_or(own, |around| {
            own.min(after(began.max(around.at), around.grace))
        })
    }
}

impl Limit {
    fn and(self, other: Self) -> Self {
        Self {
            at: self.at.min(other.at),
            grace: self.grace.min(other.grace),
        }
    }
}
