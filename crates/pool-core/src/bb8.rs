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

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use ::bb8::ManageConnection;

use crate::error::SharedError;
use crate::{ConnectFault, ConnectionManager, ReleaseCheck};

/// Runs a bb8 [`ManageConnection`] on this engine.
///
/// `connect` and `is_valid` become connect and check; `has_broken` is asked when a connection
/// comes back. bb8's trait does not say which errors are permanent, so all count as passing; use
/// [`classify_with`](Self::classify_with) to say better.
///
/// bb8 asks of errors only that they are `Debug`: [`with_any_error`](Self::with_any_error) takes
/// the managers whose errors are no [`std::error::Error`], such as `String` or `anyhow::Error`.
pub struct Bb8Manager<M: ManageConnection> {
    manager: M,
    classify: Option<Classify<M::Error>>,
    tell: fn(M::Error) -> Told,
}

type Classify<E> = Box<dyn Fn(&E) -> ConnectFault + Send + Sync>;

/// What an error says, and the error itself where others can look at it.
type Told = (String, Option<SharedError>);

impl<M: ManageConnection> Bb8Manager<M> {
    /// Takes a bb8 manager as it is.
    pub const fn new(manager: M) -> Self
    where
        M::Error: StdError + Send + Sync,
    {
        Self {
            manager,
            classify: None,
            tell: |error| (error.to_string(), Some(Arc::new(error))),
        }
    }

    /// Takes a bb8 manager whatever its errors are: those of the pool say what `Debug` says of
    /// them, so see that this shows no secret.
    pub const fn with_any_error(manager: M) -> Self {
        Self {
            manager,
            classify: None,
            tell: |error| (format!("{error:?}"), None),
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

    fn wrap(&self, error: M::Error) -> Bb8Error {
        let fault = match &self.classify {
            Some(classify) => classify(&error),
            None => ConnectFault::Transient,
        };
        let (text, source) = (self.tell)(error);
        Bb8Error {
            text,
            source,
            fault,
        }
    }
}

impl<M: ManageConnection> fmt::Debug for Bb8Manager<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bb8Manager").finish_non_exhaustive()
    }
}

/// An error of a bb8 manager.
///
/// It reads as that error does; where that is a [`std::error::Error`] it is the
/// [source](StdError::source), of its own type.
#[derive(Debug)]
pub struct Bb8Error {
    text: String,
    source: Option<SharedError>,
    fault: ConnectFault,
}

impl fmt::Display for Bb8Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl StdError for Bb8Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_ref().map(|source| &**source as _)
    }
}

impl<M: ManageConnection> ConnectionManager for Bb8Manager<M> {
    type Connection = M::Connection;
    type Error = Bb8Error;

    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send {
        let connect = self.manager.connect();
        async move { connect.await.map_err(|error| self.wrap(error)) }
    }

    fn validate(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        let check = self.manager.is_valid(connection);
        async move { check.await.map_err(|error| self.wrap(error)) }
    }

    fn release_check(&self, connection: &mut Self::Connection) -> ReleaseCheck {
        if self.manager.has_broken(connection) {
            ReleaseCheck::Broken
        } else {
            ReleaseCheck::Clean
        }
    }

    fn classify(&self, error: &Self::Error) -> ConnectFault {
        error.fault
    }
}
