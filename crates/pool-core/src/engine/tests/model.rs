//! The reference: what each contract says, written as plainly as possible.

use std::collections::{BTreeMap, VecDeque};

use crate::clock::Nanos;

/// A pool as the contracts describe it: no vector tricks, no links, no effects.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) min: u32,
    pub(super) max: u32,
    /// How much of the maximum is allowed from outside.
    pub(super) allowance: u32,
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
            || self.open() > self.most();
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
