//! Resolving a service that may be there already.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::inner::Inner;
use crate::{ResolveError, Service, create};

type Got<T> = Result<Arc<T>, ResolveError>;

type Creation<'s, T> = Pin<Box<dyn Future<Output = Got<T>> + Send + 's>>;

/// Finds `T` when it is first polled, or else waits for its creation.
///
/// Written by hand because what an `async fn` becomes is not inlined where it is awaited, and a hit
/// costs little more than that call.
#[must_use = "futures do nothing unless awaited"]
pub(crate) struct Get<'s, T: ?Sized> {
    scope: &'s Arc<Inner>,
    creation: Option<Creation<'s, T>>,
}

impl<'s, T: ?Sized + Service> Get<'s, T> {
    #[inline]
    pub(crate) const fn new(scope: &'s Arc<Inner>) -> Self {
        let creation = None;
        Self { scope, creation }
    }

    /// Goes on with a creation, or finds what is not at hand, or begins its creation.
    ///
    /// It takes and gives values instead of a reference to the future: whose address is known nowhere
    /// else can live in registers where it is awaited. A creation that panics is gone: whoever polls
    /// again all the same begins anew.
    #[cold]
    #[inline(never)]
    fn find_or_create(
        scope: &'s Arc<Inner>,
        creation: Option<Creation<'s, T>>,
        context: &mut Context<'_>,
    ) -> (Option<Creation<'s, T>>, Poll<Got<T>>) {
        let mut creation = match creation {
            Some(begun) => begun,
            None => match scope.find() {
                Some(service) => return (None, Poll::Ready(Ok(Arc::clone(service)))),
                None => Box::pin(create::get(scope, None, None)),
            },
        };
        let poll = creation.as_mut().poll(context);
        (Some(creation), poll)
    }
}

impl<T: ?Sized + Service> Future for Get<'_, T> {
    type Output = Got<T>;

    #[allow(
        clippy::inline_always,
        reason = "a hit costs little more than the call, and callers of several types decline to inline it"
    )]
    #[inline(always)]
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.creation.is_none()
            && let Some(service) = this.scope.at_hand::<T>()
        {
            return Poll::Ready(Ok(Arc::clone(service)));
        }
        let (creation, poll) = Self::find_or_create(this.scope, this.creation.take(), context);
        this.creation = creation;
        poll
    }
}
