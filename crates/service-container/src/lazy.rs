//! A dependency resolved on first use.

use std::fmt;
use std::sync::{Arc, OnceLock};

use crate::{ResolveError, Resolver, Service};

/// A dependency of a factory that is resolved when it is first used, not when it is injected.
///
/// Two services that need each other can exist when one of them takes the other lazily, as long as
/// neither uses it while it is being created. The moment of first use is recorded: the service that
/// used it is disposed of first.
///
/// Clones share what was resolved.
///
/// ```
/// use std::sync::Arc;
/// use service_container::{Container, Lazy, sync};
///
/// struct Report(Lazy<Archive>);
/// struct Archive(u32);
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut builder = Container::builder();
/// builder.singleton(sync(Report));
/// builder.singleton(sync(|| Archive(7)));
/// let container = builder.build()?;
///
/// let report = container.get::<Report>().await?;
/// assert!(container.ready::<Archive>().is_none());
/// assert_eq!(report.0.get().await?.0, 7);
/// # container.dispose().await?;
/// # Ok(())
/// # }
/// ```
pub struct Lazy<T: ?Sized> {
    resolver: Resolver,
    resolved: Arc<OnceLock<Arc<T>>>,
}

impl<T: ?Sized + Service> Lazy<T> {
    pub(crate) fn new(resolver: Resolver) -> Self {
        Self {
            resolver,
            resolved: Arc::new(OnceLock::new()),
        }
    }

    /// The service, created if need be. Once it has succeeded it goes on answering, even while the
    /// scope closes.
    ///
    /// # Errors
    ///
    /// Those of [`Scope::get`](crate::Scope::get). An error is not kept: the next call tries again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. Nothing is lost that the next call would not get.
    pub async fn get(&self) -> Result<&Arc<T>, ResolveError> {
        if let Some(resolved) = self.resolved.get() {
            return Ok(resolved);
        }
        let resolved = self.resolver.get().await?;
        Ok(self.resolved.get_or_init(|| resolved))
    }

    /// The service if [`get`](Self::get) has succeeded before.
    #[must_use]
    pub fn ready(&self) -> Option<&Arc<T>> {
        self.resolved.get()
    }
}

impl<T: ?Sized> Clone for Lazy<T> {
    fn clone(&self) -> Self {
        Self {
            resolver: self.resolver.clone(),
            resolved: Arc::clone(&self.resolved),
        }
    }
}

impl<T: ?Sized> fmt::Debug for Lazy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lazy")
            .field("service", &std::any::type_name::<T>())
            .field("resolved", &self.resolved.get().is_some())
            .finish()
    }
}
