//! What a service may know about the scope it lives in.

use crate::Name;

/// The scope a service is created in, as an argument of its factory.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ScopeInfo {
    /// Tells scopes of the same name apart. Unique in a container, whose own is 0.
    pub id: u64,
    /// The name given when it was opened.
    pub name: Name,
    /// The names from the container down to this scope.
    pub path: Vec<Name>,
}
