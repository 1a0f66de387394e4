//! Where services are resolved.

use std::panic::{AssertUnwindSafe, Location};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dispose::close;
use crate::get::Get;
use crate::hold::Hold;
use crate::inner::Inner;
use crate::{
    DisposeError, DisposeOptions, DisposeReport, HealthReport, Name, Owned, ResolveError,
    ScopeBuilder, ScopeError, ScopeInfo, Service, State, create, health,
};

/// A part of a container with its own scoped services, its own tasks and its own end.
///
/// Singletons are those of the container whatever scope they are asked in. Scoped services are
/// created once in each scope, not shared with the scopes inside it.
///
/// Clones are handles on the same scope. A scope ends by [`dispose`](Self::dispose); dropping the
/// last handle without it is a leak when services in it have a disposer, see
/// [`LeakPolicy`](crate::LeakPolicy).
#[derive(Clone, Debug)]
pub struct Scope {
    hold: Hold,
}

impl Scope {
    /// The first handle on `scope`.
    pub(crate) fn new(scope: Arc<Inner>) -> Self {
        Self {
            hold: Hold::Direct(scope),
        }
    }

    #[inline]
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        self.hold.scope()
    }

    /// The service `T`, created if need be.
    ///
    /// The same instance for everybody who asks at the same time: one creation runs, and its
    /// failure goes to all who waited for it. A failure is not kept; the next call begins anew.
    ///
    /// # Errors
    ///
    /// When `T` is not registered, registered several times without a name, scoped and asked for
    /// from the container, or in need of itself; when its factory or that of something it needs
    /// fails, panics or takes too long; when the scope is closed. See
    /// [`ResolveErrorKind`](crate::ResolveErrorKind).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. A singleton goes on being created without its caller; a scoped service as long
    /// as somebody else waits for it; a transient service is given up.
    ///
    /// # Panics
    ///
    /// Panics when a creation has to wait on a tokio runtime built without time.
    #[inline]
    pub fn get<T: ?Sized + Service>(
        &self,
    ) -> impl Future<Output = Result<Arc<T>, ResolveError>> + Send + use<'_, T> {
        Get::new(self.inner())
    }

    /// The service `T` registered under `name`, created if need be.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`get`](Self::get) is.
    ///
    /// # Panics
    ///
    /// As [`get`](Self::get) does.
    pub async fn get_named<T: ?Sized + Service>(&self, name: &str) -> Result<Arc<T>, ResolveError> {
        match self.inner().find_named::<T>(name) {
            Some(service) => Ok(Arc::clone(service)),
            None => Box::pin(create::get(self.inner(), Some(name), None)).await,
        }
    }

    /// Every provider of `T`, named or not, in order of registration. None is not an error.
    ///
    /// What [`ScopeBuilder::provide`] put into the scope is not among them.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), for the first that cannot be resolved.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`get`](Self::get) is.
    ///
    /// # Panics
    ///
    /// As [`get`](Self::get) does.
    pub async fn get_all<T: ?Sized + Service>(&self) -> Result<Vec<Arc<T>>, ResolveError> {
        create::get_all(self.inner(), None).await
    }

    /// The service `T` in a scope of its own, which ends with what is returned.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was created for it is disposed of in the background.
    ///
    /// # Panics
    ///
    /// As [`get`](Self::get) does.
    #[track_caller]
    pub fn owned<T: ?Sized + Service>(
        &self,
    ) -> impl Future<Output = Result<Owned<T>, ResolveError>> + Send + use<T> {
        Owned::create(self.clone(), Location::caller())
    }

    /// The service `T` if it exists already, borrowed: no waiting, no reference counted.
    ///
    /// `None` while it has not been created, when the scope is closed, and always for a transient
    /// service.
    #[inline]
    #[must_use]
    pub fn ready<T: ?Sized + Service>(&self) -> Option<&T> {
        self.find::<T>().map(|service| &**service)
    }

    /// The service `T` if it exists already, shared.
    #[inline]
    #[must_use]
    pub fn ready_arc<T: ?Sized + Service>(&self) -> Option<Arc<T>> {
        self.find::<T>().cloned()
    }

    #[inline]
    fn find<T: ?Sized + Service>(&self) -> Option<&Arc<T>> {
        match self.inner().at_hand() {
            Some(service) => Some(service),
            None => self.find_elsewhere(),
        }
    }

    /// Begins with the handle again, so that nothing has to be kept for it while the look before it
    /// is under way.
    #[cold]
    #[inline(never)]
    fn find_elsewhere<T: ?Sized + Service>(&self) -> Option<&Arc<T>> {
        self.inner().find()
    }

    /// The service `T` registered under `name` if it exists already, borrowed.
    #[must_use]
    pub fn ready_named<T: ?Sized + Service>(&self, name: &str) -> Option<&T> {
        self.inner().find_named::<T>(name).map(|service| &**service)
    }

    /// Begins a scope inside this one.
    ///
    /// A scope keeps those around it alive, and is disposed of before them.
    #[track_caller]
    pub fn child(&self, name: impl Into<Name>) -> ScopeBuilder {
        ScopeBuilder::new(self.hold.clone(), name.into(), Location::caller())
    }

    /// Runs `work` in a scope of its own and disposes of it, however `work` ends: returning,
    /// panicking, or dropped half-way.
    ///
    /// ```
    /// # use service_container::Container;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut builder = Container::builder();
    /// builder.value(20_u32);
    /// let container = builder.build()?;
    ///
    /// let sum = container
    ///     .with_scope("job", |scope| async move { *scope.ready::<u32>().unwrap() + 22 })
    ///     .await?;
    /// assert_eq!(sum, 42);
    /// # container.dispose().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When this scope is closed, in which case `work` was not called, and when the disposal was not
    /// clean, in which case the error holds what `work` returned.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `work`, and the scope is disposed of in the background.
    ///
    /// # Panics
    ///
    /// Panics with the panic of `work`, after the disposal.
    #[track_caller]
    pub fn with_scope<N, R, F, Fut>(
        &self,
        name: N,
        work: F,
    ) -> impl Future<Output = Result<R, ScopeError<R>>> + use<N, R, F, Fut>
    where
        N: Into<Name>,
        F: FnOnce(Self) -> Fut,
        Fut: Future<Output = R>,
    {
        run_in_scope(self.child_at(name.into(), Location::caller()), work)
    }

    /// The name, and where the scope stands among others.
    #[must_use]
    pub fn info(&self) -> ScopeInfo {
        self.inner().info()
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.inner().name
    }

    /// Where the scope is in its life.
    #[must_use]
    pub fn state(&self) -> State {
        self.inner().ledger.state()
    }

    /// Tracks the tasks that use this scope: [`dispose`](Self::dispose) waits for them, up to
    /// [`DisposeOptions::task_timeout`], before it disposes of anything.
    ///
    /// Tasks should stop when [`cancelled`](Self::cancelled) says so. Those that do not are counted
    /// in the report and left alone.
    #[must_use]
    pub fn tasks(&self) -> &TaskTracker {
        self.inner().tasks()
    }

    /// A token cancelled when the scope closes or is dropped, and when one around it does.
    #[must_use]
    pub fn cancelled(&self) -> CancellationToken {
        self.inner().token().clone()
    }

    /// How many scopes of this container, itself included, were dropped with services in them that
    /// should have been disposed of. Counted when the last handle on such a scope is dropped.
    #[must_use]
    pub fn leaked_scopes(&self) -> u64 {
        self.inner()
            .registry()
            .leaked_scopes
            .load(Ordering::Relaxed)
    }

    /// Asks the services that exist in this scope how they are, all at once. In the container those
    /// are the values and the singletons. Nothing is created to be asked.
    ///
    /// A check that takes longer than `timeout` is given up.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: checks that have begun are dropped.
    pub async fn health(&self, timeout: Duration) -> HealthReport {
        health::check(self.inner(), timeout).await
    }

    /// Ends the scope: cancels its token, waits for its tasks, disposes of the scopes inside it, and
    /// then of its own services, each before what it used and the last created first.
    ///
    /// Every caller gets the same report, whoever began. A disposer that fails, panics or takes too
    /// long does not keep the others from running. The instances themselves stay readable through
    /// references already given out and are dropped with the last handle on the scope.
    ///
    /// # Errors
    ///
    /// When anything did not end as it should; the error holds the complete report.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the disposal goes on without its caller, and calling again gives its report.
    ///
    /// # Panics
    ///
    /// Panics when there is something to wait for and no tokio runtime to do it on.
    pub async fn dispose(&self) -> Result<DisposeReport, DisposeError> {
        self.dispose_with(self.inner().dispose_options).await
    }

    /// Like [`dispose`](Self::dispose), with other limits. Those of the first caller count.
    ///
    /// # Errors
    ///
    /// As [`dispose`](Self::dispose).
    ///
    /// # Cancel safety
    ///
    /// As [`dispose`](Self::dispose).
    ///
    /// # Panics
    ///
    /// As [`dispose`](Self::dispose).
    pub async fn dispose_with(
        &self,
        options: DisposeOptions,
    ) -> Result<DisposeReport, DisposeError> {
        close(self.inner(), options).report().await.into_result()
    }

    pub(crate) fn child_at(
        &self,
        name: Name,
        location: &'static Location<'static>,
    ) -> ScopeBuilder {
        ScopeBuilder::new(self.hold.clone(), name, location)
    }
}

