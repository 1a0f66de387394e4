//! Listeners as closures.

use std::error::Error as StdError;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::task::{JoinError, spawn_blocking};

use crate::events::{ConnectionEvents, ConnectionFailed, ListenerResult, PoolEvent};

/// Listeners as closures, for those who need one or two.
///
/// A closure may block: each is called on a thread of the runtime's blocking pool, one at a time and
/// in the order of the events. One that never returns keeps that thread, and with it the end of the
/// runtime.
///
/// # Example
///
/// ```
/// use pool_core::EventHandlers;
///
/// let handlers = EventHandlers::new()
///     .on_connect(|| println!("connected"))
///     .on_error(|error| eprintln!("pool error: {error}"));
/// ```
#[derive(Clone, Default)]
#[must_use = "handlers do nothing until a pool is built with them"]
pub struct EventHandlers {
    on_connect: Option<Handler>,
    on_disconnect: Option<Handler>,
    on_error: Option<ErrorHandler>,
    on_pool_created: Option<Handler>,
}

type Handler = Arc<dyn Fn() + Send + Sync>;
type ErrorHandler = Arc<dyn Fn(&(dyn StdError + Send + Sync)) + Send + Sync>;

impl EventHandlers {
    /// No handler.
    pub fn new() -> Self {
        Self::default()
    }

    /// Calls `handler` when a connection was opened.
    pub fn on_connect(mut self, handler: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_connect = Some(Arc::new(handler));
        self
    }

    /// Calls `handler` when a connection was closed.
    pub fn on_disconnect(mut self, handler: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_disconnect = Some(Arc::new(handler));
        self
    }

    /// Calls `handler` when a connect failed or a connection did not pass its check.
    pub fn on_error(
        mut self,
        handler: impl Fn(&(dyn StdError + Send + Sync)) + Send + Sync + 'static,
    ) -> Self {
        self.on_error = Some(Arc::new(handler));
        self
    }

    /// Calls `handler` when the pool was built.
    pub fn on_pool_created(mut self, handler: impl Fn() + Send + Sync + 'static) -> Self {
        self.on_pool_created = Some(Arc::new(handler));
        self
    }

    /// Calls the handler of an event, if it has one, where it may block.
    ///
    /// # Errors
    ///
    /// The handler panicked, or the runtime has ended.
    ///
    /// # Cancel safety
    ///
    /// A handler that has begun goes on.
    pub(crate) async fn call(&self, event: &PoolEvent) -> Result<(), JoinError> {
        let plain = match event {
            PoolEvent::Connected { .. } => &self.on_connect,
            PoolEvent::Disconnected { .. } => &self.on_disconnect,
            PoolEvent::PoolCreated => &self.on_pool_created,
            PoolEvent::ConnectFailed { error, .. } => {
                let Some(handler) = self.on_error.clone() else {
                    return Ok(());
                };
                let error = Arc::clone(error);
                return spawn_blocking(move || handler(&*error)).await;
            }
            PoolEvent::ConnectionFailed { id, error } => {
                let Some(handler) = self.on_error.clone() else {
                    return Ok(());
                };
                let error = ConnectionFailed::new(*id, error);
                return spawn_blocking(move || handler(&error)).await;
            }
            _ => return Ok(()),
        };
        match plain.clone() {
            Some(handler) => spawn_blocking(move || handler()).await,
            None => Ok(()),
        }
    }
}

impl std::fmt::Debug for EventHandlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventHandlers").finish_non_exhaustive()
    }
}

/// For a listener of one's own that passes events on; these call the closures where they stand.
#[async_trait]
impl ConnectionEvents for EventHandlers {
    async fn on_connect(&self) -> ListenerResult {
        self.on_connect.iter().for_each(|handler| handler());
        Ok(())
    }

    async fn on_disconnect(&self) -> ListenerResult {
        self.on_disconnect.iter().for_each(|handler| handler());
        Ok(())
    }

    async fn on_error(&self, error: &(dyn StdError + Send + Sync)) -> ListenerResult {
        self.on_error.iter().for_each(|handler| handler(error));
        Ok(())
    }

    async fn on_pool_created(&self) -> ListenerResult {
        self.on_pool_created.iter().for_each(|handler| handler());
        Ok(())
    }

    fn handlers(&self) -> Option<EventHandlers> {
        Some(self.clone())
    }
}
