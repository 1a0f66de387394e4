//! What happens to all pools, in one stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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
    /// What did not reach any subscription, in all and before this one began.
    lost: Arc<AtomicU64>,
    lost_before: u64,
}

impl FactoryEvents {
    pub(crate) fn new(receiver: broadcast::Receiver<FactoryEvent>, lost: Arc<AtomicU64>) -> Self {
        Self {
            receiver,
            missed: 0,
            lost_before: lost.load(Ordering::Relaxed),
            lost,
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

    /// How many events were dropped because this subscription was slower than the pools, or because
    /// the factory was too slow to pass them on.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed + (self.lost.load(Ordering::Relaxed) - self.lost_before)
    }
}

/// Passes on the events of one pool until it is gone, or until `enough` and none is left.
pub(crate) async fn forward(
    service: Arc<str>,
    database: Database,
    mut events: PoolEvents,
    sender: broadcast::Sender<FactoryEvent>,
    lost: Arc<AtomicU64>,
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
    let mut missed = 0;
    loop {
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            () = enough.cancelled() => None,
        };
        lost.fetch_add(events.missed() - missed, Ordering::Relaxed);
        missed = events.missed();
        match event {
            Some(event) => send(event),
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use pool_core::Pool;
    use pool_testkit::ScriptedManager;

    use super::*;

    #[tokio::test]
    async fn what_the_factory_could_not_pass_on_was_missed_by_those_who_listened() {
        const KEPT: usize = 4;
        let (manager, _script) = ScriptedManager::new();
        let pool = Pool::builder(manager).event_capacity(KEPT).build().unwrap();
        let (sender, lost) = (broadcast::Sender::new(100), Arc::<AtomicU64>::default());
        let mut listener = FactoryEvents::new(sender.subscribe(), Arc::clone(&lost));
        let enough = CancellationToken::new();
        let forwarding = tokio::spawn(forward(
            "a".into(),
            Database::Postgresql,
            pool.subscribe(),
            sender.clone(),
            Arc::clone(&lost),
            enough.clone(),
        ));
        // All at once: nobody passes anything on before the first wait.
        for max in 1..=10 {
            pool.set_limits(0, max).unwrap();
        }
        for max in 7..=10 {
            let event = listener.next().await.unwrap().event;
            let PoolEvent::LimitsChanged { to, .. } = &event else {
                panic!("{event:?}");
            };
            assert_eq!(to.max(), max);
        }
        assert_eq!(listener.missed(), 6);
        let later = FactoryEvents::new(sender.subscribe(), lost);
        assert_eq!(later.missed(), 0, "it was not there yet");
        enough.cancel();
        forwarding.await.unwrap();
    }
}