impl Drop for Scope {
    fn drop(&mut self) {
        if let Hold::Direct(scope) = &self.hold {
            scope.leave_to_holders();
        }
    }
}

async fn run_in_scope<R, F, Fut>(child: ScopeBuilder, work: F) -> Result<R, ScopeError<R>>
where
    F: FnOnce(Scope) -> Fut,
    Fut: Future<Output = R>,
{
    let scope = child.open().map_err(ScopeError::Open)?;
    let _closing = CloseOnDrop::new(scope.clone());
    // Called inside of what catches its panic.
    let work = AssertUnwindSafe(async { work(scope.clone()).await })
        .catch_unwind()
        .await;
    let disposed = scope.dispose().await;
    match (work, disposed) {
        (Err(payload), _) => std::panic::resume_unwind(payload),
        (Ok(value), Ok(_)) => Ok(value),
        (Ok(value), Err(error)) => Err(ScopeError::Dispose { value, error }),
    }
}

/// Begins the disposal of a scope whose future was dropped. Does nothing after `dispose`.
pub(crate) struct CloseOnDrop(Option<Scope>);

impl CloseOnDrop {
    pub(crate) fn new(scope: Scope) -> Self {
        Self(Some(scope))
    }

    /// The scope has somebody else to end it.
    pub(crate) fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        let Some(scope) = &self.0 else {
            return;
        };
        let inner = scope.inner();
        // Without a runtime the scope is dropped instead, which says so.
        if create::has_runtime(inner) && inner.ledger.is_open() {
            drop(close(inner, inner.dispose_options));
        }
    }
}
