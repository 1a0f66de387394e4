//! Cursors and sessions that keep their lease.

use std::ops::{Deref, DerefMut};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use mongodb::{ClientSession, Database};

use crate::guard::MongoLease;

/// How long a dropped session keeps its lease while the server aborts its transaction.
const ABORT_WITHIN: Duration = Duration::from_secs(5);

/// A cursor, or anything else that goes on using the server, together with its lease.
///
/// From [`MongoLease::into_leased`]. Dereferences to what it holds, and is a
/// [`Stream`] where that is one. Dropping it drops the value, then returns the lease.
///
/// The driver ends what is dropped halfway in the background: `killCursors` for a cursor takes a
/// socket for a moment after the lease is back.
#[derive(Debug)]
#[must_use = "what is not kept is ended at once"]
pub struct Leased<T> {
    value: T,
    lease: MongoLease,
}

impl<T> Leased<T> {
    pub(crate) const fn new(value: T, lease: MongoLease) -> Self {
        Self { value, lease }
    }

    /// The lease.
    pub const fn lease(&self) -> &MongoLease {
        &self.lease
    }

    /// Takes the two apart.
    pub fn into_parts(self) -> (T, MongoLease) {
        (self.value, self.lease)
    }
}

impl<T> Deref for Leased<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Leased<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: Stream + Unpin> Stream for Leased<T> {
    type Item = T::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T::Item>> {
        Pin::new(&mut self.value).poll_next(cx)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.value.size_hint()
    }
}

/// A session, and the transactions in it, with one lease for its whole life.
///
/// From [`MongoPool::start_session`](crate::MongoPool::start_session). Dereferences to
/// [`mongodb::ClientSession`].
///
/// Dropping it aborts a transaction that is open, in the background; the lease is returned after
/// that, so that the pool never has more transactions at the server than leases.
#[must_use = "a session that is not kept ends at once"]
pub struct MongoSession {
    // `None` only while it is being dropped.
    parts: Option<(ClientSession, MongoLease)>,
}

const PRESENT: &str = "a session has its parts until it is dropped";

impl MongoSession {
    pub(crate) const fn new(session: ClientSession, lease: MongoLease) -> Self {
        Self {
            parts: Some((session, lease)),
        }
    }

    /// The database that the pool was built for.
    ///
    /// Operations take part in the session when it is given to them:
    /// `.session(&mut *session)`.
    #[must_use]
    pub fn database(&self) -> Database {
        self.lease().database().clone()
    }

    /// The lease.
    pub fn lease(&self) -> &MongoLease {
        &self.parts.as_ref().expect(PRESENT).1
    }
}

impl Deref for MongoSession {
    type Target = ClientSession;

    fn deref(&self) -> &ClientSession {
        &self.parts.as_ref().expect(PRESENT).0
    }
}

impl DerefMut for MongoSession {
    fn deref_mut(&mut self) -> &mut ClientSession {
        &mut self.parts.as_mut().expect(PRESENT).0
    }
}

impl Drop for MongoSession {
    fn drop(&mut self) {
        let Some((mut session, lease)) = self.parts.take() else {
            return;
        };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // The lease is the task's owner: closing the pool waits for leases.
            runtime.spawn(async move {
                // Without a transaction this fails at once, without I/O.
                let _ = tokio::time::timeout(ABORT_WITHIN, session.abort_transaction()).await;
                drop(session);
                drop(lease);
            });
        }
    }
}

impl std::fmt::Debug for MongoSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MongoSession")
            .field("lease", self.lease())
            .finish_non_exhaustive()
    }
}
