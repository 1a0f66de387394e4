//! One registration, with its types erased.

use std::panic::Location;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::key::Key;
use crate::service::View;
use crate::{BoxError, Dependencies, Factory, Name, ResolveError, Resolver, Service, ServiceName};

/// How long an instance lives, and who shares it.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Lifetime {
    /// One instance for each scope, created in it and disposed of with it.
    Scoped,
    /// One instance for the container.
    Singleton,
    /// A new instance for whoever asks.
    Transient,
    /// Given to the container, not created by it.
    Value,
}

pub(crate) type ErasedPreparation =
    Pin<Box<dyn Future<Output = Result<ErasedCreation, ResolveError>> + Send>>;
pub(crate) type ErasedCreation = Pin<Box<dyn Future<Output = Result<View, BoxError>> + Send>>;

/// A future that ends well or with an error: a disposer or a health check at work.
pub(crate) type Run = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

/// Ties a disposer or a health check to an instance; nothing of the user's runs before the call of
/// what it returns.
pub(crate) type Bind = Arc<dyn Fn(&View) -> Bound + Send + Sync>;
pub(crate) type Bound = Box<dyn FnOnce() -> Run + Send>;

#[derive(Clone)]
pub(crate) struct Registered {
    pub(crate) name: ServiceName,
    pub(crate) lifetime: Lifetime,
    pub(crate) location: &'static Location<'static>,
    pub(crate) source: Source,
    pub(crate) dependencies: Arc<Dependencies>,
    /// The first is the type itself, the others are what it was said to provide.
    pub(crate) views: Vec<ViewSpec>,
    pub(crate) create_timeout: Option<Duration>,
    pub(crate) dispose: Option<Bind>,
    pub(crate) dispose_timeout: Option<Duration>,
    pub(crate) health: Option<Bind>,
}

#[derive(Clone)]
pub(crate) enum Source {
    /// Created when first asked for.
    Factory(Arc<dyn Fn(Resolver) -> ErasedPreparation + Send + Sync>),
    /// Put into each scope that has it by whoever opens the scope.
    ScopeInput,
    /// Given; each call makes another view of the same instance.
    Value(Arc<dyn Fn() -> View + Send + Sync>),
}

/// Makes another view of the instance behind the first.
pub(crate) type Convert = Arc<dyn Fn(&View) -> View + Send + Sync>;

#[derive(Clone)]
pub(crate) struct ViewSpec {
    pub(crate) key: Key,
    pub(crate) type_name: &'static str,
    /// `None` for the type itself.
    pub(crate) convert: Option<Convert>,
}

impl std::fmt::Debug for Registered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} at {}", self.lifetime, self.name, self.location)
    }
}

impl Registered {
    pub(crate) fn new<T: ?Sized + Service>(
        name: Option<Name>,
        lifetime: Lifetime,
        location: &'static Location<'static>,
        source: Source,
        dependencies: Dependencies,
    ) -> Self {
        let own = ViewSpec {
            key: Key::of::<T>(name.clone()),
            type_name: std::any::type_name::<T>(),
            convert: None,
        };
        Self {
            name: ServiceName {
                type_name: std::any::type_name::<T>(),
                name,
            },
            lifetime,
            location,
            source,
            dependencies: Arc::new(dependencies),
            views: vec![own],
            create_timeout: None,
            dispose: None,
            dispose_timeout: None,
            health: None,
        }
    }

    /// Every view of one instance, in the order of [`Registered::views`].
    pub(crate) fn views_of(&self, own: View) -> Vec<View> {
        let mut views = Vec::with_capacity(self.views.len());
        views.push(own);
        for spec in &self.views[1..] {
            let convert = spec
                .convert
                .as_ref()
                .expect("only the first view has no conversion");
            views.push(convert(&views[0]));
        }
        views
    }

    pub(crate) fn add_view<T, U>(&mut self, view: fn(Arc<T>) -> Arc<U>)
    where
        T: ?Sized + Service,
        U: ?Sized + Service,
    {
        self.views.push(ViewSpec {
            key: Key::of::<U>(self.name.name.clone()),
            type_name: std::any::type_name::<U>(),
            convert: Some(Arc::new(move |own| {
                View::new(view(Arc::clone(own.expect::<T>())))
            })),
        });
    }
}

impl Source {
    pub(crate) fn factory<Args, F: Factory<Args>>(factory: F) -> (Self, Dependencies) {
        let mut dependencies = Dependencies::default();
        factory.declare(&mut dependencies);
        let factory = Arc::new(factory);
        let erased = move |resolver| {
            let preparation = Arc::clone(&factory).prepare(resolver);
            let erased: ErasedPreparation = Box::pin(async move {
                let creation = preparation.await?;
                let erased: ErasedCreation =
                    Box::pin(async move { Ok(View::new(Arc::new(creation.await?))) });
                Ok(erased)
            });
            erased
        };
        (Self::Factory(Arc::new(erased)), dependencies)
    }

    pub(crate) fn value<T: ?Sized + Service>(value: Arc<T>) -> Self {
        Self::Value(Arc::new(move || View::new(Arc::clone(&value))))
    }
}

/// What a disposer or a health check may end with: `()` or a `Result<(), E>`.
#[diagnostic::on_unimplemented(
    message = "a disposer or a health check cannot end with `{Self}`",
    label = "neither `()` nor `Result<(), E>`",
    note = "discard a value with `let _ = ..` or map it into the error"
)]
pub trait IntoOutcome {
    /// The same as a result.
    ///
    /// # Errors
    ///
    /// The error it was, if it was one.
    fn into_outcome(self) -> Result<(), BoxError>;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> IntoOutcome for Result<(), E> {
    fn into_outcome(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// Erases an asynchronous function of one instance.
pub(crate) fn bind<T, F, Fut>(act: F) -> Bind
where
    T: ?Sized + Service,
    F: Fn(Arc<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: IntoOutcome> + Send + 'static,
{
    let act = Arc::new(act);
    Arc::new(move |view| {
        let act = Arc::clone(&act);
        let service = Arc::clone(view.expect::<T>());
        Box::new(move || Box::pin(async move { act(service).await.into_outcome() }))
    })
}
