//! Why a service could not be had.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::name::write_path;
use crate::service::SharedError;
use crate::{Name, ServiceName};

/// Why a service could not be resolved.
///
/// Cheap to clone: everybody who waited for the same creation gets the same error. When a factory
/// failed, [`source`](Error::source) is its own error.
#[derive(Clone)]
pub struct ResolveError {
    // One pointer wide: it is in the result of every `get`.
    inner: Arc<Failure>,
}

struct Failure {
    path: Vec<ServiceName>,
    scope: Name,
    detail: Arc<Detail>,
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ResolveErrorKind {
    /// Several services provide it, none of them rather than another.
    Ambiguous,
    /// A scoped service was asked for where there is no scope: from the container or by a singleton.
    Captive,
    /// The scope is closing or closed.
    Closed,
    /// Creating it would have to wait for itself.
    Cycle,
    /// The factory returned an error or panicked.
    Failed,
    /// Nothing provides it.
    Missing,
    /// It had to be created and there was no tokio runtime to do it on.
    NoRuntime,
    /// The factory took longer than its `create_timeout`.
    TimedOut,
}

#[derive(Debug)]
pub(crate) enum Detail {
    Ambiguous { providers: Vec<ServiceName> },
    Captive,
    Closed { ago: Option<Duration> },
    Cycle { cycle: Vec<ServiceName> },
    Failed { error: SharedError },
    Input,
    Missing { names: Vec<Name> },
    NoRuntime,
    TimedOut { timeout: Duration },
}

impl ResolveError {
    pub(crate) fn new(service: ServiceName, scope: Name, detail: Detail) -> Self {
        Self {
            inner: Arc::new(Failure {
                path: vec![service],
                scope,
                detail: Arc::new(detail),
            }),
        }
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ResolveErrorKind {
        match &*self.inner.detail {
            Detail::Ambiguous { .. } => ResolveErrorKind::Ambiguous,
            Detail::Captive => ResolveErrorKind::Captive,
            Detail::Closed { .. } => ResolveErrorKind::Closed,
            Detail::Cycle { .. } => ResolveErrorKind::Cycle,
            Detail::Failed { .. } => ResolveErrorKind::Failed,
            Detail::Input | Detail::Missing { .. } => ResolveErrorKind::Missing,
            Detail::NoRuntime => ResolveErrorKind::NoRuntime,
            Detail::TimedOut { .. } => ResolveErrorKind::TimedOut,
        }
    }

    /// The services from the one asked for to the one it went wrong at, each needing the next.
    #[must_use]
    pub fn path(&self) -> &[ServiceName] {
        &self.inner.path
    }

    /// The service that was asked for.
    #[must_use]
    pub fn requested(&self) -> &ServiceName {
        &self.inner.path[0]
    }

    /// The service it went wrong at.
    #[must_use]
    pub fn service(&self) -> &ServiceName {
        &self.inner.path[self.inner.path.len() - 1]
    }

    /// The scope it went wrong in.
    #[must_use]
    pub fn scope(&self) -> &Name {
        &self.inner.scope
    }

    /// The same error for somebody who needed what failed.
    pub(crate) fn needed_by(&self, service: ServiceName) -> Self {
        let path = std::iter::once(service)
            .chain(self.inner.path.iter().cloned())
            .collect();
        let scope = self.inner.scope.clone();
        Self {
            inner: Arc::new(Failure {
                path,
                scope,
                detail: Arc::clone(&self.inner.detail),
            }),
        }
    }
}

impl fmt::Display for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot resolve ")?;
        write_path(f, &self.inner.path)?;
        write!(f, " in scope `{}`: ", self.inner.scope)?;
        match &*self.inner.detail {
            Detail::Ambiguous { providers } => {
                write!(f, "{} services provide it:", providers.len())?;
                for (index, provider) in providers.iter().enumerate() {
                    write!(f, "{} {provider}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Detail::Captive => f.write_str(
                "it is scoped, and neither the container nor a singleton is inside a scope",
            ),
            Detail::Closed { ago: Some(ago) } => {
                write!(f, "the scope has been closed for {ago:.3?}")
            }
            Detail::Closed { ago: None } => f.write_str("the scope is gone"),
            Detail::Cycle { cycle } => {
                f.write_str("it would wait for itself: ")?;
                write_path(f, cycle)
            }
            Detail::Failed { .. } => f.write_str("its factory failed"),
            Detail::Input => f.write_str("the scope was opened without providing it"),
            Detail::Missing { names } if names.is_empty() => f.write_str("nothing provides it"),
            Detail::Missing { names } => {
                f.write_str("nothing provides it without a name; names it has:")?;
                for (index, name) in names.iter().enumerate() {
                    write!(f, "{} {name}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            Detail::NoRuntime => f.write_str("it has to be created, which needs a tokio runtime"),
            Detail::TimedOut { timeout } => write!(f, "its factory took longer than {timeout:?}"),
        }
    }
}

impl fmt::Debug for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolveError")
            .field("path", &self.inner.path)
            .field("scope", &self.inner.scope)
            .field("detail", &self.inner.detail)
            .finish()
    }
}

impl Error for ResolveError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &*self.inner.detail {
            Detail::Failed { error } => Some(&**error),
            _ => None,
        }
    }
}

/// What becomes of a panic in a factory, a disposer or a health check.
#[derive(Debug)]
pub(crate) struct Panic(pub(crate) String);

impl Panic {
    pub(crate) fn new(payload: &(dyn std::any::Any + Send)) -> Self {
        let message = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Self(message.unwrap_or_else(|| "a value that is not text".to_owned()))
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "panicked: {}", self.0)
    }
}

impl Error for Panic {}
