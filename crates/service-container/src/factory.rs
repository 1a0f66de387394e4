//! Functions that create services.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use crate::{BoxError, Dependencies, Inject, ResolveError, Resolver, Service};

/// The future of a factory whose arguments are still being resolved.
pub type Preparation<T> =
    Pin<Box<dyn Future<Output = Result<Creation<T>, ResolveError>> + Send + 'static>>;

/// The future of a factory that has its arguments: the time it takes is the factory's own.
pub type Creation<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send + 'static>>;

/// A function that creates a service; its arguments are the dependencies of that service.
///
/// Implemented for
/// * functions and closures of up to twelve [`Inject`] arguments that return a future of
///   `Result<T, E>`, where `E` is any error;
/// * [`infallible`] functions, which return a future of `T`;
/// * [`sync`] functions, which return `T`.
///
/// Arguments are resolved from left to right. The parameter `Args` only tells the implementations
/// apart and is always inferred.
///
/// Implement it where the dependencies are known only while running, such as one service for each
/// entry of a configuration.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a factory",
    label = "not a factory",
    note = "a factory is a closure with annotated arguments, each of them injectable, that returns \
            a future of `Result<T, E>`: `|config: Arc<Config>| async move {{ .. }}`; the closure, \
            its future and `T` must be `Send`, and the closure and `T` must be `Sync`",
    note = "wrap a closure whose future returns `T` in `infallible(..)`, and one that returns `T` \
            at once in `sync(..)`",
    note = "injectable arguments are `Arc<T>`, `Option<Arc<T>>`, `Vec<Arc<T>>`, `Named<T, N>`, \
            `Lazy<T>`, `ScopeInfo`, `CancellationToken` and `Resolver`"
)]
pub trait Factory<Args>: Send + Sync + 'static {
    /// What it creates.
    type Service: Service + Sized;

    /// Adds the dependencies of the service.
    fn declare(&self, dependencies: &mut Dependencies);

    /// Resolves the arguments and gives the future that creates the service from them.
    fn prepare(self: Arc<Self>, resolver: Resolver) -> Preparation<Self::Service>;
}

/// Makes a factory of a function whose future returns `T` and cannot fail.
///
/// ```
/// use service_container::{Container, infallible};
///
/// struct Schedule(Vec<u32>);
///
/// let mut builder = Container::builder();
/// builder.singleton(infallible(|| async { Schedule(vec![8, 16]) }));
/// ```
pub fn infallible<F>(factory: F) -> InfallibleFactory<F> {
    InfallibleFactory(factory)
}

/// Makes a factory of a function that returns `T` at once.
///
/// ```
/// use std::sync::Arc;
/// use service_container::{Container, sync};
///
/// struct Config {
///     greeting: String,
/// }
/// struct Greeter(Arc<Config>);
///
/// let mut builder = Container::builder();
/// builder.value(Config { greeting: "hello".into() });
/// builder.singleton(sync(Greeter)); // a tuple struct is a function of its fields
/// ```
pub fn sync<F>(factory: F) -> SyncFactory<F> {
    SyncFactory(factory)
}

/// What [`infallible`] returns.
#[derive(Clone, Copy)]
pub struct InfallibleFactory<F>(F);

/// What [`sync`] returns.
#[derive(Clone, Copy)]
pub struct SyncFactory<F>(F);

impl<F> fmt::Debug for InfallibleFactory<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InfallibleFactory")
    }
}

impl<F> fmt::Debug for SyncFactory<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SyncFactory")
    }
}

/// The three implementations for one number of arguments.
macro_rules! factories {
    ($($argument:ident)*) => {
        #[allow(non_snake_case, unused_variables, reason = "arguments are named after their types")]
        #[diagnostic::do_not_recommend]
        impl<F, Fut, T, E, $($argument,)*> Factory<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<T, E>> + Send + 'static,
            T: Service,
            E: Into<BoxError>,
            $($argument: Inject,)*
        {
            type Service = T;

            fn declare(&self, dependencies: &mut Dependencies) {
                $($argument::declare(dependencies);)*
            }

            fn prepare(self: Arc<Self>, resolver: Resolver) -> Preparation<T> {
                Box::pin(async move {
                    $(let $argument = $argument::inject(&resolver).await?;)*
                    let creation: Creation<T> =
                        Box::pin(async move { self($($argument),*).await.map_err(Into::into) });
                    Ok(creation)
                })
            }
        }

        #[allow(non_snake_case, unused_variables, reason = "arguments are named after their types")]
        #[diagnostic::do_not_recommend]
        impl<F, Fut, T, $($argument,)*> Factory<($($argument,)*)> for InfallibleFactory<F>
        where
            F: Fn($($argument),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = T> + Send + 'static,
            T: Service,
            $($argument: Inject,)*
        {
            type Service = T;

            fn declare(&self, dependencies: &mut Dependencies) {
                $($argument::declare(dependencies);)*
            }

            fn prepare(self: Arc<Self>, resolver: Resolver) -> Preparation<T> {
                Box::pin(async move {
                    $(let $argument = $argument::inject(&resolver).await?;)*
                    let creation: Creation<T> =
                        Box::pin(async move { Ok((self.0)($($argument),*).await) });
                    Ok(creation)
                })
            }
        }

        #[allow(non_snake_case, unused_variables, reason = "arguments are named after their types")]
        #[diagnostic::do_not_recommend]
        impl<F, T, $($argument,)*> Factory<($($argument,)*)> for SyncFactory<F>
        where
            F: Fn($($argument),*) -> T + Send + Sync + 'static,
            T: Service,
            $($argument: Inject,)*
        {
            type Service = T;

            fn declare(&self, dependencies: &mut Dependencies) {
                $($argument::declare(dependencies);)*
            }

            fn prepare(self: Arc<Self>, resolver: Resolver) -> Preparation<T> {
                Box::pin(async move {
                    $(let $argument = $argument::inject(&resolver).await?;)*
                    let creation: Creation<T> =
                        Box::pin(async move { Ok((self.0)($($argument),*)) });
                    Ok(creation)
                })
            }
        }
    };
}

factories!();
factories!(A);
factories!(A B);
factories!(A B C);
factories!(A B C D);
factories!(A B C D G);
factories!(A B C D G H);
factories!(A B C D G H I);
factories!(A B C D G H I J);
factories!(A B C D G H I J K);
factories!(A B C D G H I J K L);
factories!(A B C D G H I J K L M);
factories!(A B C D G H I J K L M N);
