//! A lease in a caller's hands.

use std::ops::Deref;
use std::time::Duration;

use mongodb::{Client, Database};
use pool_core::OwnedPooledConnection;

use crate::leased::Leased;
use crate::manager::MongoManager;

/// The right to run operations on a database, one at a time, until it is dropped.
///
/// Dereferences to [`mongodb::Database`]. Dropping it does no I/O and never blocks, works outside
/// a runtime and in a panic.
///
/// A lease stands for one socket: an operation that runs through it takes one from the driver and
/// gives it back. Operations that run at the same time on one lease, and handles cloned from it
/// that outlive it, use more sockets than the pool knows of, up to the ceiling.
#[must_use = "a lease that is not kept goes back at once"]
pub struct MongoLease {
    guard: OwnedPooledConnection<MongoManager>,
}

impl MongoLease {
    pub(crate) fn new(guard: OwnedPooledConnection<MongoManager>) -> Self {
        guard.holder.begin();
        Self { guard }
    }

    /// Ties `value`, a cursor or a change stream, to this lease, so that both live equally long
    /// and can leave the function.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(pool: pool_mongo::MongoPool) -> Result<(), Box<dyn std::error::Error>> {
    /// use mongodb::bson::{Document, doc};
    ///
    /// let lease = pool.acquire().await?;
    /// let cursor = lease.collection::<Document>("quotes").find(doc! {}).await?;
    /// let mut quotes = lease.into_leased(cursor);
    /// while quotes.advance().await? {
    ///     println!("{:?}", quotes.current());
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub const fn into_leased<T>(self, value: T) -> Leased<T> {
        Leased::new(value, self)
    }

    /// The database that the pool was built for; the same as dereferencing.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.guard.database
    }

    /// Another database on the same servers, under the same lease.
    #[must_use]
    pub fn other_database(&self, name: &str) -> Database {
        self.client().database(name)
    }

    /// The driver's client, for what has no method here: sessions, listing databases.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.guard.backend.client
    }

    /// The lease's number: the `n`th that the pool opened.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.guard.id()
    }

    /// How long ago the lease was opened.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.guard.age()
    }
}

impl Deref for MongoLease {
    type Target = Database;

    fn deref(&self) -> &Database {
        self.database()
    }
}

impl Drop for MongoLease {
    fn drop(&mut self) {
        self.guard.holder.end();
    }
}

impl std::fmt::Debug for MongoLease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoLease")
            .field("id", &self.id())
            .field("database", &self.database().name())
            .finish_non_exhaustive()
    }
}
