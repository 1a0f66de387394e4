//! Registering services.

use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::error::BuildProblem;
use crate::inner::Inner;
use crate::key::Key;
use crate::registered::{Registered, Source};
use crate::registration::{
    Registration, ReplacedLifetime, ScopedLifetime, SingletonLifetime, TransientLifetime,
    ValueLifetime,
};
use crate::registry::Registry;
use crate::settings::Settings;
use crate::{
    BuildError, Container, Dependencies, DisposeOptions, Factory, LeakPolicy, Lifetime, Name,
    NameKey, Service, ServiceName, validate,
};

/// Collects registrations and checks them as a whole.
///
/// Made by [`Container::builder`], or by [`Container::fork`] with everything a container has.
///
/// ```
/// use std::sync::Arc;
/// use service_container::{BoxError, Container, sync};
///
/// struct Config {
///     url: String,
/// }
/// struct Database {
///     url: String,
/// }
///
/// impl Database {
///     async fn connect(url: &str) -> Result<Self, BoxError> {
///         Ok(Self { url: url.to_owned() })
///     }
///     async fn close(&self) {}
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut builder = Container::builder();
/// builder.value(Config { url: "db://here".into() });
/// builder
///     .singleton(|config: Arc<Config>| async move { Database::connect(&config.url).await })
///     .on_dispose(|database: Arc<Database>| async move { database.close().await });
/// let container = builder.build()?;
///
/// assert_eq!(container.get::<Database>().await?.url, "db://here");
/// container.dispose().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "registrations do nothing until `build()`"]
pub struct ContainerBuilder {
    pub(crate) services: Vec<Registered>,
    pub(crate) settings: Settings,
    pub(crate) problems: Vec<BuildProblem>,
}

impl ContainerBuilder {
    pub(crate) fn new() -> Self {
        Self {
            services: Vec::new(),
            settings: Settings::default(),
            problems: Vec::new(),
        }
    }

