//! What keeps a container alive, counted by thread.
//!
//! An `Arc` of the container in every scope would be one count for all threads to write to. Instead
//! each thread has an `Arc` of its own for them to share, a stake, and each stake has one of the
//! container. The container has the stakes at hand for the next scope, and so keeps itself alive
//! until they are withdrawn: by the first handle on it, when that is dropped. From then on only
//! those who hold a stake keep the container.

use std::sync::Arc;

use crossbeam_utils::CachePadded;

use crate::shards;
use crate::sync::{Mutex, lock};

/// The stakes that a container has at hand. `S` holds the container.
#[derive(Debug)]
pub(crate) struct Stakes<S>(Box<[CachePadded<Mutex<Entry<S>>>]>);

#[derive(Debug)]
enum Entry<S> {
    /// Nobody has asked yet.
    Open,
    AtHand(Arc<CachePadded<S>>),
    Withdrawn,
}

impl<S> Stakes<S> {
    pub(crate) fn new() -> Self {
        let entry = |_| CachePadded::new(Mutex::new(Entry::Open));
        Self((0..shards::SHARDS).map(entry).collect())
    }

    /// The stake of this thread, made if there is none yet; `None` when they are withdrawn.
    pub(crate) fn take(&self, make: impl FnOnce() -> S) -> Option<Arc<CachePadded<S>>> {
        let mut entry = lock(&self.0[shards::mine()]);
        match &*entry {
            Entry::AtHand(stake) => Some(Arc::clone(stake)),
            Entry::Withdrawn => None,
            Entry::Open => {
                let stake = Arc::new(CachePadded::new(make()));
                *entry = Entry::AtHand(Arc::clone(&stake));
                Some(stake)
            }
        }
    }

    /// Leaves the container to those who hold it, of whom the caller is one.
    pub(crate) fn withdraw(&self) {
        for entry in &self.0 {
            *lock(entry) = Entry::Withdrawn;
        }
    }
}
