//! What a pool tells those who listen, without ever waiting for them.

use std::error::Error as StdError;
use std::panic::{AssertUnwindSafe, Location};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::engine::CloseReason;
use crate::error::SharedError;
use crate::event_handlers::EventHandlers;
use crate::sizing::Brake;
use crate::{ConnectFault, Limits};

/// Something that happened to a pool.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PoolEvent {
    /// Something began, or ceased, to hold the pool's growth back. Where decisions are not applied,
    /// nothing does.
    BrakeChanged {
        /// What does now.
        brake: Option<Brake>,
        /// Why, in a sentence with its numbers.
        reason: Arc<str>,
    },
    /// The pool was closed; nothing is lent any more.
    Closed,
    /// An attempt to connect failed.
    ConnectFailed {
        /// Why.
        error: SharedError,
        /// What that means for the next attempt.
        fault: ConnectFault,
    },
    /// A connection was opened.
    Connected {
        /// Its number.
        id: u64,
        /// How long that took.
        took: Duration,
    },
    /// A connection did not pass its check or its cleaning; it is being closed.
    ConnectionFailed {
        /// Its number.
        id: u64,
        /// Why.
        error: Arc<str>,
    },
    /// A connection was closed.
    Disconnected {
        /// Its number.
        id: u64,
        /// Why.
        reason: CloseReason,
    },
    /// A checkout has lasted longer than the leak threshold; told once for each.
    LeakSuspected(Leak),
    /// New limits are in force.
    LimitsChanged {
        /// The old ones.
        from: Limits,
        /// The new ones.
        to: Limits,
    },
    /// Nothing is lent until the pool is resumed.
    Paused,
    /// The pool was built.
    PoolCreated,
    /// The pool lends again.
    Resumed,
    /// The driver below the pool distrusts its connections to a server, after a failed heartbeat
    /// or a network error. Only from pools over a driver that has a pool of its own.
    ServerCleared {
        /// The server's host and port.
        address: Arc<str>,
    },
    /// The driver below the pool can use a server, for the first time or again.
    ServerReady {
        /// The server's host and port.
        address: Arc<str>,
    },
    /// A sizing policy would change the number of connections that are kept warm, if it were not
    /// in [advise](crate::sizing::SizingMode::Advise) or
    /// [freeze](crate::sizing::SizingMode::Freeze) mode.
    TargetAdvised {
        /// The number in force.
        from: u32,
        /// The one it would be.
        to: u32,
        /// Why, in a sentence with its numbers.
        reason: Arc<str>,
    },
    /// A sizing policy changed the number of connections that are kept warm.
    TargetChanged {
        /// The old number.
        from: u32,
        /// The new one.
        to: u32,
        /// Why, in a sentence with its numbers.
        reason: Arc<str>,
    },
}

/// A checkout that lasts longer than the leak threshold.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Leak {
    /// For how long.
    pub held: Duration,
    /// The line that acquired the connection.
    pub caller: &'static Location<'static>,
}

/// What a listener returns.
pub type ListenerResult = Result<(), Box<dyn StdError + Send + Sync>>;

/// Callbacks for the life of a pool's connections.
///
/// Each listener has a task and a queue of its own. One that is slow misses events (they are
/// counted in `listener_missed`), one that fails or panics is noted (`listener_failures`) and called
/// again; neither delays a checkout or harms the pool.
///
/// The task runs on the pool's runtime, so these methods must not block its thread, as no future
/// may: [`EventHandlers`] takes closures that do.
///
/// # Cancel safety
///
/// The pool awaits each call to its end; only the end of the runtime drops one.
#[async_trait]
pub trait ConnectionEvents: Send + Sync + 'static {
    /// A connection was opened.
    async fn on_connect(&self) -> ListenerResult {
        Ok(())
    }

    /// A connection was closed.
    async fn on_disconnect(&self) -> ListenerResult {
        Ok(())
    }

    /// A connect failed, or a connection did not pass its check.
    async fn on_error(&self, _error: &(dyn StdError + Send + Sync)) -> ListenerResult {
        Ok(())
    }

    /// The pool was built.
    async fn on_pool_created(&self) -> ListenerResult {
        Ok(())
    }

    /// Closures that may block, to be called instead, on a thread for that.
    #[doc(hidden)]
    fn handlers(&self) -> Option<EventHandlers> {
        None
    }
}

/// A subscription to a pool's events, from [`Pool::subscribe`](crate::Pool::subscribe).
#[derive(Debug)]
pub struct PoolEvents {
    receiver: broadcast::Receiver<PoolEvent>,
    missed: u64,
}

