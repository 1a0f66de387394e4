//! A service with a life as short as its owner's.

use std::fmt;
use std::ops::Deref;
use std::panic::Location;
use std::sync::Arc;

use crate::scope::CloseOnDrop;
use crate::{DisposeError, DisposeReport, Name, ResolveError, Scope, Service};

/// A service in a scope of its own, which ends when its owner says so; made by [`Scope::owned`].
///
/// This is how something short-lived has a disposer: register it as scoped, and own it.
///
/// ```
/// use std::sync::Arc;
/// use service_container::{Container, sync};
///
/// struct Upload;
/// impl Upload {
///     async fn abort_if_open(&self) {}
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut builder = Container::builder();
/// builder
///     .scoped(sync(|| Upload))
///     .on_dispose(|upload: Arc<Upload>| async move { upload.abort_if_open().await });
/// let container = builder.build()?;
///
/// let upload = container.owned::<Upload>().await?;
/// let report = upload.dispose().await?;
/// assert_eq!(report.services.len(), 1);
/// # container.dispose().await?;
/// # Ok(())
/// # }
/// ```
#[must_use = "what is owned should be disposed of"]
pub struct Owned<T: ?Sized> {
    service: Arc<T>,
    scope: Scope,
}

impl<T: ?Sized + Service> Owned<T> {
    pub(crate) async fn create(
        parent: Scope,
        location: &'static Location<'static>,
    ) -> Result<Self, ResolveError> {
        let name = Name::from(std::any::type_name::<T>());
        let Ok(scope) = parent.child_at(name, location).open() else {
            return Err(parent.inner().closed_error(crate::ServiceName::of::<T>()));
        };
        let closing = CloseOnDrop::new(scope.clone());
        let service = scope.get::<T>().await?;
        closing.forget();
        Ok(Self { service, scope })
    }

    /// Ends the scope of the service and with it the service.
    ///
    /// # Errors
    ///
    /// As [`Scope::dispose`].
    ///
    /// # Cancel safety
    ///
    /// As [`Scope::dispose`]: the disposal goes on.
    ///
    /// # Panics
    ///
    /// As [`Scope::dispose`].
    pub async fn dispose(self) -> Result<DisposeReport, DisposeError> {
        self.scope.dispose().await
    }

    /// The scope of the service.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}

impl<T: ?Sized> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.service
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Owned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owned").field(&self.service).finish()
    }
}
