//! What a backend tells the engine about its connections.

use std::future::Future;

use crate::ServerState;

/// Opens, checks, cleans and closes the connections of one backend.
///
/// The engine runs every future of this trait in a task of its own, under a deadline, so that a
/// caller who gives up never breaks off a handshake. A future that panics costs its connection
/// and nothing else.
///
/// # Cancel safety
///
/// The futures need not be: one is dropped before its end only when its deadline is over or its
/// runtime ends, and its connection is not used again.
///
/// # Example
///
/// ```
/// use pool_core::{ConnectionManager, Pool};
///
/// struct Echo;
///
/// impl ConnectionManager for Echo {
///     type Connection = String;
///     type Error = std::io::Error;
///
///     async fn connect(&self) -> Result<String, std::io::Error> {
///         Ok("hello".to_owned())
///     }
///
///     async fn validate(&self, _connection: &mut String) -> Result<(), std::io::Error> {
///         Ok(())
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = Pool::builder(Echo).limits(0, 4).build()?;
/// assert_eq!(*pool.acquire().await?, "hello");
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell the pool how to open and check connections",
    note = "implement `ConnectionManager`, or wrap a bb8 manager in `pool_core::bb8::Bb8Manager` \
            (feature `bb8`)"
)]
pub trait ConnectionManager: Send + Sync + 'static {
    /// What the pool lends.
    type Connection: Send + 'static;

    /// Why a connection could not be opened or did not pass a check.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Opens a connection, ready for use.
    ///
    /// Runs under the pool's `connect_timeout`.
    fn connect(&self) -> impl Future<Output = Result<Self::Connection, Self::Error>> + Send;

    /// Proves that an idle connection still works, usually with one round trip.
    ///
    /// Runs under the pool's `validate_timeout`; an error or a timeout closes the connection and
    /// the caller gets another one without losing its place.
    fn validate(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Looks at a connection that comes back, without I/O.
    ///
    /// Called from the guard's `Drop`, on the caller's thread, outside the pool's lock. Defaults
    /// to [`ReleaseCheck::Clean`].
    fn release_check(&self, _connection: &mut Self::Connection) -> ReleaseCheck {
        ReleaseCheck::Clean
    }

    /// Cleans a connection that [`release_check`](Self::release_check) called dirty.
    ///
    /// Runs under the pool's `recycle_timeout`; an error or a timeout closes the connection.
    /// Defaults to [`validate`](Self::validate).
    fn recycle(
        &self,
        connection: &mut Self::Connection,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send {
        self.validate(connection)
    }

    /// Says goodbye to a connection.
    ///
    /// Runs under the pool's `close_timeout`; the connection counts against the maximum until
    /// this ends or that time is over. Defaults to dropping it.
    fn close(&self, connection: Self::Connection) -> impl Future<Output = ()> + Send {
        drop(connection);
        std::future::ready(())
    }

    /// Says what a failed [`connect`](Self::connect) means for the next attempt.
    ///
    /// Defaults to [`ConnectFault::Transient`].
    fn classify(&self, _error: &Self::Error) -> ConnectFault {
        ConnectFault::Transient
    }

    /// The backend's short code for a failed [`connect`](Self::connect), such as an SQLSTATE, under
    /// which the failure is counted. It becomes the value of a metric's label: one of a few dozen,
    /// and never a secret.
    ///
    /// Defaults to none.
    fn error_code(&self, _error: &Self::Error) -> Option<String> {
        None
    }

    /// The sockets below the connections, server by server, where a connection is not a socket
    /// itself. Asked by whoever watches the pool, never on the way to a connection.
    ///
    /// Defaults to none: each connection is a socket.
    fn servers(&self) -> Vec<ServerState> {
        Vec::new()
    }
}

/// The state of a connection that comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseCheck {
    /// Dead or in a state that cannot be repaired: closed.
    Broken,
    /// Nothing is left over: lent again at once.
    Clean,
    /// Something is left over, an unread answer or an open transaction: cleaned by a task first.
    Dirty,
}

/// What a failed attempt to connect means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectFault {
    /// Trying again cannot help until somebody changes something: a wrong password, no such
    /// database, a certificate that does not match.
    Permanent,
    /// The server has no room for another connection: the pool stops growing for a while.
    Saturated,
    /// Refused, reset, timed out, starting up: worth another attempt after a pause.
    Transient,
}