    /// Registers a service created by `factory` when it is first asked for, once for the container.
    ///
    /// Creation runs in a task of its own: a caller who stops waiting does not stop it.
    #[track_caller]
    pub fn singleton<Args, F: Factory<Args>>(
        &mut self,
        factory: F,
    ) -> Registration<'_, F::Service, SingletonLifetime> {
        self.register_factory(None, Lifetime::Singleton, factory)
    }

    /// Registers a service created by `factory` once for each scope that asks for it.
    ///
    /// Creation belongs to those who wait for it: when all of them have gone, it stops.
    #[track_caller]
    pub fn scoped<Args, F: Factory<Args>>(
        &mut self,
        factory: F,
    ) -> Registration<'_, F::Service, ScopedLifetime> {
        self.register_factory(None, Lifetime::Scoped, factory)
    }

    /// Registers a service created by `factory` for whoever asks, each time.
    ///
    /// The container does not keep it and so cannot dispose of it: there is no `on_dispose` to call
    /// on what this returns. For a short life with an end, see [`Scope::owned`](crate::Scope::owned).
    ///
    /// ```compile_fail,E0599
    /// use service_container::{Container, sync};
    ///
    /// struct Stopwatch;
    ///
    /// let mut builder = Container::builder();
    /// builder.transient(sync(|| Stopwatch)).on_dispose(|_| async {});
    /// ```
    #[track_caller]
    pub fn transient<Args, F: Factory<Args>>(
        &mut self,
        factory: F,
    ) -> Registration<'_, F::Service, TransientLifetime> {
        self.register_factory(None, Lifetime::Transient, factory)
    }

    /// Registers `value` itself. It is disposed of only if `on_dispose` is called on the result.
    #[track_caller]
    pub fn value<T: Service>(&mut self, value: T) -> Registration<'_, T, ValueLifetime> {
        self.register_value(None, Arc::new(value))
    }

    /// Registers a value that is shared already, which may be an `Arc<dyn Trait>`.
    #[track_caller]
    pub fn shared<T: ?Sized + Service>(
        &mut self,
        value: Arc<T>,
    ) -> Registration<'_, T, ValueLifetime> {
        self.register_value(None, value)
    }

    /// Declares that scopes are given a `T` by [`ScopeBuilder::provide`](crate::ScopeBuilder::provide).
    ///
    /// Scoped services can then depend on it. In a scope opened without it they fail with
    /// [`ResolveErrorKind::Missing`](crate::ResolveErrorKind::Missing).
    #[track_caller]
    pub fn scope_input<T: ?Sized + Service>(&mut self) -> &mut Self {
        self.register(Registered::new::<T>(
            None,
            Lifetime::Scoped,
            Location::caller(),
            Source::ScopeInput,
            Dependencies::default(),
        ));
        self
    }

    /// Registers under a name, beside others of the same type.
    pub fn named(&mut self, name: impl Into<Name>) -> NamedBuilder<'_> {
        NamedBuilder {
            name: name.into(),
            builder: self,
        }
    }

    /// Registers under a name that is a type; see [`NameKey`].
    pub fn named_by<N: NameKey>(&mut self) -> NamedBuilder<'_> {
        self.named(N::NAME)
    }

    /// Replaces the factory of `F::Service`, which must be registered.
    ///
    /// Lifetime, name, aliases, disposer and health check stay what they were. A value becomes a
    /// singleton.
    ///
    /// ```
    /// use service_container::{Container, sync};
    ///
    /// struct Greeting(&'static str);
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut builder = Container::builder();
    /// builder.singleton(sync(|| Greeting("hello")));
    /// let container = builder.build()?;
    ///
    /// let mut fork = container.fork();
    /// fork.replace(sync(|| Greeting("hello from a test")));
    /// let fork = fork.build()?;
    /// assert_eq!(fork.get::<Greeting>().await?.0, "hello from a test");
    /// assert_eq!(container.get::<Greeting>().await?.0, "hello");
    /// # container.dispose().await?;
    /// # fork.dispose().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn replace<Args, F: Factory<Args>>(
        &mut self,
        factory: F,
    ) -> Registration<'_, F::Service, ReplacedLifetime> {
        self.replace_factory(None, factory)
    }

    /// Replaces whatever provides `T` by `value`: a service of that type with all its aliases, or
    /// the aliases only when `T` is one, as `dyn Trait` usually is.
    ///
    /// The value is disposed of only if `on_dispose` is called on the result.
    #[track_caller]
    pub fn replace_shared<T: ?Sized + Service>(
        &mut self,
        value: Arc<T>,
    ) -> Registration<'_, T, ValueLifetime> {
        self.replace_value(None, value)
    }

    /// Whether something provides a `T` without a name.
    #[must_use]
    pub fn contains<T: ?Sized + Service>(&self) -> bool {
        self.contains_key(&Key::of::<T>(None))
    }

    /// Whether something provides a `T` under `name`.
    #[must_use]
    pub fn contains_named<T: ?Sized + Service>(&self, name: impl Into<Name>) -> bool {
        self.contains_key(&Key::of::<T>(Some(name.into())))
    }

    /// The name of the container, which is that of its root scope. Defaults to `container`.
    pub fn name(&mut self, name: impl Into<Name>) -> &mut Self {
        self.settings.name = name.into();
        self
    }

    /// The longest a factory may take, not counting the creation of its arguments, unless its
    /// registration says otherwise. Defaults to 30 seconds.
    pub fn create_timeout(&mut self, timeout: Duration) -> &mut Self {
        self.settings.create_timeout = timeout;
        self
    }

    /// How the container and its scopes are disposed of when nothing else is said. Defaults to
    /// [`DisposeOptions::default`].
    pub fn dispose_options(&mut self, options: DisposeOptions) -> &mut Self {
        self.settings.dispose = Some(options);
        self
    }

    /// Says how long it can take to dispose of what was registered, for code that registers services
    /// on behalf of others: when nobody sets [`dispose_options`](Self::dispose_options), the deadline
    /// of the container is no shorter than that, and than its default. Several calls add up.
    pub fn dispose_takes(&mut self, time: Duration) -> &mut Self {
        let known = &mut self.settings.dispose_takes;
        *known = known.saturating_add(time);
        self
    }

    /// What to do about a scope dropped with services in it that should have been disposed of.
    /// Defaults to [`LeakPolicy::Warn`].
    pub fn on_leak(&mut self, policy: LeakPolicy) -> &mut Self {
        self.settings.on_leak = policy;
        self
    }

    /// The runtime on which singletons are created and everything is disposed of. Defaults to that
    /// of the caller.
    ///
    /// Set it where one container serves several runtimes of which some end earlier than others:
    /// what a singleton spawns or opens while it is created belongs to the runtime it is created on.
    pub fn runtime(&mut self, runtime: Handle) -> &mut Self {
        self.settings.runtime = Some(runtime);
        self
    }

    /// Checks the registrations and freezes them. Nothing is created yet.
    ///
    /// # Errors
    ///
    /// Every dependency that is missing, ambiguous, cyclic or captive, every key registered twice
    /// and every replacement of nothing, together in one error.
    #[track_caller]
    pub fn build(self) -> Result<Container, BuildError> {
        let Self {
            services,
            settings,
            mut problems,
        } = self;
        let registry = Registry::new(services, settings);
        validate::check(&registry, &mut problems);
        if !problems.is_empty() {
            return Err(BuildError::new(registry.settings.name, problems));
        }
        Ok(Container::new(Inner::root(registry, Location::caller())))
    }

    fn contains_key(&self, key: &Key) -> bool {
        self.services
            .iter()
            .any(|service| service.views.iter().any(|view| view.key == *key))
    }

    fn register(&mut self, service: Registered) -> &mut Registered {
        let index = self.services.len();
        self.services.push(service);
        &mut self.services[index]
    }

    #[track_caller]
    fn register_factory<Args, F: Factory<Args>, L>(
        &mut self,
        name: Option<Name>,
        lifetime: Lifetime,
        factory: F,
    ) -> Registration<'_, F::Service, L> {
        let (source, dependencies) = Source::factory(factory);
        Registration::new(self.register(Registered::new::<F::Service>(
            name,
            lifetime,
            Location::caller(),
            source,
            dependencies,
        )))
    }

    #[track_caller]
    fn register_value<T: ?Sized + Service>(
        &mut self,
        name: Option<Name>,
        value: Arc<T>,
    ) -> Registration<'_, T, ValueLifetime> {
        Registration::new(self.register(Registered::new::<T>(
            name,
            Lifetime::Value,
            Location::caller(),
            Source::value(value),
            Dependencies::default(),
        )))
    }

    #[track_caller]
    fn replace_factory<Args, F: Factory<Args>>(
        &mut self,
        name: Option<Name>,
        factory: F,
    ) -> Registration<'_, F::Service, ReplacedLifetime> {
        let location = Location::caller();
        let (source, dependencies) = Source::factory(factory);
        let key = Key::of::<F::Service>(name.clone());
        let Some(index) = self
            .services
            .iter()
            .position(|known| known.views[0].key == key)
        else {
            let service = ServiceName {
                type_name: std::any::type_name::<F::Service>(),
                name,
            };
            self.problems.push(BuildProblem::NothingToReplace {
                service: service.clone(),
                location,
            });
            // Registered all the same, so that what depends on it is not reported as well.
            return Registration::new(self.register(Registered::new::<F::Service>(
                service.name,
                Lifetime::Singleton,
                location,
                source,
                dependencies,
            )));
        };
        let known = &mut self.services[index];
        known.source = source;
        known.dependencies = Arc::new(dependencies);
        known.location = location;
        if known.lifetime == Lifetime::Value {
            known.lifetime = Lifetime::Singleton;
        }
        Registration::new(known)
    }

    #[track_caller]
    fn replace_value<T: ?Sized + Service>(
        &mut self,
        name: Option<Name>,
        value: Arc<T>,
    ) -> Registration<'_, T, ValueLifetime> {
        let location = Location::caller();
        let key = Key::of::<T>(name.clone());
        if let Some(index) = self
            .services
            .iter()
            .position(|known| known.views[0].key == key)
        {
            let known = &mut self.services[index];
            known.source = Source::value(value);
            known.dependencies = Arc::default();
            known.location = location;
            known.lifetime = Lifetime::Value;
            known.dispose = None;
            known.dispose_timeout = None;
            known.health = None;
            return Registration::new(&mut self.services[index]);
        }
        if !self.contains_key(&key) {
            let service = ServiceName {
                type_name: std::any::type_name::<T>(),
                name: name.clone(),
            };
            self.problems
                .push(BuildProblem::NothingToReplace { service, location });
        }
        for known in &mut self.services {
            known.views.retain(|view| view.key != key);
        }
        self.register_value(name, value)
    }
}

