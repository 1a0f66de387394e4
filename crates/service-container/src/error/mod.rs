//! Errors, one for each verb.

mod build;
mod open;
mod resolve;

pub use build::{BuildError, BuildProblem};
pub use open::{OpenError, ScopeError};
pub(crate) use resolve::{Detail, Panic};
pub use resolve::{ResolveError, ResolveErrorKind};
