//! Why an operation does not get what it asks for.

use std::fmt;

use connection_factory::CreateError;
use service_container::{OpenError, ResolveError, ResolveErrorKind};

use crate::SetupError;

/// An operation did not get a pool or a service.
#[derive(Debug)]
pub struct OperationError {
    handler: String,
    operation: String,
    wanted: &'static str,
    reason: Reason,
}

/// Why not.
#[derive(Debug)]
pub(crate) enum Reason {
    Disposed,
    NotConfigured,
    Open(OpenError),
    Resolve(ResolveError),
    Setup(SetupError),
}

/// The reason for an [`OperationError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationErrorKind {
    /// The operation, or the container that it belongs to, is disposed of.
    Disposed,
    /// Making the pool or the service failed; the next attempt starts fresh.
    Failed,
    /// The container does not have it.
    NotConfigured,
    /// The default configuration of a context without a container cannot be used.
    Setup,
}

impl OperationError {
    pub(crate) fn new(
        handler: &str,
        operation: &str,
        wanted: &'static str,
        reason: Reason,
    ) -> Self {
        let reason = match reason {
            Reason::Resolve(error)
                if error.kind() == ResolveErrorKind::Missing && error.path().len() == 1 =>
            {
                Reason::NotConfigured
            }
            other => other,
        };
        Self {
            handler: handler.to_owned(),
            operation: operation.to_owned(),
            wanted,
            reason,
        }
    }

    /// The reason.
    #[must_use]
    pub fn kind(&self) -> OperationErrorKind {
        match &self.reason {
            Reason::Disposed | Reason::Open(_) => OperationErrorKind::Disposed,
            Reason::Resolve(error) if error.kind() == ResolveErrorKind::Closed => {
                OperationErrorKind::Disposed
            }
            Reason::NotConfigured => OperationErrorKind::NotConfigured,
            Reason::Resolve(_) => OperationErrorKind::Failed,
            Reason::Setup(_) => OperationErrorKind::Setup,
        }
    }

    /// What was asked for: `mongodb`, `postgresql`, or the name of a type.
    #[must_use]
    pub fn wanted(&self) -> &str {
        self.wanted
    }

    /// The factory's error, when it was a pool that could not be made.
    #[must_use]
    pub fn create_error(&self) -> Option<&CreateError> {
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            if let Some(error) = error.downcast_ref() {
                return Some(error);
            }
            source = error.source();
        }
        None
    }
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            handler,
            operation,
            wanted,
            reason,
        } = self;
        write!(f, "operation `{handler}.{operation}` gets no {wanted}")?;
        match reason {
            Reason::Disposed => write!(f, ": it is disposed of"),
            Reason::NotConfigured => write!(f, ": its container has none"),
            Reason::Open(_) | Reason::Resolve(_) | Reason::Setup(_) => Ok(()),
        }
    }
}

impl std::error::Error for OperationError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.reason {
            Reason::Disposed | Reason::NotConfigured => None,
            Reason::Open(error) => Some(error),
            Reason::Resolve(error) => Some(error),
            Reason::Setup(error) => Some(error),
        }
    }
}
