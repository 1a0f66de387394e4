//! What the engine lends: leases on one official client.

use std::sync::Arc;

use mongodb::Database;
use parking_lot::Mutex;
use pool_core::{ConnectFault, ConnectionManager};

use crate::backend::Backend;
use crate::error::MongoConnectError;
use crate::nesting::{Holder, Holders};

/// The engine's connections are leases: tokens without a socket of their own.
///
/// - *Connecting* proves that the server can be used, by one authenticated round trip that all
///   leases opened meanwhile share, or by the last one if the driver has had no doubt since.
/// - An idle lease is never checked: it has nothing that could break. When the driver distrusts a
///   server, all leases are evicted, so that the next caller waits for a new proof and learns the
///   cause when there is none.
#[derive(Debug)]
pub(crate) struct LeaseManager {
    backend: Mutex<Arc<Backend>>,
    pub(crate) holders: Arc<Holders>,
}

/// The right to run operations on a database.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) database: Database,
    pub(crate) backend: Arc<Backend>,
    pub(crate) holder: Arc<Holder>,
}

impl Lease {
    fn new(backend: Arc<Backend>, holder: Arc<Holder>) -> Self {
        backend.leases.begin();
        Self {
            database: backend.database.clone(),
            backend,
            holder,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.backend.leases.end();
    }
}

impl LeaseManager {
    pub(crate) fn new(backend: Arc<Backend>) -> Self {
        Self {
            backend: Mutex::new(backend),
            holders: Arc::default(),
        }
    }

    /// Puts `new` in the place of the client that new leases are for, which it returns.
    pub(crate) fn replace(&self, new: Arc<Backend>) -> Arc<Backend> {
        std::mem::replace(&mut self.backend.lock(), new)
    }

    /// The client that new leases are for.
    pub(crate) fn backend(&self) -> Arc<Backend> {
        Arc::clone(&self.backend.lock())
    }
}

impl ConnectionManager for LeaseManager {
    type Connection = Lease;
    type Error = MongoConnectError;

    async fn connect(&self) -> Result<Lease, MongoConnectError> {
        let backend = self.backend();
        backend.prove().await?;
        Ok(Lease::new(backend, self.holders.add()))
    }

    /// Nothing to check: see the type.
    async fn validate(&self, _lease: &mut Lease) -> Result<(), MongoConnectError> {
        Ok(())
    }

    fn classify(&self, error: &MongoConnectError) -> ConnectFault {
        error.fault()
    }

    fn error_code(&self, error: &MongoConnectError) -> Option<String> {
        Some(error.code())
    }
}
