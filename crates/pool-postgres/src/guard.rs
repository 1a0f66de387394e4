//! A connection in a caller's hands.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use pool_core::OwnedPooledConnection;
use sqlx::{Error, PgConnection};

use crate::clean;
use crate::connection::ManagedConnection;
use crate::manager::PostgresManager;
use crate::sqlstate::{self, Verdict};

/// A connection that goes back to its pool when it is dropped.
///
/// It derefs to [`PgConnection`], so all that sqlx does with one works: `query.execute(&mut *conn)`,
/// `conn.begin()`, `conn.ping()`. It is `'static`: it can be moved into a task.
///
/// Dropping it does no I/O and never blocks; it is safe outside a runtime and in a panic. A
/// connection with an unread answer or an open transaction is cleaned by a task of the pool
/// first, or closed when that takes too long; the next caller never sees what was left over.
#[must_use = "a connection that is not kept goes back at once"]
pub struct PgPooledConnection {
    guard: OwnedPooledConnection<PostgresManager>,
}

impl PgPooledConnection {
    pub(crate) const fn new(guard: OwnedPooledConnection<PostgresManager>) -> Self {
        Self { guard }
    }

    /// Has the pool close this connection when it is dropped, instead of lending it again.
    pub const fn evict(&mut self) {
        self.guard.evict();
    }

    /// Keeps the connection for good: it does not count any more, and the pool may open another.
    #[must_use]
    pub fn detach(self) -> PgConnection {
        self.guard.detach().connection
    }

    /// The connection's number: the `n`th that the pool opened.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.guard.id()
    }

    /// How long ago the connection was opened.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.guard.age()
    }

    /// The process that serves the connection, as in `pg_stat_activity.pid`.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.guard.backend_pid()
    }

    pub(crate) fn managed(&self) -> &ManagedConnection {
        &self.guard
    }

    pub(crate) fn managed_mut(&mut self) -> &mut ManagedConnection {
        &mut self.guard
    }

    /// Reads what earlier statements left unread, whose errors concern nobody any more.
    pub(crate) async fn settle(&mut self) -> Result<(), Error> {
        clean::drain(self).await
    }

    /// Learns of an error that a statement met.
    pub(crate) fn hear(&mut self, error: &Error) {
        match sqlstate::judge(error) {
            Verdict::Fine => {}
            Verdict::Evict => self.evict(),
            Verdict::ReadOnly => {
                self.evict();
                self.guard.sentinel.read_only(self.guard.epoch);
            }
        }
    }
}

impl Deref for PgPooledConnection {
    type Target = PgConnection;

    #[inline]
    fn deref(&self) -> &PgConnection {
        &self.guard.connection
    }
}

impl DerefMut for PgPooledConnection {
    #[inline]
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.guard.connection
    }
}

impl AsMut<PgConnection> for PgPooledConnection {
    fn as_mut(&mut self) -> &mut PgConnection {
        self
    }
}

impl fmt::Debug for PgPooledConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgPooledConnection")
            .field("id", &self.id())
            .field("backend_pid", &self.backend_pid())
            .finish_non_exhaustive()
    }
}
