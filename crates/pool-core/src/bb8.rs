//! Any bb8 manager on this engine (feature `bb8`).
//!
//! ```
//! use pool_core::{Pool, bb8::Bb8Manager};
//!
//! // A manager as bb8 users have it.
//! struct Numbers;
//!
//! impl ::bb8::ManageConnection for Numbers {
//!     type Connection = u32;
//!     type Error = std::io::Error;
//!
//!     async fn connect(&self) -> Result<u32, std::io::Error> { Ok(7) }
//!     async fn is_valid(&self, _: &mut u32) -> Result<(), std::io::Error> { Ok(()) }
//!     fn has_broken(&self, _: &mut u32) -> bool { false }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // was: bb8::Pool::builder().max_size(4).build(Numbers).await?
//! let pool = Pool::builder(Bb8Manager::new(Numbers)).limits(0, 4).build()?;
//! // was: pool.get().await?
//! assert_eq!(*pool.acquire().await?, 7);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::future::Future;

use ::bb8::ManageConnection;

use crate::{ConnectFault, ConnectionManager, ReleaseCheck};

/// Runs a bb8 [`ManageConnection`] on this engine.
///
/// `connect` and `is_valid` become connect and check; `has_broken` is asked when a connection
/// comes back. bb8's trait does not say which errors are permanent, so all count as passing; use
/// [`classify_with`](Self::classify_with) to say better.
pub struct Bb8Manager<M: ManageConnection> {
    manager: M,
    classify: Option<Classify<M::Error>>,
}

type Classify<E> = Box<dyn Fn(&E) -> ConnectFault + Send + Sync>;

impl<M: ManageConnection> Bb8Manager<M> {
    /// Takes a bb8 manager as it is.
    pub const fn new(manager: M) -> Self {
        Self {
            manager,
            classify: None,
        }
    }

    /// Says what the manager's errors mean for the next attempt to connect.
    #[must_use]
    pub fn classify_with(
        mut self,
        classify: impl Fn(&M::Error) -> ConnectFault + Send + Sync + 'static,
    ) -> Self {
        self.classify = Some(Box::new(classify));
        self
    }

    /// The bb8 manager.
    pub const fn inner(&self) -> &M {
        &self.manager
    }
}

impl<M: ManageConnection> fmt::Debug for Bb8Manager<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bb8Manager").finish_non_exhaustive()
    }
}

impl<M> ConnectionManager for Bb8Manager<M>
where
    M: ManageConnection,
    M::Error: std::error::Error + Send + Sync,
{
    type Connection = M::Connection;
    type Error = M::Error;

    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send {
        self.manager.connect()
    }

    fn validate(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.manager.is_valid(connection)
    }

    fn release_check(&self, connection: &mut Self::Connection) -> ReleaseCheck {
        if self.manager.has_broken(connection) {
            ReleaseCheck::Broken
        } else {
            ReleaseCheck::Clean
        }
    }

    fn classify(&self, error: &Self::Error) -> ConnectFault {
        self.classify
            .as_ref()
            .map_or(ConnectFault::Transient, |classify| classify(error))
    }
}
