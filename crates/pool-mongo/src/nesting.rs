//! Finding out that a caller waits for itself.
//!
//! A second lease inside the first is a deadlock in waiting: as long as there are leases left it
//! works, and on the day when every caller holds one and asks for another, nobody gets one. So
//! work that was given a lease by [`run`](crate::MongoPool::run) or
//! [`with_transaction`](crate::MongoPool::with_transaction) is refused another of the same pool,
//! always and at once. Callers that hold a lease as a value may be many futures in one task, which
//! is sound, so these are only told, when their time is over, how many the task holds itself.

use std::future::Future;
use std::hash::{Hash as _, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// How many pools one line of work may have leases of, one inside the other, and be watched.
const DEPTH: usize = 8;

tokio::task_local! {
    /// The pools that the work being polled has been given a lease of. Numbers, not pools.
    static GIVEN: Given;
}

#[derive(Clone, Copy, Debug, Default)]
struct Given([usize; DEPTH]);

/// Which pool: its address, unique as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PoolId(usize);

impl PoolId {
    pub(crate) fn of<T>(pool: &Arc<T>) -> Self {
        Self(Arc::as_ptr(pool).addr())
    }

    /// Whether the work that asks has been given a lease of this pool.
    pub(crate) fn is_given(self) -> bool {
        GIVEN
            .try_with(|given| given.0.contains(&self.0))
            .unwrap_or(false)
    }

    /// Runs work that has been given a lease of this pool.
    pub(crate) fn give<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        let mut given = GIVEN.try_with(|given| *given).unwrap_or_default();
        if let Some(place) = given.0.iter_mut().find(|place| **place == 0) {
            *place = self.0;
        }
        GIVEN.scope(given, work)
    }
}

/// Which tasks hold leases: one number for each lease, written without a lock.
#[derive(Debug, Default)]
pub(crate) struct Holders {
    leases: Mutex<Vec<Weak<Holder>>>,
}

/// The task that holds a lease, or zero.
#[derive(Debug, Default)]
pub(crate) struct Holder(AtomicU64);

impl Holders {
    /// A place for a new lease.
    pub(crate) fn add(&self) -> Arc<Holder> {
        let holder = Arc::new(Holder::default());
        let mut leases = self.leases.lock();
        if leases.len() == leases.capacity() {
            leases.retain(|lease| lease.strong_count() > 0);
        }
        leases.push(Arc::downgrade(&holder));
        holder
    }

    /// How many leases the current task holds.
    pub(crate) fn held_here(&self) -> u32 {
        let Some(task) = current_task() else {
            return 0;
        };
        let leases = self.leases.lock();
        let held = leases
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|holder| holder.0.load(Ordering::Relaxed) == task)
            .count();
        u32::try_from(held).unwrap_or(u32::MAX)
    }
}

impl Holder {
    /// Notes that the current task holds the lease.
    pub(crate) fn begin(&self) {
        if let Some(task) = current_task() {
            self.0.store(task, Ordering::Relaxed);
        }
    }

    /// Notes that nobody does.
    pub(crate) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The current task's number. Tokio gives it only to hashers.
fn current_task() -> Option<u64> {
    let mut number = Number(0);
    tokio::task::try_id()?.hash(&mut number);
    Some(number.0)
}

/// Keeps the number that is hashed into it.
struct Number(u64);

impl Hasher for Number {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_knows_what_it_was_given_and_forgets_it_afterwards() {
        let (one, two) = (Arc::new(1), Arc::new(2));
        let (one, two) = (PoolId::of(&one), PoolId::of(&two));
        assert!(!one.is_given());
        one.give(async {
            assert!(one.is_given() && !two.is_given());
            two.give(async { assert!(one.is_given() && two.is_given()) })
                .await;
            assert!(one.is_given() && !two.is_given());
            tokio::spawn(async move { assert!(!one.is_given(), "another task is not inside") })
                .await
                .unwrap();
        })
        .await;
        assert!(!one.is_given());
    }

    #[tokio::test]
    async fn a_task_counts_the_leases_that_it_holds_and_no_others() {
        let holders = Arc::new(Holders::default());
        let (mine, theirs) = (holders.add(), holders.add());
        tokio::spawn({
            let holders = Arc::clone(&holders);
            async move {
                mine.begin();
                tokio::spawn(async move { theirs.begin() }).await.unwrap();
                assert_eq!(holders.held_here(), 1);
                mine.end();
                assert_eq!(holders.held_here(), 0);
            }
        })
        .await
        .unwrap();
        drop(holders.add());
        assert_eq!(holders.held_here(), 0);
    }
}
