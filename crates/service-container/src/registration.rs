//! What can be said about a service once it is registered.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::Service;
use crate::registered::{IntoOutcome, Registered, bind};

/// A service just registered, to be told what else it provides and how it ends.
///
/// `L` is its lifetime. It decides what can be said: only what the container keeps can be disposed
/// of or asked for its health, and only what it creates can take too long to create.
#[derive(Debug)]
pub struct Registration<'a, T: ?Sized, L> {
    registered: &'a mut Registered,
    service: PhantomData<fn() -> Arc<T>>,
    lifetime: PhantomData<fn() -> L>,
}

/// Marks a [`Registration`] of a service created once for the container.
#[derive(Debug)]
#[non_exhaustive]
pub struct SingletonLifetime;

/// Marks a [`Registration`] whose factory was replaced: its lifetime and its end are as they were.
#[derive(Debug)]
#[non_exhaustive]
pub struct ReplacedLifetime;

/// Marks a [`Registration`] of a service created once for each scope.
#[derive(Debug)]
#[non_exhaustive]
pub struct ScopedLifetime;

/// Marks a [`Registration`] of a service created for whoever asks.
#[derive(Debug)]
#[non_exhaustive]
pub struct TransientLifetime;

/// Marks a [`Registration`] of a value.
#[derive(Debug)]
#[non_exhaustive]
pub struct ValueLifetime;

/// Lifetimes of services the container keeps.
#[diagnostic::on_unimplemented(
    message = "the container does not keep services of this lifetime",
    note = "a transient service is its owner's to end: see `Scope::owned`"
)]
pub trait Kept: sealed::Sealed {}

/// Lifetimes of services the container creates.
pub trait Created: sealed::Sealed {}

impl Kept for ScopedLifetime {}
impl Kept for SingletonLifetime {}
impl Kept for ValueLifetime {}

impl Created for ReplacedLifetime {}
impl Created for ScopedLifetime {}
impl Created for SingletonLifetime {}
impl Created for TransientLifetime {}

mod sealed {
    #[expect(
        unnameable_types,
        reason = "what cannot be named cannot be implemented"
    )]
    pub trait Sealed {}

    impl Sealed for super::ReplacedLifetime {}
    impl Sealed for super::ScopedLifetime {}
    impl Sealed for super::SingletonLifetime {}
    impl Sealed for super::TransientLifetime {}
    impl Sealed for super::ValueLifetime {}
}

#[allow(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "what is said is said to the builder: nothing is lost with the result"
)]
impl<'a, T: ?Sized + Service, L> Registration<'a, T, L> {
    pub(crate) fn new(registered: &'a mut Registered) -> Self {
        Self {
            registered,
            service: PhantomData,
            lifetime: PhantomData,
        }
    }

    /// Makes the service answer to `U` as well, usually a `dyn Trait`: `provides::<dyn Trait>(|it| it)`.
    ///
    /// Both are the same instance. A named service answers to `U` under its name. Where several
    /// services provide `U`, ask for all of them or give them names.
    ///
    /// ```
    /// use service_container::{Container, sync};
    ///
    /// trait Clock: Send + Sync {
    ///     fn now(&self) -> u64;
    /// }
    /// struct SystemClock;
    /// impl Clock for SystemClock {
    ///     fn now(&self) -> u64 {
    ///         42
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut builder = Container::builder();
    /// builder.singleton(sync(|| SystemClock)).provides::<dyn Clock>(|it| it);
    /// let container = builder.build()?;
    /// assert_eq!(container.get::<dyn Clock>().await?.now(), 42);
    /// # container.dispose().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn provides<U: ?Sized + Service>(self, view: fn(Arc<T>) -> Arc<U>) -> Self {
        self.registered.add_view(view);
        self
    }
}

#[allow(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "what is said is said to the builder: nothing is lost with the result"
)]
impl<T: ?Sized + Service, L: Created> Registration<'_, T, L> {
    /// The longest the factory may take, not counting the creation of its arguments. Defaults to
    /// that of the container.
    pub fn create_timeout(self, timeout: Duration) -> Self {
        self.registered.create_timeout = Some(timeout);
        self
    }
}

#[allow(
    clippy::must_use_candidate,
    clippy::return_self_not_must_use,
    reason = "what is said is said to the builder: nothing is lost with the result"
)]
impl<T: ?Sized + Service, L: Kept> Registration<'_, T, L> {
    /// Runs `dispose` when the scope that holds the instance is disposed of.
    ///
    /// It ends with `()` or a `Result<(), E>`. Defaults to nothing: the instance is dropped.
    pub fn on_dispose<F, Fut>(self, dispose: F) -> Self
    where
        F: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoOutcome> + Send + 'static,
    {
        self.registered.dispose = Some(bind(dispose));
        self
    }

    /// The longest the disposer may take, within what is left of the overall deadline. Defaults to
    /// [`DisposeOptions::service_timeout`](crate::DisposeOptions::service_timeout).
    pub fn dispose_timeout(self, timeout: Duration) -> Self {
        self.registered.dispose_timeout = Some(timeout);
        self
    }

    /// Runs `check` when [`Scope::health`](crate::Scope::health) is asked and the instance exists.
    ///
    /// It ends with `()` or a `Result<(), E>`. Defaults to nothing: the service is not in the report.
    pub fn health<F, Fut>(self, check: F) -> Self
    where
        F: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoOutcome> + Send + 'static,
    {
        self.registered.health = Some(bind(check));
        self
    }
}
