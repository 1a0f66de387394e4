//! `COPY` in both directions, on connections and in transactions.
//!
//! sqlx does not count the answers of a `COPY`, so a connection on which one was left in the
//! middle looks idle and is not. These methods take the place of sqlx's own on guards and
//! transactions, and keep book.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_core::stream::BoxStream;
use sqlx::postgres::PgCopyIn;
use sqlx::{Error, PgConnection};
use sqlx_core::bytes::Bytes;
use sqlx_core::io::AsyncRead;

use crate::connection::ManagedConnection;
use crate::{PgPooledConnection, PgTransaction};

/// How far a `COPY` on a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copying {
    /// Data goes to the server.
    In,
    /// There is none, or it has come to its end.
    No,
    /// Data comes from the server.
    Out,
}

/// A `COPY ... FROM STDIN` under way.
///
/// [`finish`](Self::finish) or [`abort`](Self::abort) ends it. Dropped before, nothing is stored,
/// and the connection is closed when it comes back to its pool.
#[must_use = "a copy that is not finished stores nothing"]
pub struct CopyIn<'c> {
    copy: PgCopyIn<&'c mut PgConnection>,
    copying: &'c mut Copying,
}

impl CopyIn<'_> {
    /// Sends a piece of data, split anywhere.
    ///
    /// # Errors
    ///
    /// Those of the connection. What is wrong with the data is said by [`finish`](Self::finish).
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: the piece may have been sent in part. Abort the copy.
    pub async fn send(&mut self, data: &[u8]) -> Result<(), Error> {
        self.copy.send(data).await.map(drop)
    }

    /// Sends all that `source` yields.
    ///
    /// # Errors
    ///
    /// Those of the connection and of `source`.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: a part may have been sent. Abort the copy.
    pub async fn read_from(&mut self, source: impl AsyncRead + Unpin) -> Result<(), Error> {
        self.copy.read_from(source).await.map(drop)
    }

    /// Ends the copy and returns the number of rows stored.
    ///
    /// # Errors
    ///
    /// The data was refused, and nothing is stored; or those of the connection.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: whether the rows are stored is not known. The connection is closed when
    /// it comes back to its pool.
    pub async fn finish(self) -> Result<u64, Error> {
        let outcome = self.copy.finish().await;
        if matches!(outcome, Ok(_) | Err(Error::Database(_))) {
            *self.copying = Copying::No;
        }
        outcome
    }

    /// Ends the copy and has the server forget what was sent.
    ///
    /// # Errors
    ///
    /// Those of the connection.
    ///
    /// # Cancel safety
    ///
    /// Nothing is stored. The connection is closed when it comes back to its pool.
    pub async fn abort(self, reason: &str) -> Result<(), Error> {
        let outcome = self.copy.abort(reason).await;
        if outcome.is_ok() {
            *self.copying = Copying::No;
        }
        outcome
    }
}

impl fmt::Debug for CopyIn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyIn").finish_non_exhaustive()
    }
}

/// A `COPY ... TO STDOUT` under way: a stream of pieces of data, split by the server.
///
/// Dropped before its end, the statement is cancelled at the server and the connection is closed
/// when it comes back to its pool.
#[must_use = "a stream does nothing until it is polled"]
pub struct CopyOut<'c> {
    stream: BoxStream<'c, Result<Bytes, Error>>,
    copying: &'c mut Copying,
}

impl Stream for CopyOut<'_> {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.stream.as_mut().poll_next(cx);
        if matches!(polled, Poll::Ready(None | Some(Err(Error::Database(_))))) {
            *self.copying = Copying::No;
        }
        polled
    }
}

impl fmt::Debug for CopyOut<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CopyOut").finish_non_exhaustive()
    }
}

impl ManagedConnection {
    async fn copy_in_raw(&mut self, statement: &str) -> Result<CopyIn<'_>, Error> {
        self.copying = Copying::In;
        match self.connection.copy_in_raw(statement).await {
            Ok(copy) => Ok(CopyIn {
                copy,
                copying: &mut self.copying,
            }),
            Err(error) => {
                if matches!(error, Error::Database(_)) {
                    self.copying = Copying::No;
                }
                Err(error)
            }
        }
    }

    async fn copy_out_raw(&mut self, statement: &str) -> Result<CopyOut<'_>, Error> {
        self.copying = Copying::Out;
        // After an error sqlx 0.9 leaves an answer unread: only closing helps.
        let stream = self.connection.copy_out_raw(statement).await?;
        Ok(CopyOut {
            stream,
            copying: &mut self.copying,
        })
    }

    /// Whether statements can be sent.
    pub(crate) fn usable(&self) -> Result<(), Error> {
        match self.copying {
            Copying::No => Ok(()),
            Copying::In | Copying::Out => Err(Error::Protocol(
                "a COPY on this connection failed or was not finished; the connection can only be \
                 given back"
                    .to_owned(),
            )),
        }
    }
}

/// The same two methods for guards and transactions.
macro_rules! copies {
    ($type:ty, $managed:ident => $connection:expr) => {
        impl $type {
            /// Begins a `COPY ... FROM STDIN`.
            ///
            /// # Errors
            ///
            /// The statement is wrong or is no `COPY ... FROM STDIN`.
            ///
            /// # Cancel safety
            ///
            /// Not cancel safe: the connection can only be given back, and is closed then.
            pub async fn copy_in_raw(&mut self, statement: &str) -> Result<CopyIn<'_>, Error> {
                let $managed = self;
                $connection.copy_in_raw(statement).await
            }

            /// Begins a `COPY ... TO STDOUT`.
            ///
            /// # Errors
            ///
            /// The statement is wrong or is no `COPY ... TO STDOUT`. The connection can only be
            /// given back after that, and is closed then, because sqlx 0.9 leaves an answer
            /// unread.
            ///
            /// # Cancel safety
            ///
            /// Not cancel safe: the connection can only be given back, and is closed then.
            pub async fn copy_out_raw(&mut self, statement: &str) -> Result<CopyOut<'_>, Error> {
                let $managed = self;
                $connection.copy_out_raw(statement).await
            }
        }
    };
}

copies!(PgPooledConnection, guard => guard.managed_mut());
copies!(PgTransaction<'_>, transaction => transaction.guard_mut().managed_mut());
