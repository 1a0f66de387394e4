//! Why there is no pool.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use pool_core::SharedError;

use crate::Database;

/// A pool could not be made. Cheap to clone: all who waited for one attempt get the same error.
#[derive(Clone, Debug)]
pub struct CreateError {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    service: Arc<str>,
    database: Database,
    /// Where its configuration comes from, for people.
    origin: String,
    kind: CreateErrorKind,
    source: Option<SharedError>,
}

/// The reason for a [`CreateError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CreateErrorKind {
    /// The factory is drained, or the pool was closed while it was being made.
    Closed,
    /// The server could not be reached, or turned the connection down.
    Connect,
    /// The code that makes the pool panicked.
    Panicked,
    /// The settings were turned down by the adapter.
    Settings,
    /// No configuration names this service and database.
    Unknown,
}

impl CreateError {
    pub(crate) fn new(
        service: &str,
        database: Database,
        kind: CreateErrorKind,
        origin: impl Into<String>,
        source: Option<SharedError>,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                service: service.into(),
                database,
                origin: origin.into(),
                kind,
                source,
            }),
        }
    }

    /// The reason.
    #[must_use]
    pub fn kind(&self) -> CreateErrorKind {
        self.inner.kind
    }

    /// The service that was asked for.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.inner.service
    }

    /// The kind of database that was asked for.
    #[must_use]
    pub fn database(&self) -> Database {
        self.inner.database
    }
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            service,
            database,
            origin,
            kind,
            source: _,
        } = &*self.inner;
        write!(f, "no {database} pool for service `{service}`")?;
        if !origin.is_empty() {
            write!(f, " ({origin})")?;
        }
        match kind {
            CreateErrorKind::Closed => write!(f, ": the factory is drained"),
            CreateErrorKind::Connect => write!(f, ": it could not connect"),
            CreateErrorKind::Panicked => write!(f, ": making it panicked"),
            CreateErrorKind::Settings => write!(f, ": its settings cannot be used"),
            CreateErrorKind::Unknown => {
                let key = database.key();
                write!(f, ": `services.{service}.{key}` is not configured")
            }
        }
    }
}

impl StdError for CreateError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner.source.as_ref().map(|source| &**source as _)
    }
}
