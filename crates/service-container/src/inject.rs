//! What a factory may take as an argument.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{Dependencies, Lazy, NameKey, Named, ResolveError, Resolver, ScopeInfo, Service};

/// An argument of a factory: declared when the factory is registered, resolved when it runs.
///
/// | argument | gives |
/// |---|---|
/// | `Arc<T>` | the service; its absence is an error of `build()` |
/// | `Option<Arc<T>>` | the service, or `None` when none is registered |
/// | `Vec<Arc<T>>` | every provider of `T`, named or not, in order of registration |
/// | [`Named<T, N>`], `Option<Named<T, N>>` | the service registered under a name |
/// | [`Lazy<T>`] | the service, resolved on first use |
/// | [`ScopeInfo`] | the scope the service is created in |
/// | [`CancellationToken`] | cancelled when that scope closes |
/// | [`Resolver`] | anything, decided while running; not checked by `build()` |
///
/// Implement it to give several dependencies one name:
///
/// ```
/// use std::sync::Arc;
/// use service_container::{Dependencies, Inject, ResolveError, Resolver};
///
/// struct Clock;
/// struct Config;
///
/// struct Common {
///     clock: Arc<Clock>,
///     config: Arc<Config>,
/// }
///
/// impl Inject for Common {
///     fn declare(dependencies: &mut Dependencies) {
///         dependencies.require::<Clock>().require::<Config>();
///     }
///
///     async fn inject(resolver: &Resolver) -> Result<Self, ResolveError> {
///         Ok(Self { clock: resolver.get().await?, config: resolver.get().await? })
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "a factory cannot take `{Self}` as an argument",
    label = "not something a container can inject",
    note = "factory arguments must be `Arc<T>`, `Option<Arc<T>>`, `Vec<Arc<T>>`, `Named<T, N>`, \
            `Option<Named<T, N>>`, `Lazy<T>`, `ScopeInfo`, `CancellationToken` or `Resolver`"
)]
pub trait Inject: Sized + Send + 'static {
    /// Adds what [`inject`](Self::inject) will ask for.
    fn declare(dependencies: &mut Dependencies);

    /// Resolves the argument.
    ///
    /// # Errors
    ///
    /// Whatever resolving reports: the factory is then not called.
    fn inject(resolver: &Resolver) -> impl Future<Output = Result<Self, ResolveError>> + Send;
}

impl<T: ?Sized + Service> Inject for Arc<T> {
    fn declare(dependencies: &mut Dependencies) {
        dependencies.require::<T>();
    }

    async fn inject(resolver: &Resolver) -> Result<Self, ResolveError> {
        resolver.get().await
    }
}

impl<T: ?Sized + Service> Inject for Option<Arc<T>> {
    fn declare(dependencies: &mut Dependencies) {
        dependencies.optional::<T>();
    }

    async fn inject(resolver: &Resolver) -> Result<Self, ResolveError> {
        resolver.get_optional(None).await
    }
}

impl<T: ?Sized + Service> Inject for Vec<Arc<T>> {
    fn declare(dependencies: &mut Dependencies) {
        dependencies.all::<T>();
    }

    async fn inject(resolver: &Resolver) -> Result<Self, ResolveError> {
        resolver.get_all().await
    }
}

impl<T: ?Sized + Service, N: NameKey> Inject for Named<T, N> {
    fn declare(dependencies: &mut Dependencies) {
        dependencies.require_named::<T>(N::NAME);
    }

    async fn inject(resolver: &Resolver) -> Result<Self, ResolveError> {
        resolver.get_named(N::NAME).await.map(Self::new)
    }
}

impl<T: ?Sized + Service, N: NameKey> Inject for Option<Named<T, N>> {
    fn declare(dependencies: &mut Dependencies) {
        dependencies.optional_named::<T>(N::NAME);
    }

    async fn inject(resolver: &Resolver) -> Result<Self, ResolveError> {
        Ok(resolver.get_optional(Some(N::NAME)).await?.map(Named::new))
    }
}

impl<T: ?Sized + Service> Inject for Lazy<T> {
    fn declare(dependencies: &mut Dependencies) {
        dependencies.lazy::<T>();
    }

    async fn inject(resolver: &Resolver) -> Result<Self, ResolveError> {
        Ok(Self::new(resolver.clone()))
    }
}

impl Inject for ScopeInfo {
    fn declare(_: &mut Dependencies) {}

    async fn inject(resolver: &Resolver) -> Result<Self, ResolveError> {
        resolver.scope_info()
    }
}

impl Inject for CancellationToken {
    fn declare(_: &mut Dependencies) {}

    async fn inject(resolver: &Resolver) -> Result<Self, ResolveError> {
        resolver.cancelled()
    }
}

impl Inject for Resolver {
    fn declare(dependencies: &mut Dependencies) {
        dependencies.opaque();
    }

    async fn inject(resolver: &Resolver) -> Result<Self, ResolveError> {
        Ok(resolver.clone())
    }
}
