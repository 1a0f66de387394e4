//! The context of one operation.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use connection_factory::pool_mongo::MongoPool;
use connection_factory::pool_postgres::PostgresPool;
use connection_factory::{ConfigSources, Database, FactoryConfig};
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use service_container::{Container, DisposeError, DisposeReport, LeakPolicy, Name, Scope, Service};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;
use tracing::{Instrument as _, Span};

use crate::error::{OperationError, Reason};
use crate::setup::{SetupError, register};

/// What one operation of a handler works with: its pools on demand, a span, and an end.
///
/// Whose the pools are decides what [`dispose`](Self::dispose) closes. With a container given by
/// [`container`](Self::container) the context is *shared*: it opens a scope of that container and
/// ends only the scope. Without one it is *owned*: what it needs is made for it alone, from the
/// [standard configuration](ConfigSources::standard) or the one given by
/// [`config`](Self::config), and its end closes the pools.
///
/// Nothing is opened before it is asked for. A context that is dropped without `dispose` ends its
/// scope, or closes its pools, in the background.
pub struct OperationContext {
    handler: Name,
    operation: Name,
    id: OperationId,
    began: Instant,
    metadata: BTreeMap<String, String>,
    span: Span,
    home: Mutex<Home>,
    postgres: OnceCell<Arc<PostgresPool>>,
    mongodb: OnceCell<Arc<MongoPool>>,
}

/// The number of an operation in logs: random, so that those of several processes differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct OperationId(u64);

/// Where services come from.
enum Home {
    /// A scope of somebody's container, not opened yet.
    Shared(Scope),
    /// A container of its own, not built yet; without a configuration, from the standard one.
    Owned(Option<Box<FactoryConfig>>),
    /// In use; the flag says whose it is.
    Open { scope: Scope, owned: bool },
    /// Ended, with what there was to end.
    Disposed(Option<Scope>),
}

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
            began: Instant::now(),
            metadata: BTreeMap::new(),
            span,
            home: Mutex::new(Home::Owned(None)),
            postgres: OnceCell::new(),
            mongodb: OnceCell::new(),
        }
    }

    /// Takes the services of `container`, in a scope of its own. The container may be a scope
    /// itself: one for each request, for instance.
    #[must_use]
    pub fn container(mut self, container: impl AsRef<Scope>) -> Self {
        self.home = Mutex::new(Home::Shared(container.as_ref().clone()));
        self
    }

    /// Makes its own pools from `config` instead of the standard configuration.
    #[must_use]
    pub fn config(mut self, config: FactoryConfig) -> Self {
        self.home = Mutex::new(Home::Owned(Some(Box::new(config))));
        self
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
        let Some(scope) = self.end() else {
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
        let pool = cell
            .get_or_try_init(|| scope.get::<P>())
            .instrument(self.span.clone())
            .await;
        pool.map(|pool| &**pool)
            .map_err(|error| failed(Reason::Resolve(error)))
    }

    /// The scope of the operation, opened if it is the first time.
    fn scope(&self) -> Result<Scope, Reason> {
        let mut home = self.home.lock();
        let (scope, owned) = match &mut *home {
            Home::Open { scope, .. } => return Ok(scope.clone()),
            Home::Disposed(_) => return Err(Reason::Disposed),
            Home::Shared(parent) => {
                let name = format!("{}.{}", self.handler, self.operation);
                (parent.child(name).open().map_err(Reason::Open)?, false)
            }
            Home::Owned(config) => {
                let container = own_container(config.as_deref()).map_err(Reason::Setup)?;
                (Scope::clone(&container), true)
            }
        };
        *home = Home::Open {
            scope: scope.clone(),
            owned,
        };
        Ok(scope)
    }

    /// Marks the operation as ended; the scope to dispose of, if one was opened.
    fn end(&self) -> Option<Scope> {
        let mut home = self.home.lock();
        let scope = match &*home {
            Home::Open { scope, .. } => Some(scope.clone()),
            Home::Disposed(scope) => scope.clone(),
            Home::Shared(_) | Home::Owned(_) => None,
        };
        *home = Home::Disposed(scope.clone());
        scope
    }

    fn error(&self, wanted: &'static str, reason: Reason) -> OperationError {
        OperationError::new(self.handler(), self.operation(), wanted, reason)
    }
}

/// Built without waiting: pools are made when they are asked for.
fn own_container(config: Option<&FactoryConfig>) -> Result<Container, SetupError> {
    let config = match config {
        Some(config) => config.clone(),
        None => ConfigSources::standard().load()?,
    };
    let mut builder = Container::builder();
    builder.on_leak(LeakPolicy::SpawnDispose);
    let own = register(&mut builder, config)?;
    builder.name(own.service);
    builder.dispose_options(own.dispose_options);
    Ok(builder.build()?)
}

impl Drop for OperationContext {
    fn drop(&mut self) {
        let Home::Open { scope, .. } = self.home.get_mut() else {
            return;
        };
        // Without a runtime the scope is dropped instead, which says so.
        if let Ok(runtime) = Handle::try_current() {
            let scope = scope.clone();
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
        let state = match &*self.home.lock() {
            Home::Shared(_) => "shared, not opened",
            Home::Owned(_) => "owned, not opened",
            Home::Open { owned: false, .. } => "shared",
            Home::Open { owned: true, .. } => "owned",
            Home::Disposed(_) => "disposed",
        };
        f.debug_struct("OperationContext")
            .field("handler", &self.handler)
            .field("operation", &self.operation)
            .field("id", &self.id)
            .field("state", &state)
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
