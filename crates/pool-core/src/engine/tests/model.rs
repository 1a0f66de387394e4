//! The reference: what each contract says, written as plainly as possible.

use std::collections::{BTreeMap, VecDeque};

use crate::ConnectFault;
use crate::clock::Nanos;

/// A pool as the contracts describe it: no vector tricks, no links, no effects.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) min: u32,
    pub(super) max: u32,
    /// How much of the maximum is allowed from outside.
    pub(super) allowance: u32,
    /// How much a sizing policy lets demand open.
    pub(super) allowed: u32,
    pub(super) closed: bool,
    pub(super) paused: bool,
    pub(super) generation: u64,
    /// Every connection that the server knows, by its number.
    pub(super) connections: BTreeMap<u64, Connection>,
    /// Numbers of idle connections, the one that became idle last at the end.
    pub(super) idle: Vec<u64>,
    /// Callers in line, the oldest first.
    pub(super) queue: VecDeque<u64>,
    pub(super) connecting: u32,
    /// Whether each checkout is to be checked.
    pub(super) always_checked: bool,
    /// How many may wait beside those for whom something is coming.
    pub(super) max_waiters: u32,
    /// What the last failed connect said of the next one.
    pub(super) last_fault: Option<ConnectFault>,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Connection {
    pub(super) generation: u64,
    pub(super) expires: Nanos,
    pub(super) place: Where,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    Closing,
    Held,
    Idle,
    Recycling,
    Validating,
}

impl Model {
    /// The maximum in force.
    pub(super) fn most(&self) -> u32 {
        self.max.min(self.allowance)
    }

    /// What is open above this is surplus.
    pub(super) fn bound(&self) -> u32 {
        self.most().min(self.allowed)
    }

    /// Whether a caller that comes now finds the queue full: those for whom there is room up to
    /// `ceiling`, or something on its way, do not count.
    pub(super) fn queue_is_full(&self, ceiling: u32) -> bool {
        let coming = self.connecting + self.count(Where::Validating) + self.count(Where::Idle);
        let covered = coming + ceiling.saturating_sub(self.total());
        self.waiting() >= self.max_waiters.saturating_add(covered)
    }

    /// Whether another attempt would fail as the last one did, and no return can help.
    pub(super) fn is_hopeless(&self) -> bool {
        self.last_fault == Some(ConnectFault::Permanent) && self.open() == 0
    }

    pub(super) fn waiting(&self) -> u32 {
        u32::try_from(self.queue.len()).unwrap()
    }

    /// How many connects a queue is worth at the least: all of it, unless those who hold
    /// connections will have served it before a connect could land; then one, as insurance.
    pub(super) fn worth(&self, oldest: Nanos, hold: Nanos, connect: Nanos) -> u32 {
        let waiting = self.waiting();
        let in_use = Nanos::from(self.count(Where::Held));
        let work = hold * Nanos::from(waiting);
        if in_use == 0 || connect == 0 || oldest >= connect {
            waiting
        } else if work >= connect * in_use {
            // So many more drain it in the time of one more connect.
            u32::try_from(work.div_ceil(connect)).unwrap().min(waiting)
        } else {
            waiting.min(1)
        }
    }

    /// Connections that count against the maximum.
    pub(super) fn total(&self) -> u32 {
        u32::try_from(self.connections.len()).unwrap() + self.connecting
    }

    pub(super) fn count(&self, place: Where) -> u32 {
        let there = self
            .connections
            .values()
            .filter(|connection| connection.place == place);
        u32::try_from(there.count()).unwrap()
    }

    /// Connections that are open and stay.
    pub(super) fn open(&self) -> u32 {
        self.total() - self.count(Where::Closing) - self.connecting
    }

    /// Where a connection belongs that comes back clean from a caller, and to whom.
    pub(super) fn destination(&self, id: u64, now: Nanos) -> (Where, Option<u64>) {
        let connection = self.connections[&id];
        let unfit = self.closed
            || connection.generation != self.generation
            || now >= connection.expires
            || self.open() > self.bound();
        if unfit {
            (Where::Closing, None)
        } else if self.always_checked && !self.queue.is_empty() && !self.paused {
            (Where::Validating, None)
        } else if let (Some(oldest), false) = (self.queue.front(), self.paused) {
            (Where::Held, Some(*oldest))
        } else {
            (Where::Idle, None)
        }
    }

    /// What a caller that comes now is given at once: the connection that became idle last, if
    /// that is fit without a check and nobody is in line.
    pub(super) fn at_once(&self, now: Nanos, proven: impl Fn(u64) -> bool) -> Option<u64> {
        if self.closed || self.paused || !self.queue.is_empty() {
            return None;
        }
        let last = *self.idle.last()?;
        (now < self.connections[&last].expires && proven(last)).then_some(last)
    }

    pub(super) fn put(&mut self, id: u64, place: Where) {
        self.idle.retain(|idle| *idle != id);
        self.connections
            .get_mut(&id)
            .expect("a known connection")
            .place = place;
        if place == Where::Idle {
            self.idle.push(id);
        }
    }
}
