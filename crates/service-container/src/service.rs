//! What a container can hold, and the one shape it holds it in.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

/// Any error a factory, a disposer or a health check may end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The same error, shared by everybody who waited for it.
pub type SharedError = Arc<dyn std::error::Error + Send + Sync>;

/// Anything a container can hold: concrete types and `dyn Trait` alike.
///
/// Implemented for every type that is `Send + Sync + 'static`; there is nothing to implement.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a service",
    label = "a service is shared between tasks",
    note = "services must be `Send + Sync + 'static`; wrap what is not in a `Mutex` or own it in a \
            task and give out a handle"
)]
pub trait Service: Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: ?Sized + Send + Sync + 'static> Service for T {}

/// One way to look at an instance: an `Arc<T>`, with `T` erased.
///
/// The box holds the `Arc`, not the value, so a `T` that is a `dyn Trait` can be taken out again by
/// a checked downcast.
pub(crate) struct View(Box<dyn Any + Send + Sync>);

impl View {
    pub(crate) fn new<T: ?Sized + Service>(service: Arc<T>) -> Self {
        Self(Box::new(service))
    }

    #[inline]
    pub(crate) fn get<T: ?Sized + Service>(&self) -> Option<&Arc<T>> {
        self.0.downcast_ref()
    }

    /// The `Arc` inside, for a caller who found this view under the key of `T`.
    pub(crate) fn expect<T: ?Sized + Service>(&self) -> &Arc<T> {
        self.get()
            .expect("a view is stored under the key of the type it holds")
    }
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("View")
    }
}