impl PoolEvents {
    /// The next event; `None` once the pool is gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an event that was not returned is returned next time.
    pub async fn next(&mut self) -> Option<PoolEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(missed)) => self.missed += missed,
            }
        }
    }

    /// How many events were dropped because this subscription was slower than the pool.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }

    /// The same as a `Stream`.
    pub fn into_stream(self) -> impl futures_core::Stream<Item = PoolEvent> + Send {
        futures_util::stream::unfold(self, |mut events| async move {
            let event = events.next().await?;
            Some((event, events))
        })
    }
}

/// The sending side: one channel, a task for each listener.
#[derive(Debug)]
pub(crate) struct EventHub {
    sender: broadcast::Sender<PoolEvent>,
    counters: Arc<ListenerCounters>,
}

/// How listeners have fared.
#[derive(Debug, Default)]
pub(crate) struct ListenerCounters {
    pub(crate) failures: AtomicU64,
    pub(crate) missed: AtomicU64,
}

impl EventHub {
    /// `capacity` events are kept for each listener.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            sender: broadcast::Sender::new(capacity),
            counters: Arc::default(),
        }
    }

    pub(crate) fn send(&self, event: PoolEvent) {
        // Without a receiver there is nobody to tell.
        drop(self.sender.send(event));
    }

    pub(crate) fn subscribe(&self) -> PoolEvents {
        PoolEvents {
            receiver: self.sender.subscribe(),
            missed: 0,
        }
    }

    pub(crate) fn counters(&self) -> &ListenerCounters {
        &self.counters
    }

    pub(crate) fn attach(
        &self,
        listener: Arc<dyn ConnectionEvents>,
        runtime: &tokio::runtime::Handle,
    ) {
        let receiver = self.sender.subscribe();
        let counters = Arc::clone(&self.counters);
        // It ends with the channel, which ends with the pool.
        runtime.spawn(listen(listener, receiver, counters));
    }
}

async fn listen(
    listener: Arc<dyn ConnectionEvents>,
    mut receiver: broadcast::Receiver<PoolEvent>,
    counters: Arc<ListenerCounters>,
) {
    let handlers = listener.handlers();
    loop {
        let event = match receiver.recv().await {
            Ok(event) => event,
            Err(RecvError::Closed) => return,
            Err(RecvError::Lagged(missed)) => {
                counters.missed.fetch_add(missed, Ordering::Relaxed);
                continue;
            }
        };
        let failure = match &handlers {
            None => {
                let call = AssertUnwindSafe(deliver(&*listener, &event)).catch_unwind();
                match call.await {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(error.to_string()),
                    Err(_panic) => Some(PANICKED.to_owned()),
                }
            }
            Some(handlers) => match handlers.call(&event).await {
                Ok(()) => None,
                Err(error) if error.is_panic() => Some(PANICKED.to_owned()),
                // The runtime has ended.
                Err(_) => return,
            },
        };
        if let Some(failure) = failure {
            counters.failures.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(?event, failure, "a pool's event listener failed");
        }
    }
}

const PANICKED: &str = "it panicked";

async fn deliver(listener: &dyn ConnectionEvents, event: &PoolEvent) -> ListenerResult {
    match event {
        PoolEvent::Connected { .. } => listener.on_connect().await,
        PoolEvent::Disconnected { .. } => listener.on_disconnect().await,
        PoolEvent::ConnectFailed { error, .. } => listener.on_error(&**error).await,
        PoolEvent::ConnectionFailed { id, error } => {
            listener.on_error(&ConnectionFailed::new(*id, error)).await
        }
        PoolEvent::PoolCreated => listener.on_pool_created().await,
        PoolEvent::BrakeChanged { .. }
        | PoolEvent::Closed
        | PoolEvent::LeakSuspected(_)
        | PoolEvent::LimitsChanged { .. }
        | PoolEvent::Paused
        | PoolEvent::Resumed
        | PoolEvent::ServerCleared { .. }
        | PoolEvent::ServerReady { .. }
        | PoolEvent::TargetAdvised { .. }
        | PoolEvent::TargetChanged { .. } => Ok(()),
    }
}

#[derive(Debug, thiserror::Error)]
#[error("connection {id} failed: {error}")]
pub(crate) struct ConnectionFailed {
    id: u64,
    error: Arc<str>,
}

impl ConnectionFailed {
    pub(crate) fn new(id: u64, error: &Arc<str>) -> Self {
        let error = Arc::clone(error);
        Self { id, error }
    }
}
