//! The outermost scope, and what only it can do.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use crate::inner::Inner;
use crate::{ContainerBuilder, Graph, Lifetime, Scope, WarmUpError, WarmUpReport, graph, warm_up};

/// Services, created when they are asked for and disposed of together.
///
/// A container is its own outermost [`Scope`] and has all its methods. Clones are handles on the
/// same container.
///
/// ```
/// use service_container::Container;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut builder = Container::builder();
/// builder.value(String::from("given"));
/// let container = builder.build()?;
/// assert_eq!(container.ready::<String>().map(String::as_str), Some("given"));
/// container.dispose().await?;
/// assert!(container.ready::<String>().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Container {
    root: Scope,
}

impl Container {
    /// Begins a container.
    pub fn builder() -> ContainerBuilder {
        ContainerBuilder::new()
    }

    pub(crate) fn new(root: Arc<Inner>) -> Self {
        Self {
            root: Scope::new(root),
        }
    }

    /// Begins a container with the registrations of this one and none of its instances.
    ///
    /// For tests: [`replace`](ContainerBuilder::replace) what should be different, and everything
    /// that depends on it is created anew around it. Overriding in a scope would not reach what
    /// singletons already hold.
    ///
    /// Values are shared with this container, which stays the one to dispose of them.
    pub fn fork(&self) -> ContainerBuilder {
        let registry = self.root.inner().registry();
        let mut services = registry.services.to_vec();
        for service in services
            .iter_mut()
            .filter(|service| service.lifetime == Lifetime::Value)
        {
            service.dispose = None;
        }
        let settings = registry.settings.clone();
        ContainerBuilder {
            services,
            settings,
            problems: Vec::new(),
        }
    }

    /// Creates every singleton, those that do not need each other at the same time.
    ///
    /// What is resolved through a [`Resolver`](crate::Resolver) is found out here, before a caller
    /// finds it.
    ///
    /// # Errors
    ///
    /// When any could not be created. Those that did not need it are created all the same, and the
    /// error names every one that failed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what is being created goes on being created; the rest is left for later.
    pub async fn warm_up(&self) -> Result<WarmUpReport, WarmUpError> {
        warm_up::run(self.root.inner()).await
    }

    /// What is registered, what exists, and who needs whom.
    #[must_use]
    pub fn graph(&self) -> Graph {
        graph::read(self.root.inner())
    }
}

impl Deref for Container {
    type Target = Scope;

    fn deref(&self) -> &Scope {
        &self.root
    }
}

impl AsRef<Scope> for Container {
    fn as_ref(&self) -> &Scope {
        &self.root
    }
}

impl fmt::Debug for Container {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Container")
            .field("name", self.root.name())
            .field("state", &self.root.state())
            .finish_non_exhaustive()
    }
}
