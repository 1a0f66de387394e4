//! A connection in a caller's hands.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use crate::ConnectionManager;
use crate::clock::between;
use crate::engine::Slot;
use crate::shared::Shared;

/// A connection that goes back to its pool when it is dropped.
///
/// Dropping it does no I/O and never blocks; it is safe outside a runtime and in a panic. A
/// connection that is not clean is given to a task of the pool first.
///
/// From [`Pool::acquire`](crate::Pool::acquire) it borrows the pool; from [`Pool::acquire_owned`](crate::Pool::acquire_owned) it is `'static`.
#[must_use = "a connection that is not kept goes back at once"]
pub struct PooledConnection<'p, M: ConnectionManager> {
    // `None` only while the guard is being taken apart.
    slot: Option<Box<Slot<M::Connection>>>,
    pool: PoolRef<'p, M>,
}

/// How a guard knows its pool: a borrow costs nothing.
enum PoolRef<'p, M: ConnectionManager> {
    Borrowed(&'p Arc<Shared<M>>),
    Owned(Arc<Shared<M>>),
}

impl<M: ConnectionManager> PoolRef<'_, M> {
    #[inline]
    fn shared(&self) -> &Arc<Shared<M>> {
        match self {
            Self::Borrowed(shared) => shared,
            Self::Owned(shared) => shared,
        }
    }
}

const PRESENT: &str = "a guard has its connection until it is taken apart";

impl<'p, M: ConnectionManager> PooledConnection<'p, M> {
    #[inline]
    pub(crate) const fn borrowed(slot: Box<Slot<M::Connection>>, pool: &'p Arc<Shared<M>>) -> Self {
        Self {
            slot: Some(slot),
            pool: PoolRef::Borrowed(pool),
        }
    }

    pub(crate) const fn owned(slot: Box<Slot<M::Connection>>, pool: Arc<Shared<M>>) -> Self {
        Self {
            slot: Some(slot),
            pool: PoolRef::Owned(pool),
        }
    }

    /// Has the pool close this connection when it is dropped, instead of lending it again.
    pub const fn evict(&mut self) {
        if let Some(slot) = &mut self.slot {
            slot.evict = true;
        }
    }

    /// Keeps the connection for good: it does not count any more, and the pool may open another.
    #[must_use]
    pub fn detach(mut self) -> M::Connection {
        let slot = self.slot.take().expect(PRESENT);
        self.pool
            .shared()
            .step(|state, now, fx| state.detach(*slot, now, fx))
    }

    /// The connection's number: the `n`th that the pool opened.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.slot().id
    }

    /// How long ago the connection was opened.
    #[must_use]
    pub fn age(&self) -> Duration {
        between(self.slot().created, self.pool.shared().now())
    }

    #[inline]
    fn slot(&self) -> &Slot<M::Connection> {
        self.slot.as_ref().expect(PRESENT)
    }
}

impl<M: ConnectionManager> Deref for PooledConnection<'_, M> {
    type Target = M::Connection;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.slot().connection
    }
}

impl<M: ConnectionManager> DerefMut for PooledConnection<'_, M> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.slot.as_mut().expect(PRESENT).connection
    }
}

impl<M: ConnectionManager> Drop for PooledConnection<'_, M> {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.shared().give_back(slot);
        }
    }
}

impl<M> std::fmt::Debug for PooledConnection<'_, M>
where
    M: ConnectionManager,
    M::Connection: std::fmt::Debug,
{
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PooledConnection")
            .field("id", &self.slot().id)
            .field("connection", &self.slot().connection)
            .finish_non_exhaustive()
    }
}
