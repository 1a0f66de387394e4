//! A set of connection numbers that is read and changed without a lock.

use std::sync::atomic::{AtomicU32, Ordering};

/// Numbers above zero, at most as many as it has places.
///
/// The driver calls event handlers on the one task that serves a server's pool, so a handler must
/// not wait for anybody. A number is looked for from its own remainder on; as the driver counts
/// its connections upwards, the first look nearly always finds it.
///
/// The driver tells of each number from one task after the other, so adding and removing the same
/// number never race; different numbers may.
#[derive(Debug)]
pub(crate) struct IdSet {
    places: Box<[AtomicU32]>,
    len: AtomicU32,
}

impl IdSet {
    /// A set for `places` numbers at a time.
    pub(crate) fn with_places(places: usize) -> Self {
        Self {
            places: (0..places.max(1)).map(|_| AtomicU32::new(0)).collect(),
            len: AtomicU32::new(0),
        }
    }

    /// How many numbers there are.
    pub(crate) fn len(&self) -> u32 {
        self.len.load(Ordering::Relaxed)
    }

    /// Adds a number. Returns false when no place is left.
    pub(crate) fn insert(&self, id: u32) -> bool {
        let added = self.exchange(id, 0, id);
        if added {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        added
    }

    /// Removes a number. Returns false when it was not there.
    pub(crate) fn remove(&self, id: u32) -> bool {
        let removed = self.exchange(id, id, 0);
        if removed {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        removed
    }

    fn exchange(&self, id: u32, from: u32, to: u32) -> bool {
        debug_assert_ne!(id, 0, "zero marks an empty place");
        let start = id as usize % self.places.len();
        let (before, after) = self.places.split_at(start);
        after.iter().chain(before).any(|place| {
            place
                .compare_exchange(from, to, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_there_until_it_is_removed_and_never_twice() {
        let set = IdSet::with_places(4);
        assert!(set.insert(7));
        assert_eq!(set.len(), 1);
        assert!(set.remove(7));
        assert!(!set.remove(7));
        assert_eq!(set.len(), 0);
    }

    #[test]
    fn numbers_with_the_same_remainder_find_places_until_all_are_taken() {
        let set = IdSet::with_places(3);
        assert!([3, 6, 9].into_iter().all(|id| set.insert(id)));
        assert!(!set.insert(12));
        assert!(set.remove(6) && set.insert(12));
        assert_eq!(set.len(), 3);
        assert!([12, 9, 3].into_iter().all(|id| set.remove(id)));
        assert_eq!(set.len(), 0);
    }

    #[test]
    fn threads_that_add_and_remove_their_own_numbers_leave_nothing() {
        let set = IdSet::with_places(64);
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let set = &set;
                scope.spawn(move || {
                    for round in 0..10_000 {
                        let id = 1 + thread + 8 * round;
                        assert!(set.insert(id));
                        assert!(set.remove(id));
                    }
                });
            }
        });
        assert_eq!(set.len(), 0);
    }
}
