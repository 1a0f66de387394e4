//! Why a scope could not be opened, or could not be left clean.

use std::error::Error;
use std::fmt;

use crate::{DisposeError, Name};

/// Why a scope could not be opened: the scope it was to be opened in is closing or closed.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct OpenError {
    /// The scope that was to be opened.
    pub scope: Name,
    /// The scope it was to be opened in.
    pub parent: Name,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot open scope `{}`: scope `{}` is closed",
            self.scope, self.parent
        )
    }
}

impl Error for OpenError {}

/// Why [`Scope::with_scope`](crate::Scope::with_scope) did not end well.
#[non_exhaustive]
pub enum ScopeError<R> {
    /// The scope was not clean at its end. The work was done before that.
    Dispose {
        /// What the work returned.
        value: R,
        /// What went wrong after it.
        error: DisposeError,
    },
    /// There was no scope to work in. The work has not begun.
    Open(OpenError),
}

impl<R> ScopeError<R> {
    /// What the work returned, if it ran.
    pub fn into_value(self) -> Option<R> {
        match self {
            Self::Dispose { value, .. } => Some(value),
            Self::Open(_) => None,
        }
    }
}

impl<R> fmt::Display for ScopeError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dispose { error, .. } => fmt::Display::fmt(error, f),
            Self::Open(error) => fmt::Display::fmt(error, f),
        }
    }
}

// Not derived: `R` need not be `Debug` for an error to be shown.
impl<R> fmt::Debug for ScopeError<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dispose { error, .. } => f.debug_tuple("Dispose").field(error).finish(),
            Self::Open(error) => f.debug_tuple("Open").field(error).finish(),
        }
    }
}

impl<R> Error for ScopeError<R> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Dispose { error, .. } => error.source(),
            Self::Open(error) => error.source(),
        }
    }
}
