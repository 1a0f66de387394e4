//! The context of one operation.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use connection_factory::pool_mongo::MongoPool;
use connection_factory::pool_postgres::PostgresPool;
use connection_factory::{Database, FactoryConfig};
use futures_util::FutureExt as _;
use service_container::{DisposeError, DisposeReport, Name, Scope, Service};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tracing::{Instrument as _, Span};

use crate::error::{OperationError, Reason};
use crate::home::{Home, Parent};

/// What one operation of a handler works with: its pools on demand, a span, and an end.
///
/// Whose the pools are decides what [`dispose`](Self::dispose) closes. With a container given by
/// [`container`](Self::container) the context is *shared*: it opens a scope of that container and
/// ends only the scope. Without one it is *owned*: what it needs is made for it alone, from the
/// [standard configuration](connection_factory::ConfigSources::standard) or the one given by
/// [`config`](Self::config), and its end closes the pools.
///
/// Nothing is opened before it is asked for. A context that is dropped without `dispose` ends its
/// scope, or closes its pools, in the background.
pub struct OperationContext {
    handler: Name,
    operation: Name,
    id: OperationId,
    parent: Option<OperationId>,
    began: Instant,
    metadata: BTreeMap<String, String>,
    span: Span,
    home: Arc<Home>,
    /// The scope, as long as something of it may be borrowed.
    lender: OnceLock<Scope>,
    /// The pools that were not there when they were asked for.
    postgres: OnceCell<Arc<PostgresPool>>,
    mongodb: OnceCell<Arc<MongoPool>>,
}

/// The key of the metadata of a child under which the number of its parent stands.
const PARENT_ID: &str = "parent_id";

/// The number of an operation in logs: random, so that those of several processes differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OperationId(u64);

impl OperationContext {
    /// Begins an operation, named for logs and errors.
    pub fn create(handler: impl Into<Name>, operation: impl Into<Name>) -> Self {
        let (handler, operation) = (handler.into(), operation.into());
        let id = OperationId(fastrand::u64(..));
        let span = tracing::info_span!("operation", %handler, %operation, %id);
        Self {
            handler,
            operation,
            id,
            parent: None,
            began: Instant::now(),
            metadata: BTreeMap::new(),
            span,
            home: Arc::new(Home::owned(None)),
            lender: OnceLock::new(),
            postgres: OnceCell::new(),
            mongodb: OnceCell::new(),
        }
    }

    /// Takes the services of `container`, in a scope of its own. The container may be a scope
    /// itself: one for each request, for instance.
    #[must_use]
    pub fn container(mut self, container: impl AsRef<Scope>) -> Self {
        self.home = Arc::new(Home::shared(container.as_ref().clone()));
        self
    }

    /// Makes its own pools from `config` instead of the standard configuration.
    #[must_use]
    pub fn config(mut self, config: FactoryConfig) -> Self {
        self.home = Arc::new(Home::owned(Some(config)));
        self
    }

