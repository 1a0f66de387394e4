//! What the engine lends: leases on one official client.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use mongodb::Database;
use mongodb::bson::doc;
use parking_lot::Mutex;
use pool_core::{ConnectFault, ConnectionManager, ServerState};

use crate::backend::Backend;
use crate::error::MongoConnectError;
use crate::nesting::{Holder, Holders};
use crate::sockets::ServerSockets;

/// Opens leases on one official client, for the engine.
///
/// The engine's connections are leases: tokens without a socket of their own.
///
/// - *Connecting* proves that the server can be used, by one authenticated round trip that all
///   leases opened meanwhile share, or by the last one if the driver has had no doubt since.
/// - An idle lease is not checked unless the engine is told to
///   ([`Liveness`](pool_core::Liveness)): it has nothing that could break. When the driver distrusts
///   a server, [`MongoPool`](crate::MongoPool) evicts all leases, so that the next caller waits for
///   a new proof and learns the cause when there is none. A check, where it is wanted, refuses a
///   lease that was opened before such a doubt, and otherwise asks the server.
///
/// Clones are handles to the same client.
#[derive(Clone)]
pub struct MongoManager {
    shared: Arc<Shared>,
}

struct Shared {
    backend: Mutex<Arc<Backend>>,
    holders: Holders,
}

/// A lease as the engine keeps it: the right to run operations on a database.
///
/// What a [`Pool`](pool_core::Pool) over [`MongoManager`] lends. Derefs to [`Database`].
pub struct ManagedLease {
    pub(crate) database: Database,
    pub(crate) backend: Arc<Backend>,
    pub(crate) holder: Arc<Holder>,
    /// How often the driver had lost its trust in a server before this was opened.
    doubts: u64,
}

impl ManagedLease {
    fn new(backend: Arc<Backend>, holder: Arc<Holder>, doubts: u64) -> Self {
        backend.leases.begin();
        Self {
            database: backend.database.clone(),
            backend,
            holder,
            doubts,
        }
    }
}

impl Drop for ManagedLease {
    fn drop(&mut self) {
        self.backend.leases.end();
    }
}

impl MongoManager {
    pub(crate) fn new(backend: Arc<Backend>) -> Self {
        Self {
            shared: Arc::new(Shared {
                backend: Mutex::new(backend),
                holders: Holders::default(),
            }),
        }
    }

    /// Puts `new` in the place of the client that new leases are for, which it returns.
    pub(crate) fn replace(&self, new: Arc<Backend>) -> Arc<Backend> {
        std::mem::replace(&mut self.shared.backend.lock(), new)
    }

    /// The client that new leases are for.
    pub(crate) fn backend(&self) -> Arc<Backend> {
        Arc::clone(&self.shared.backend.lock())
    }

    /// Which tasks hold leases.
    pub(crate) fn holders(&self) -> &Holders {
        &self.shared.holders
    }

    /// The sockets to each server at this moment, by the driver's own account.
    #[must_use]
    pub fn sockets(&self) -> Vec<ServerSockets> {
        self.backend().watch.sockets.snapshot()
    }
}

impl fmt::Debug for MongoManager {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MongoManager")
            .field("hosts", &self.backend().hosts())
            .finish_non_exhaustive()
    }
}

impl Deref for ManagedLease {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.database
    }
}

impl fmt::Debug for ManagedLease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagedLease")
            .field("database", &self.database.name())
            .finish_non_exhaustive()
    }
}

impl ConnectionManager for MongoManager {
    type Connection = ManagedLease;
    type Error = MongoConnectError;

    async fn connect(&self) -> Result<ManagedLease, MongoConnectError> {
        let backend = self.backend();
        // Read first: a doubt during the proof counts against the lease.
        let doubts = backend.watch.doubts();
        backend.prove().await?;
        let holder = self.shared.holders.add();
        Ok(ManagedLease::new(backend, holder, doubts))
    }

    /// Whether a caller could use the lease: the driver has had no doubt since it was opened, and
    /// the server answers. A warm-up has asked the server already, and a command for each lease could
    /// open a socket more than it counts.
    async fn validate(&self, lease: &mut ManagedLease) -> Result<(), MongoConnectError> {
        let backend = &lease.backend;
        if backend.watch.doubts() != lease.doubts {
            return Err(backend.distrusted());
        }
        if backend.warming.load(Ordering::Acquire) > 0 {
            return Ok(());
        }
        let ping = doc! { "ping": 1 };
        backend.command(&lease.database, ping).await.map(drop)
    }

    fn classify(&self, error: &MongoConnectError) -> ConnectFault {
        error.fault()
    }

    fn error_code(&self, error: &MongoConnectError) -> Option<String> {
        Some(error.code())
    }

    fn servers(&self) -> Vec<ServerState> {
        self.sockets().into_iter().map(Into::into).collect()
    }
}
