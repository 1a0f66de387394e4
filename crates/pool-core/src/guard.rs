//! A connection in a caller's hands.

use std::borrow::Borrow;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use crate::ConnectionManager;
use crate::clock::between;
use crate::engine::Slot;
use crate::shared::Shared;

/// A connection that goes back to its pool when it is dropped.
///
/// Dropping it does no I/O and waits for nothing but the pool's own lock; it is safe outside a runtime
/// and in a panic. A connection that is not clean is given to a task of the pool first.
///
/// It borrows the pool from which it was [acquired](crate::Pool::acquire);
/// an [`OwnedPooledConnection`] does not.
#[must_use = "a connection that is not kept goes back at once"]
pub struct PooledConnection<'p, M: ConnectionManager>(Lease<M, &'p Arc<Shared<M>>>);

/// A connection that goes back to its pool when it is dropped, and borrows nothing: it can be kept,
/// and moved to another task.
///
/// All else is as with a [`PooledConnection`]. It comes from
/// [`Pool::acquire_owned`](crate::Pool::acquire_owned), which counts one more reference to the pool.
#[must_use = "a connection that is not kept goes back at once"]
pub struct OwnedPooledConnection<M: ConnectionManager>(Lease<M, Arc<Shared<M>>>);

/// What both have in common. Two words, as long as `P` is never null: small enough to stay in registers
/// where it is moved.
struct Lease<M: ConnectionManager, P: Borrow<Arc<Shared<M>>>> {
    // `None` only while the guard is being taken apart.
    slot: Option<Box<Slot<M::Connection>>>,
    pool: P,
}

const PRESENT: &str = "a guard has its connection until it is taken apart";

impl<'p, M: ConnectionManager> PooledConnection<'p, M> {
    #[inline]
    pub(crate) const fn new(slot: Box<Slot<M::Connection>>, pool: &'p Arc<Shared<M>>) -> Self {
        let slot = Some(slot);
        Self(Lease { slot, pool })
    }
}

impl<M: ConnectionManager> OwnedPooledConnection<M> {
    pub(crate) const fn new(slot: Box<Slot<M::Connection>>, pool: Arc<Shared<M>>) -> Self {
        let slot = Some(slot);
        Self(Lease { slot, pool })
    }
}

impl<M: ConnectionManager, P: Borrow<Arc<Shared<M>>>> Lease<M, P> {
    #[inline]
    fn slot(&self) -> &Slot<M::Connection> {
        self.slot.as_ref().expect(PRESENT)
    }

    #[inline]
    fn slot_mut(&mut self) -> &mut Slot<M::Connection> {
        self.slot.as_mut().expect(PRESENT)
    }

    fn detach(mut self) -> M::Connection {
        let slot = self.slot.take().expect(PRESENT);
        let pool = self.pool.borrow();
        pool.step(|state, now, fx| state.detach(*slot, now, fx))
    }

    fn age(&self) -> Duration {
        between(self.slot().created, self.pool.borrow().now())
    }
}

impl<M: ConnectionManager, P: Borrow<Arc<Shared<M>>>> Drop for Lease<M, P> {
    #[inline]
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            self.pool.borrow().give_back(slot);
        }
    }
}

/// The methods and traits that both guards have.
macro_rules! guard {
    ($name:ident $(<$lifetime:lifetime>)?) => {
        impl<$($lifetime,)? M: ConnectionManager> $name<$($lifetime,)? M> {
            /// Has the pool close this connection when it is dropped, instead of lending it again.
            pub const fn evict(&mut self) {
                if let Some(slot) = &mut self.0.slot {
                    slot.evict = true;
                }
            }

            /// Keeps the connection for good: it does not count any more, and the pool may open another.
            #[must_use]
            pub fn detach(self) -> M::Connection {
                self.0.detach()
            }

            /// The connection's number: the `n`th that the pool opened.
            #[must_use]
            pub fn id(&self) -> u64 {
                self.0.slot().id
            }

            /// How long ago the connection was opened.
            #[must_use]
            pub fn age(&self) -> Duration {
                self.0.age()
            }
        }

        impl<$($lifetime,)? M: ConnectionManager> Deref for $name<$($lifetime,)? M> {
            type Target = M::Connection;

            #[inline]
            fn deref(&self) -> &M::Connection {
                &self.0.slot().connection
            }
        }

        impl<$($lifetime,)? M: ConnectionManager> DerefMut for $name<$($lifetime,)? M> {
            #[inline]
            fn deref_mut(&mut self) -> &mut M::Connection {
                &mut self.0.slot_mut().connection
            }
        }

        impl<$($lifetime,)? M> std::fmt::Debug for $name<$($lifetime,)? M>
        where
            M: ConnectionManager,
            M::Connection: std::fmt::Debug,
        {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("id", &self.id())
                    .field("connection", &**self)
                    .finish_non_exhaustive()
            }
        }
    };
}

guard!(PooledConnection<'p>);
guard!(OwnedPooledConnection);

#[cfg(all(test, not(pool_loom)))]
mod tests {
    use super::*;

    struct Nothing;

    impl ConnectionManager for Nothing {
        type Connection = [u64; 8];
        type Error = std::convert::Infallible;

        async fn connect(&self) -> Result<[u64; 8], Self::Error> {
            Ok([0; 8])
        }

        async fn validate(&self, _: &mut [u64; 8]) -> Result<(), Self::Error> {
            Ok(())
        }
    }

    #[test]
    fn guards_are_two_words_and_leave_room_for_none() {
        const TWO: usize = 2 * size_of::<usize>();
        assert_eq!(size_of::<PooledConnection<'_, Nothing>>(), TWO);
        assert_eq!(size_of::<OwnedPooledConnection<Nothing>>(), TWO);
        assert_eq!(size_of::<Option<PooledConnection<'_, Nothing>>>(), TWO);
    }

    #[tokio::test]
    async fn both_guards_know_their_connection_and_can_part_with_it() {
        // A clock that an interpreter can read as well.
        let builder = crate::Pool::builder(Nothing).time_source(crate::TimeSource::Tokio);
        let pool = builder.limits(0, 2).build().unwrap();
        let mut borrowed = pool.acquire().await.unwrap();
        let mut owned = pool.acquire_owned().await.unwrap();
        (borrowed[0], owned[0]) = (1, 2);
        assert_eq!((borrowed.id(), owned.id()), (1, 2));
        assert!(format!("{borrowed:?}").starts_with("PooledConnection { id: 1, connection: [1,"));
        assert!(format!("{owned:?}").starts_with("OwnedPooledConnection { id: 2, connection: [2,"));
        assert!(borrowed.age() < Duration::from_secs(60) && owned.age() < Duration::from_secs(60));
        assert_eq!((borrowed.detach()[0], owned.detach()[0]), (1, 2));
        let (mut borrowed, mut owned) = (
            pool.acquire().await.unwrap(),
            pool.acquire_owned().await.unwrap(),
        );
        assert_eq!((borrowed.id(), owned.id()), (3, 4));
        borrowed.evict();
        owned.evict();
        drop((borrowed, owned));
        assert_eq!(pool.acquire().await.unwrap().id(), 5);
        pool.close(Duration::from_secs(1)).await;
    }
}