impl std::fmt::Debug for ContainerBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContainerBuilder")
            .field("services", &self.services.len())
            .finish_non_exhaustive()
    }
}

/// Registers services under one name; made by [`ContainerBuilder::named`].
#[must_use = "a name alone registers nothing"]
#[derive(Debug)]
pub struct NamedBuilder<'a> {
    name: Name,
    builder: &'a mut ContainerBuilder,
}

impl<'a> NamedBuilder<'a> {
    /// Like [`ContainerBuilder::singleton`], under the name.
    #[track_caller]
    pub fn singleton<Args, F: Factory<Args>>(
        self,
        factory: F,
    ) -> Registration<'a, F::Service, SingletonLifetime> {
        self.builder
            .register_factory(Some(self.name), Lifetime::Singleton, factory)
    }

    /// Like [`ContainerBuilder::scoped`], under the name.
    #[track_caller]
    pub fn scoped<Args, F: Factory<Args>>(
        self,
        factory: F,
    ) -> Registration<'a, F::Service, ScopedLifetime> {
        self.builder
            .register_factory(Some(self.name), Lifetime::Scoped, factory)
    }

    /// Like [`ContainerBuilder::transient`], under the name.
    #[track_caller]
    pub fn transient<Args, F: Factory<Args>>(
        self,
        factory: F,
    ) -> Registration<'a, F::Service, TransientLifetime> {
        self.builder
            .register_factory(Some(self.name), Lifetime::Transient, factory)
    }

    /// Like [`ContainerBuilder::value`], under the name.
    #[track_caller]
    pub fn value<T: Service>(self, value: T) -> Registration<'a, T, ValueLifetime> {
        self.builder
            .register_value(Some(self.name), Arc::new(value))
    }

    /// Like [`ContainerBuilder::shared`], under the name.
    #[track_caller]
    pub fn shared<T: ?Sized + Service>(self, value: Arc<T>) -> Registration<'a, T, ValueLifetime> {
        self.builder.register_value(Some(self.name), value)
    }

    /// Like [`ContainerBuilder::replace`], for the service of this name.
    #[track_caller]
    pub fn replace<Args, F: Factory<Args>>(
        self,
        factory: F,
    ) -> Registration<'a, F::Service, ReplacedLifetime> {
        self.builder.replace_factory(Some(self.name), factory)
    }

    /// Like [`ContainerBuilder::replace_shared`], for the service of this name.
    #[track_caller]
    pub fn replace_shared<T: ?Sized + Service>(
        self,
        value: Arc<T>,
    ) -> Registration<'a, T, ValueLifetime> {
        self.builder.replace_value(Some(self.name), value)
    }
}
