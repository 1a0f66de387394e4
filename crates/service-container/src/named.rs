//! A service asked for by a name that is a type.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use crate::{NameKey, Service};

/// The service `T` registered under the name `N`, as an argument of a factory.
///
/// ```
/// use std::sync::Arc;
/// use service_container::{Container, NameKey, Named, sync};
///
/// struct Billing;
/// impl NameKey for Billing {
///     const NAME: &'static str = "billing";
/// }
///
/// struct Database(&'static str);
/// struct Invoices(Arc<Database>);
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut builder = Container::builder();
/// builder.named_by::<Billing>().value(Database("billing"));
/// builder.named("orders").value(Database("orders"));
/// builder.singleton(sync(|database: Named<Database, Billing>| Invoices(database.into_arc())));
/// let container = builder.build()?;
///
/// assert_eq!(container.get::<Invoices>().await?.0.0, "billing");
/// assert_eq!(container.get_named::<Database>("orders").await?.0, "orders");
/// # container.dispose().await?;
/// # Ok(())
/// # }
/// ```
pub struct Named<T: ?Sized, N> {
    service: Arc<T>,
    key: PhantomData<fn() -> N>,
}

impl<T: ?Sized + Service, N: NameKey> Named<T, N> {
    pub(crate) fn new(service: Arc<T>) -> Self {
        Self {
            service,
            key: PhantomData,
        }
    }

    /// The service on its own.
    #[must_use]
    pub fn into_arc(self) -> Arc<T> {
        self.service
    }
}

impl<T: ?Sized, N> Clone for Named<T, N> {
    fn clone(&self) -> Self {
        Self {
            service: Arc::clone(&self.service),
            key: PhantomData,
        }
    }
}

impl<T: ?Sized, N> Deref for Named<T, N> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.service
    }
}

impl<T: ?Sized + fmt::Debug, N: NameKey> fmt::Debug for Named<T, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple(N::NAME).field(&self.service).finish()
    }
}
