//! Resolving from inside a factory, or later from inside what it made.

use std::fmt;
use std::sync::{Arc, Weak};

use tokio_util::sync::CancellationToken;

use crate::error::Detail;
use crate::hold::Hold;
use crate::inner::Inner;
use crate::node::Node;
use crate::registry::Lookup;
use crate::{Name, ResolveError, ScopeBuilder, ScopeInfo, Service, ServiceName, create};

/// Resolves services on behalf of the one it was injected into.
///
/// For what an argument list cannot say: which service, or how many, is decided while running. What
/// is resolved through it is not checked by `build()`; it is checked when it happens, shown in the
/// graph once seen, and disposed of after the service that used it.
///
/// A service may keep its resolver. It keeps neither the scope nor its services alive: once the
/// scope is gone everything is [`Closed`](crate::ResolveErrorKind::Closed). Each call takes a lock, so keep
/// what you got rather than asking again.
#[derive(Clone)]
pub struct Resolver {
    scope: Weak<Inner>,
    node: Arc<Node>,
}

impl Resolver {
    pub(crate) fn new(scope: Weak<Inner>, node: Arc<Node>) -> Self {
        Self { scope, node }
    }

    /// The service `T`, created if need be.
    ///
    /// # Errors
    ///
    /// Those of [`Scope::get`](crate::Scope::get).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`Scope::get`](crate::Scope::get) is.
    pub async fn get<T: ?Sized + Service>(&self) -> Result<Arc<T>, ResolveError> {
        let scope = self.scope(ServiceName::of::<T>)?;
        create::get(&scope, None, Some(&self.node)).await
    }

    /// The service `T` registered under `name`, created if need be.
    ///
    /// # Errors
    ///
    /// Those of [`Scope::get`](crate::Scope::get).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`Scope::get`](crate::Scope::get) is.
    pub async fn get_named<T: ?Sized + Service>(&self, name: &str) -> Result<Arc<T>, ResolveError> {
        let scope = self.scope(|| ServiceName::named::<T>(name.to_owned()))?;
        create::get(&scope, Some(name), Some(&self.node)).await
    }

    /// Every provider of `T`, named or not, in order of registration.
    ///
    /// # Errors
    ///
    /// Those of [`Scope::get`](crate::Scope::get), for the first that cannot be resolved.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`Scope::get`](crate::Scope::get) is.
    pub async fn get_all<T: ?Sized + Service>(&self) -> Result<Vec<Arc<T>>, ResolveError> {
        let scope = self.scope(ServiceName::of::<T>)?;
        create::get_all(&scope, Some(&self.node)).await
    }

    /// Begins a scope inside the one of this resolver.
    ///
    /// # Errors
    ///
    /// [`ResolveErrorKind::Closed`](crate::ResolveErrorKind::Closed) when the scope of this resolver is gone.
    #[track_caller]
    pub fn child(&self, name: impl Into<Name>) -> Result<ScopeBuilder, ResolveError> {
        let location = std::panic::Location::caller();
        let scope = self.scope(ServiceName::of::<Self>)?;
        Ok(ScopeBuilder::new(Hold::on(&scope), name.into(), location))
    }

    /// The scope in which this resolver resolves.
    ///
    /// # Errors
    ///
    /// [`ResolveErrorKind::Closed`](crate::ResolveErrorKind::Closed) when that scope is gone.
    pub fn scope_info(&self) -> Result<ScopeInfo, ResolveError> {
        Ok(self.scope(ServiceName::of::<Self>)?.info())
    }

    /// A token cancelled when the scope of this resolver closes.
    ///
    /// # Errors
    ///
    /// [`ResolveErrorKind::Closed`](crate::ResolveErrorKind::Closed) when that scope is gone.
    pub fn cancelled(&self) -> Result<CancellationToken, ResolveError> {
        Ok(self.scope(ServiceName::of::<Self>)?.token().clone())
    }

    /// `None` when nothing is registered; everything else that goes wrong is an error.
    pub(crate) async fn get_optional<T: ?Sized + Service>(
        &self,
        name: Option<&str>,
    ) -> Result<Option<Arc<T>>, ResolveError> {
        let scope = self.scope(ServiceName::of::<T>)?;
        let type_id = std::any::TypeId::of::<T>();
        let given = scope.overridden(type_id, name).is_some();
        if !given && matches!(scope.registry().lookup(type_id, name), Lookup::Missing) {
            return Ok(None);
        }
        create::get(&scope, name, Some(&self.node)).await.map(Some)
    }

    fn scope(&self, wanted: impl FnOnce() -> ServiceName) -> Result<Arc<Inner>, ResolveError> {
        self.scope.upgrade().ok_or_else(|| {
            let detail = Detail::Closed { ago: None };
            ResolveError::new(wanted(), Name::from("dropped"), detail)
        })
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("scope", &self.scope.upgrade())
            .finish_non_exhaustive()
    }
}
