//! A connection with what the pool knows of it.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use sqlx::PgConnection;
use sqlx::postgres::PgConnectOptions;

use crate::TargetSessionAttrs;
use crate::cancel::Backend;
use crate::copy::Copying;
use crate::sentinel::Sentinel;

/// A connection as the engine keeps it: sqlx's, and what the pool must know beside it.
///
/// What [`PostgresPool::engine`](crate::PostgresPool::engine) lends. Derefs to [`PgConnection`].
pub struct ManagedConnection {
    pub(crate) connection: PgConnection,
    /// The process that serves it, to cancel what it runs.
    pub(crate) backend: Arc<Backend>,
    /// The host it leads to, without what a credential provider adds.
    pub(crate) place: Arc<PgConnectOptions>,
    /// A `COPY` that is under way, which sqlx does not count.
    pub(crate) copying: Copying,
    /// Set when a `ROLLBACK` was queued here, whose answer may come at once.
    pub(crate) queued: bool,
    /// Set when only a round trip can tell whether the connection is sound.
    pub(crate) doubtful: bool,
    /// Set while the server holds a failed transaction that sqlx does not count.
    pub(crate) aborted: bool,
    /// Set when a statement of the transaction has failed.
    pub(crate) suspect: bool,
    /// What its server was asked to be when it was opened.
    pub(crate) wanted: TargetSessionAttrs,
    /// Set when its server is to be asked whether it still is that.
    pub(crate) role_in_doubt: bool,
    /// The failovers that its pool had seen when it was opened.
    pub(crate) epoch: u64,
    pub(crate) sentinel: Arc<Sentinel>,
}

impl ManagedConnection {
    /// The process that serves it, as in `pg_stat_activity.pid`.
    #[must_use]
    pub fn backend_pid(&self) -> i32 {
        self.backend.pid
    }

    /// A transaction came to nothing, perhaps because the server cannot write any more: where that
    /// matters, it is asked before the connection is lent again. Now and then is enough.
    pub(crate) fn doubt_role(&mut self) {
        if self.wanted != TargetSessionAttrs::Any && self.sentinel.may_ask() {
            self.role_in_doubt = true;
        }
    }
}

impl Deref for ManagedConnection {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for ManagedConnection {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl fmt::Debug for ManagedConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedConnection")
            .field("backend", &self.backend.pid)
            .finish_non_exhaustive()
    }
}
