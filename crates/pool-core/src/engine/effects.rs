//! What is left to do once the lock is free.

use std::sync::Arc;

use super::slot::{Longest, Row, Slot};
use super::{Delivery, Outcome};
use crate::error::{SharedError, Step};
use crate::events::PoolEvent;

/// The list of things that a step of the engine wants done outside the lock: nobody's code, no
/// destructor and no task start runs under it.
///
/// An empty list owns no memory.
#[derive(Debug)]
#[must_use = "effects are carried out after unlocking"]
pub(crate) struct Effects<C> {
    /// What is on its way to the caller that is served, when there is just one.
    pub(crate) delivery: Option<Delivery<Outcome<C>>>,
    /// What is on its way to further ones.
    pub(crate) deliveries: Vec<Delivery<Outcome<C>>>,
    /// Tasks to start.
    pub(crate) tasks: Vec<Task<C>>,
    /// Things to tell listeners.
    pub(crate) events: Vec<PoolEvent>,
    /// Failures that nobody asks for any more: a driver's error is dropped outside the lock.
    pub(crate) forgotten: Vec<Arc<ConnectFailure>>,
    /// Whether upkeep must look again at when it is needed next.
    pub(crate) kick: bool,
    /// Whether someone who waits for the pool's size or state to change should look.
    pub(crate) changed: bool,
    /// Whether whoever allows the pool a part of its maximum should look: callers want more. Nothing
    /// has changed for those who wait for that, and a warm-up that was woken by its own wish would
    /// wish again.
    pub(crate) wanting: bool,
}

/// A task of the pool.
#[derive(Debug)]
pub(crate) enum Task<C> {
    Close {
        slot: Box<Slot<C>>,
        reason: CloseReason,
    },
    Connect(ConnectOrder),
    Recycle(Box<Slot<C>>),
    Validate(Box<Slot<C>>),
}

/// The permission to open one connection: it already counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectOrder {
    /// The number of the connection, if it comes to be.
    pub(crate) id: u64,
    pub(crate) row: Row,
    pub(crate) generation: u64,
    /// The backoff period in which the attempt began; a failure counts once a period.
    pub(crate) period: u64,
}

/// Why the pool closed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CloseReason {
    /// It was broken when it came back, or the guard was told to evict it.
    Broken,
    /// The pool was closed.
    Closed,
    /// `soft_evict` or `evict_idle` asked for it.
    Evicted,
    /// It was idle for longer than the idle timeout.
    Idle,
    /// It did not pass validation or cleaning.
    Invalid,
    /// Its maximum lifetime was over.
    Lifetime,
    /// A hook turned it down.
    Refused,
    /// The pool was made smaller, or a connect landed above the maximum.
    Surplus,
}

impl CloseReason {
    /// Every reason, in the order of their names.
    pub const ALL: [Self; 8] = [
        Self::Broken,
        Self::Closed,
        Self::Evicted,
        Self::Idle,
        Self::Invalid,
        Self::Lifetime,
        Self::Refused,
        Self::Surplus,
    ];

    /// The name that metrics and events use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Closed => "closed",
            Self::Evicted => "evicted",
            Self::Idle => "idle",
            Self::Invalid => "invalid",
            Self::Lifetime => "lifetime",
            Self::Refused => "refused",
            Self::Surplus => "surplus",
        }
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a caller in the queue gets no connection.
#[derive(Clone, Debug)]
pub(crate) enum Refusal {
    /// The pool was closed.
    Closed,
    /// Connecting failed in a way that another attempt would not mend.
    Connect(Arc<ConnectFailure>),
    /// The queue was over its delay target for too long.
    Shed,
    /// Its time was over. All whose time is over at one moment share what they are told.
    TimedOut(Arc<TimedOut>),
}

/// What a caller is told whose time is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TimedOut {
    /// What it waited for.
    pub(crate) step: Step,
    /// What has kept it waiting, perhaps.
    pub(crate) longest: Longest,
}

/// A failed attempt to connect, kept for whoever asks why.
#[derive(Debug)]
pub(crate) struct ConnectFailure {
    pub(crate) error: SharedError,
    pub(crate) at: crate::clock::Nanos,
    pub(crate) fault: crate::ConnectFault,
    /// What the error says, read before the lock is taken.
    pub(crate) text: String,
    /// The backend's code for it.
    pub(crate) code: Option<String>,
}

impl ConnectFailure {
    pub(crate) fn new(
        error: SharedError,
        at: crate::clock::Nanos,
        fault: crate::ConnectFault,
    ) -> Self {
        let text = error.to_string();
        Self {
            error,
            at,
            fault,
            text,
            code: None,
        }
    }

    pub(crate) fn with_code(self, code: Option<String>) -> Self {
        Self { code, ..self }
    }
}

impl<C> Effects<C> {
    #[inline]
    pub(crate) const fn none() -> Self {
        Self {
            delivery: None,
            deliveries: Vec::new(),
            tasks: Vec::new(),
            events: Vec::new(),
            forgotten: Vec::new(),
            kick: false,
            changed: false,
            wanting: false,
        }
    }

    #[inline]
    pub(crate) fn deliver(&mut self, delivery: Delivery<Outcome<C>>) {
        if self.delivery.is_none() {
            self.delivery = Some(delivery);
        } else {
            self.deliveries.push(delivery);
        }
    }
}