    /// Begins an operation that is a part of this one: a step, or one of several that run beside
    /// each other.
    ///
    /// It has the same handler, the pools that this one has or would get, the metadata noted so far
    /// and, as `parent_id`, the [id](Self::id) of this operation, which its span has as well. It has
    /// a span of its own inside that of this one, pool handles of its own, and a scope of its own
    /// inside the scope of this one, so that scoped services are its own too.
    ///
    /// It can end before this operation, and ends with it at the latest: disposing of this one
    /// disposes of it first, and whoever asks it for something after that gets an error.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use operation_context::OperationContext;
    /// use service_container::{Container, sync};
    ///
    /// struct Draft;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut builder = Container::builder();
    /// builder.scoped(sync(|| Draft));
    /// let container = builder.build()?;
    ///
    /// let import = OperationContext::create("quotes", "import").container(&container);
    /// let check = import.child("check");
    /// assert_eq!((check.handler(), check.operation()), ("quotes", "check"));
    /// assert_eq!(check.parent_id(), Some(import.id()));
    ///
    /// let (draft, other) = (check.service::<Draft>().await?, import.service::<Draft>().await?);
    /// assert!(!Arc::ptr_eq(&draft, &other));
    ///
    /// import.dispose().await?;
    /// assert!(check.service::<Draft>().await.is_err());
    /// # container.dispose().await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn child(&self, operation: impl Into<Name>) -> Self {
        let (handler, operation) = (self.handler.clone(), operation.into());
        let (id, parent_id) = (OperationId(fastrand::u64(..)), self.id);
        let span = tracing::info_span!(
            parent: &self.span,
            "operation", %handler, %operation, %id, %parent_id
        );
        let mut metadata = self.metadata.clone();
        metadata.insert(PARENT_ID.to_owned(), parent_id.to_string());
        Self {
            handler,
            operation,
            id,
            parent: Some(parent_id),
            began: Instant::now(),
            metadata,
            span,
            home: Arc::new(Home::inside(Parent {
                name: self.name(),
                home: Arc::clone(&self.home),
            })),
            lender: OnceLock::new(),
            postgres: OnceCell::new(),
            mongodb: OnceCell::new(),
        }
    }

    /// Notes something about the operation, for whoever handles it further on.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// The handler's name.
    #[must_use]
    pub fn handler(&self) -> &str {
        self.handler.as_str()
    }

    /// The operation's name.
    #[must_use]
    pub fn operation(&self) -> &str {
        self.operation.as_str()
    }

    /// The operation's number.
    #[must_use]
    pub const fn id(&self) -> OperationId {
        self.id
    }

    /// The number of the operation that this one is a part of, if it is a [child](Self::child).
    #[must_use]
    pub const fn parent_id(&self) -> Option<OperationId> {
        self.parent
    }

    /// How long ago it began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What was noted under `key`.
    #[must_use]
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// The span that log lines of the operation belong to. [`run`](Self::run) enters it.
    #[must_use]
    pub const fn span(&self) -> &Span {
        &self.span
    }

    /// The PostgreSQL pool, made by the first who asks.
    ///
    /// # Errors
    ///
    /// The operation or its container is disposed of, there is no such pool in the container, or
    /// it cannot be made: then the next call tries again.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the pool goes on being made, for whoever asks next.
    pub async fn postgres(&self) -> Result<&PostgresPool, OperationError> {
        self.pool(&self.postgres, Database::Postgresql).await
    }

    /// The MongoDB pool, made by the first who asks.
    ///
    /// # Errors
    ///
    /// As [`postgres`](Self::postgres).
    ///
    /// # Cancel safety
    ///
    /// As [`postgres`](Self::postgres).
    pub async fn mongodb(&self) -> Result<&MongoPool, OperationError> {
        self.pool(&self.mongodb, Database::Mongodb).await
    }

    /// Any other service of the container; a scoped one lives as long as the operation.
    ///
    /// # Errors
    ///
    /// As [`postgres`](Self::postgres).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, as [`Scope::get`] is.
    pub async fn service<T: ?Sized + Service>(&self) -> Result<Arc<T>, OperationError> {
        let wanted = std::any::type_name::<T>();
        let failed = |reason| self.error(wanted, reason);
        let scope = self.scope().map_err(failed)?;
        let service = scope.get::<T>().instrument(self.span.clone()).await;
        service.map_err(|error| failed(Reason::Resolve(error)))
    }

    /// Ends the operation: disposes of its scope, and closes its pools if they are its own.
    ///
    /// Returns what became of everything, or `None` when nothing was ever asked for. Can be
    /// called again, with the same result.
    ///
    /// # Errors
    ///
    /// When anything did not end as it should; the error holds the complete report.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the disposal goes on without its caller.
    pub async fn dispose(&self) -> Result<Option<DisposeReport>, DisposeError> {
        let Some(scope) = self.home.end() else {
            return Ok(None);
        };
        let disposed = scope.dispose().instrument(self.span.clone()).await;
        tracing::debug!(parent: &self.span, elapsed = ?self.began.elapsed(), "operation ended");
        disposed.map(Some)
    }

    /// Runs `work` in the operation's span and disposes of the operation, however it ends.
    ///
    /// When both `work` and the disposal fail, the error of `work` is returned and that of the
    /// disposal is logged.
    ///
    /// # Errors
    ///
    /// That of `work`, or else that of the disposal.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `work` where it stands. What it held goes back to the pools at
    /// once; the operation is disposed of in the background.
    ///
    /// # Panics
    ///
    /// With the panic of `work`, after the disposal.
    pub async fn run<T, E, F>(self, work: F) -> Result<T, E>
    where
        F: AsyncFnOnce(&Self) -> Result<T, E>,
        E: From<DisposeError>,
    {
        let span = self.span.clone();
        let worked = AssertUnwindSafe(work(&self).instrument(span))
            .catch_unwind()
            .await;
        let disposed = self.dispose().await;
        match (worked, disposed) {
            (Ok(Ok(value)), Ok(_)) => Ok(value),
            (Ok(Ok(_)), Err(unclean)) => Err(unclean.into()),
            (worked, disposed) => {
                if let Err(unclean) = disposed {
                    tracing::warn!(parent: &self.span, %unclean, "not everything was disposed of");
                }
                match worked {
                    Ok(failed) => failed,
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
        }
    }

    async fn pool<'c, P: Service + Sized>(
        &'c self,
        cell: &'c OnceCell<Arc<P>>,
        database: Database,
    ) -> Result<&'c P, OperationError> {
        let failed = |reason| self.error(database.name(), reason);
        let scope = self.scope().map_err(failed)?;
        if let Some(pool) = cell.get() {
            return Ok(pool);
        }
        // One that is there is borrowed: its count is the same for all operations, whatever thread
        // they are on.
        let lender = self.lender.get_or_init(|| scope.clone());
        if let Some(pool) = lender.ready::<P>() {
            return Ok(pool);
        }
        let pool = cell
            .get_or_try_init(|| scope.get::<P>())
            .instrument(self.span.clone())
            .await;
        pool.map(|pool| &**pool)
            .map_err(|error| failed(Reason::Resolve(error)))
    }

    /// The scope of the operation, opened if it is the first time.
    fn scope(&self) -> Result<Scope, Reason> {
        self.home.scope(&|| self.name())
    }

    fn name(&self) -> String {
        format!("{}.{}", self.handler, self.operation)
    }

    fn error(&self, wanted: &'static str, reason: Reason) -> OperationError {
        OperationError::new(self.handler(), self.operation(), wanted, reason)
    }
}

impl Drop for OperationContext {
    fn drop(&mut self) {
        let Some(scope) = self.home.abandon() else {
            return;
        };
        // Without a runtime the scope is dropped instead, which says so.
        if let Ok(runtime) = Handle::try_current() {
            let span = self.span.clone();
            runtime.spawn(
                async move {
                    if let Err(unclean) = scope.dispose().await {
                        tracing::warn!(%unclean, "not everything was disposed of");
                    }
                }
                .instrument(span),
            );
        }
    }
}

impl fmt::Debug for OperationContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperationContext")
            .field("handler", &self.handler)
            .field("operation", &self.operation)
            .field("id", &self.id)
            .field("state", &self.home.describe())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
