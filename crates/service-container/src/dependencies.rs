//! What a factory says it needs, before anything runs.

use crate::key::Key;
use crate::{Name, Service, ServiceName};

/// The dependencies of one factory, as its arguments declare them.
///
/// [`Inject::declare`](crate::Inject::declare) fills it; `build()` checks it.
#[derive(Debug, Default)]
pub struct Dependencies {
    pub(crate) declared: Vec<Dependency>,
    pub(crate) opaque: bool,
}

/// How a dependency is needed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum DependencyKind {
    /// Every provider there is, none included: `Vec<Arc<T>>`.
    All,
    /// Resolved on first use, not on creation: `Lazy<T>`.
    Lazy,
    /// Seen while running, through a `Resolver` or a `Lazy<T>`; not declared.
    Observed,
    /// May be absent from the container: `Option<Arc<T>>`.
    Optional,
    /// Must be there: `Arc<T>`, `Named<T, N>`.
    Required,
}

#[derive(Clone, Debug)]
pub(crate) struct Dependency {
    pub(crate) key: Key,
    pub(crate) service: ServiceName,
    pub(crate) kind: DependencyKind,
}

impl Dependencies {
    /// Declares that a `T` must be registered.
    pub fn require<T: ?Sized + Service>(&mut self) -> &mut Self {
        self.declare::<T>(None, DependencyKind::Required)
    }

    /// Declares that a `T` must be registered under `name`.
    pub fn require_named<T: ?Sized + Service>(&mut self, name: impl Into<Name>) -> &mut Self {
        self.declare::<T>(Some(name.into()), DependencyKind::Required)
    }

    /// Declares that a `T` is used when there is one.
    pub fn optional<T: ?Sized + Service>(&mut self) -> &mut Self {
        self.declare::<T>(None, DependencyKind::Optional)
    }

    /// Declares that a `T` under `name` is used when there is one.
    pub fn optional_named<T: ?Sized + Service>(&mut self, name: impl Into<Name>) -> &mut Self {
        self.declare::<T>(Some(name.into()), DependencyKind::Optional)
    }

    /// Declares that a `T` must be registered and is resolved later, which allows cycles.
    pub fn lazy<T: ?Sized + Service>(&mut self) -> &mut Self {
        self.declare::<T>(None, DependencyKind::Lazy)
    }

    /// Declares that every `T` is used, however many there are.
    pub fn all<T: ?Sized + Service>(&mut self) -> &mut Self {
        self.declare::<T>(None, DependencyKind::All)
    }

    /// Declares that more is resolved than is declared. Such dependencies are checked while running
    /// and shown in the graph once seen.
    pub fn opaque(&mut self) -> &mut Self {
        self.opaque = true;
        self
    }

    fn declare<T: ?Sized + Service>(
        &mut self,
        name: Option<Name>,
        kind: DependencyKind,
    ) -> &mut Self {
        let key = Key::of::<T>(name.clone());
        let repeated = self
            .declared
            .iter()
            .any(|known| known.key == key && known.kind == kind);
        if !repeated {
            let service = ServiceName {
                type_name: std::any::type_name::<T>(),
                name,
            };
            self.declared.push(Dependency { key, service, kind });
        }
        self
    }
}
