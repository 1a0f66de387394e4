//! What a service does to connections as they pass.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::builder::PoolBuilder;
use crate::error::SharedError;
use crate::{ConnectionManager, ReleaseCheck};

/// What the pool knows of a connection.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The `n`th connection that the pool opened.
    pub id: u64,
    /// How long ago it was opened.
    pub age: Duration,
    /// How long it has not been used.
    pub idle: Duration,
}

type AsyncHook<C> = Arc<
    dyn for<'c> Fn(&'c mut C, ConnectionInfo) -> BoxFuture<'c, Result<(), SharedError>>
        + Send
        + Sync,
>;
type ReleaseHook<C> = Arc<dyn Fn(&mut C, ConnectionInfo) -> ReleaseCheck + Send + Sync>;

/// The hooks of one pool.
pub(crate) struct Hooks<C> {
    pub(crate) after_connect: Option<AsyncHook<C>>,
    pub(crate) before_acquire: Option<AsyncHook<C>>,
    pub(crate) on_release: Option<ReleaseHook<C>>,
}

impl<C> Hooks<C> {
    pub(crate) const fn none() -> Self {
        Self {
            after_connect: None,
            before_acquire: None,
            on_release: None,
        }
    }
}

impl<M: ConnectionManager> PoolBuilder<M> {
    /// Runs `hook` on each new connection, within the connect's time. An error counts as a failed
    /// connect.
    pub fn after_connect<F>(mut self, hook: F) -> Self
    where
        F: for<'c> Fn(
                &'c mut M::Connection,
                ConnectionInfo,
            ) -> BoxFuture<'c, Result<(), SharedError>>
            + Send
            + Sync
            + 'static,
    {
        self.hooks.after_connect = Some(Arc::new(hook));
        self
    }

    /// Runs `hook` on each connection before it is lent again, after the manager's check where that
    /// is due, and within the check's time. An error closes the connection and the caller gets another one.
    ///
    /// With this hook each checkout pays for a task, as with
    /// [`Liveness::Always`](crate::Liveness::Always).
    pub fn before_acquire<F>(mut self, hook: F) -> Self
    where
        F: for<'c> Fn(
                &'c mut M::Connection,
                ConnectionInfo,
            ) -> BoxFuture<'c, Result<(), SharedError>>
            + Send
            + Sync
            + 'static,
    {
        self.hooks.before_acquire = Some(Arc::new(hook));
        self
    }

    /// Runs `hook` on each connection that comes back and that the manager called clean, on the
    /// caller's thread and without I/O.
    pub fn on_release<F>(mut self, hook: F) -> Self
    where
        F: Fn(&mut M::Connection, ConnectionInfo) -> ReleaseCheck + Send + Sync + 'static,
    {
        self.hooks.on_release = Some(Arc::new(hook));
        self
    }
}
