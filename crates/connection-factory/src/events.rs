//! What happens to all pools, in one stream.

use std::sync::Arc;

use pool_core::{PoolEvent, PoolEvents};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::Database;

/// Something that happened to one of the pools.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FactoryEvent {
    /// The service that the pool belongs to.
    pub service: Arc<str>,
    /// The kind of database that it leads to.
    pub database: Database,
    /// What happened.
    pub event: PoolEvent,
}

/// A subscription to the events of all pools, from
/// [`ConnectionFactory::subscribe`](crate::ConnectionFactory::subscribe).
#[derive(Debug)]
pub struct FactoryEvents {
    receiver: broadcast::Receiver<FactoryEvent>,
    missed: u64,
}

impl FactoryEvents {
    pub(crate) const fn new(receiver: broadcast::Receiver<FactoryEvent>) -> Self {
        Self {
            receiver,
            missed: 0,
        }
    }

    /// The next event of any pool; `None` once the factory and its pools are gone.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an event that was not returned is returned next time.
    pub async fn next(&mut self) -> Option<FactoryEvent> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Closed) => return None,
                Err(RecvError::Lagged(missed)) => self.missed += missed,
            }
        }
    }

    /// How many events were dropped because this subscription was slower than the pools.
    #[must_use]
    pub const fn missed(&self) -> u64 {
        self.missed
    }
}

/// Passes on the events of one pool until it is gone, or until `enough` and none is left.
pub(crate) async fn forward(
    service: Arc<str>,
    database: Database,
    mut events: PoolEvents,
    sender: broadcast::Sender<FactoryEvent>,
    enough: CancellationToken,
) {
    let send = |event| {
        // Without a subscriber there is nobody to tell.
        drop(sender.send(FactoryEvent {
            service: Arc::clone(&service),
            database,
            event,
        }));
    };
    loop {
        tokio::select! {
            biased;
            event = events.next() => match event {
                Some(event) => send(event),
                None => return,
            },
            () = enough.cancelled() => return,
        }
    }
}
