//! The scopes open in a scope, by the thread that opened them.
//!
//! Opening and ending a scope writes to one part of this, which other threads have little to do
//! with. Closing looks at every part. A scope is entered under the lock of its part, where the state
//! of the one around it is read; closing changes that state before it takes the first of these
//! locks. So a scope is either there when closing looks, or finds that it has come too late.

use std::sync::{Arc, OnceLock, Weak};

use crossbeam_utils::CachePadded;

use crate::ledger::{Joinable, Ledger};
use crate::shards;
use crate::sync::{Mutex, lock};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Children<C> {
    /// How many parts there will be.
    shards: usize,
    /// There from the first child on: most scopes have none.
    parts: OnceLock<Box<[Part<C>]>>,
}

type Part<C> = CachePadded<Mutex<Places<C>>>;

/// Places are reused, so that opening a scope costs no allocation here.
#[derive(Debug)]
struct Places<C> {
    places: Vec<Weak<C>>,
    free: Vec<usize>,
}

impl<C> Children<C> {
    /// For those of a scope that many threads open scopes in.
    pub(crate) const fn of_many() -> Self {
        Self::new(shards::SHARDS)
    }

    /// For those of a scope that is mostly in the hands of one thread.
    pub(crate) const fn of_one() -> Self {
        Self::new(1)
    }

    const fn new(shards: usize) -> Self {
        Self {
            shards,
            parts: OnceLock::new(),
        }
    }

    /// Enters a child of the scope with this ledger, and says where; `None` when that scope is no
    /// longer open.
    pub(crate) fn enter<J: Joinable, B>(
        &self,
        ledger: &Ledger<J, B>,
        child: &Arc<C>,
    ) -> Option<usize> {
        let parts = match self.parts.get() {
            Some(parts) => parts,
            // Under the ledger's lock: whoever closes it finds the parts, or this finds it closed.
            None => ledger.with_open(|_| self.parts.get_or_init(|| self.parts()))?,
        };
        let part = shards::mine() % parts.len();
        let mut places = lock(&parts[part]);
        if !ledger.is_open() {
            return None;
        }
        let place = places.enter(Arc::downgrade(child));
        Some(place * parts.len() + part)
    }

    /// Makes room where `enter` has put a child.
    pub(crate) fn leave(&self, place: usize) {
        let parts = self.parts.get().expect("there are children");
        lock(&parts[place % parts.len()]).leave(place / parts.len());
    }

    /// Those that are still held by somebody.
    pub(crate) fn alive(&self) -> Vec<Arc<C>> {
        let mut alive = Vec::new();
        for part in self.parts.get().into_iter().flatten() {
            // None of them is dropped here: that would take the lock that is held.
            alive.extend(lock(part).places.iter().filter_map(Weak::upgrade));
        }
        alive
    }

    fn parts(&self) -> Box<[Part<C>]> {
        let part = || {
            CachePadded::new(Mutex::new(Places {
                places: Vec::new(),
                free: Vec::new(),
            }))
        };
        (0..self.shards).map(|_| part()).collect()
    }
}

impl<C> Places<C> {
    fn enter(&mut self, child: Weak<C>) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.places[place] = child;
                place
            }
            None => {
                self.places.push(child);
                self.places.len() - 1
            }
        }
    }

    fn leave(&mut self, place: usize) {
        self.places[place] = Weak::new();
        self.free.push(place);
    }
}
