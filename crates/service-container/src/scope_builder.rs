//! Opening a scope.

use std::panic::Location;
use std::sync::Arc;

use crate::hold::Hold;
use crate::inner::{Inner, Override};
use crate::key::Key;
use crate::service::View;
use crate::{DisposeOptions, Name, OpenError, Scope, Service};

/// A scope about to be opened; made by [`Scope::child`].
///
/// ```
/// use std::sync::Arc;
/// use service_container::{Container, sync};
///
/// struct User(&'static str);
/// struct Greeting(String);
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut builder = Container::builder();
/// builder.scope_input::<User>();
/// builder.scoped(sync(|user: Arc<User>| Greeting(format!("hello, {}", user.0))));
/// let container = builder.build()?;
///
/// let request = container.child("request").provide(Arc::new(User("you"))).open()?;
/// assert_eq!(request.get::<Greeting>().await?.0, "hello, you");
/// request.dispose().await?;
/// # container.dispose().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "a scope is opened by `open()`"]
pub struct ScopeBuilder {
    parent: Hold,
    name: Name,
    overrides: Vec<Override>,
    dispose_options: Option<DisposeOptions>,
    location: &'static Location<'static>,
}

impl ScopeBuilder {
    pub(crate) fn new(parent: Hold, name: Name, location: &'static Location<'static>) -> Self {
        Self {
            parent,
            name,
            overrides: Vec::new(),
            dispose_options: None,
            location,
        }
    }

    /// Answers to `T` with `service`, in this scope and those inside it, whatever is registered.
    ///
    /// Singletons do not see it: they live longer than the scope. The scope does not dispose of it.
    /// Of several for the same `T` the last one counts.
    pub fn provide<T: ?Sized + Service>(self, service: Arc<T>) -> Self {
        self.with(None, service)
    }

    /// Like [`provide`](Self::provide), for the `T` registered under `name`.
    pub fn provide_named<T: ?Sized + Service>(
        self,
        name: impl Into<Name>,
        service: Arc<T>,
    ) -> Self {
        self.with(Some(name.into()), service)
    }

    /// How the scope is disposed of when nothing else is said. Defaults to that of the container.
    pub fn dispose_options(mut self, options: DisposeOptions) -> Self {
        self.dispose_options = Some(options);
        self
    }

    /// Opens the scope.
    ///
    /// # Errors
    ///
    /// When the scope it is to be opened in is closing or closed.
    pub fn open(self) -> Result<Scope, OpenError> {
        let Self {
            parent,
            name,
            overrides,
            dispose_options,
            location,
        } = self;
        Inner::open(parent, name, overrides, location, dispose_options).map(Scope::new)
    }

    fn with<T: ?Sized + Service>(mut self, name: Option<Name>, service: Arc<T>) -> Self {
        let key = Key::of::<T>(name);
        self.overrides.retain(|known| known.key != key);
        self.overrides.push(Override {
            key,
            view: Arc::new(View::new(service)),
        });
        self
    }
}

impl std::fmt::Debug for ScopeBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScopeBuilder")
            .field("name", &self.name)
            .field("parent", &self.parent.scope().name)
            .finish_non_exhaustive()
    }
}
