//! What threads would write to together, in parts that each thread has mostly to itself.
//!
//! A cache line that two processors write to goes back and forth between them, and that takes longer
//! than all else that opening a scope does. So what opening and ending a scope writes to is there
//! several times, and a thread uses the part with its own number.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crossbeam_utils::CachePadded;

/// How many parts there are. A machine with more processors than this works too: some share a part.
#[cfg(not(loom))]
pub(crate) const SHARDS: usize = 32;
/// So few that a model which locks all of them ends.
#[cfg(loom)]
pub(crate) const SHARDS: usize = 2;

/// The part that the calling thread uses.
#[inline]
pub(crate) fn mine() -> usize {
    /// Numbers threads in the order in which they come here, so that those of one runtime differ.
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    const UNKNOWN: usize = usize::MAX;
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(UNKNOWN) };
    }
    NUMBER.with(|number| {
        if number.get() == UNKNOWN {
            number.set(THREADS.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        number.get()
    })
}

/// Gives out numbers that differ, beginning above 0. They are in order only within a thread.
#[derive(Debug)]
pub(crate) struct Numbers(Box<[CachePadded<AtomicU64>]>);

impl Numbers {
    pub(crate) fn new() -> Self {
        Self((0..SHARDS).map(|_| CachePadded::default()).collect())
    }

    pub(crate) fn next(&self) -> u64 {
        let mine = mine();
        let round = self.0[mine].fetch_add(1, Ordering::Relaxed);
        1 + mine as u64 + round * SHARDS as u64
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_thread_keeps_its_part_and_others_have_others() {
        let part = |_| {
            let thread = std::thread::spawn(|| (mine(), mine()));
            let (first, again) = thread.join().unwrap();
            assert_eq!(first, again);
            assert!(first < SHARDS);
            first
        };
        // Other tests have threads too, which come in between.
        let parts: BTreeSet<_> = (0..2 * SHARDS).map(part).collect();
        assert!(parts.len() > 1);
    }

    #[test]
    fn numbers_differ_whoever_asks() {
        let numbers = Numbers::new();
        let given: Vec<u64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..2 * SHARDS)
                .map(|_| scope.spawn(|| (0..100).map(|_| numbers.next()).collect::<Vec<_>>()))
                .collect();
            let given = threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap());
            given.collect()
        });
        let different: BTreeSet<_> = given.iter().copied().collect();
        assert_eq!(different.len(), 2 * SHARDS * 100);
        assert!(!different.contains(&0), "that is the container");
    }
}
