//! The tasks that look after a pool: the minimum stays warm, and doubts reach the leases.

use std::sync::{Arc, Weak};
use std::time::Duration;

use pool_core::{PoolEvent, PoolEvents};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::error::MongoConnectError;
use crate::pool::Inner;

/// How often the number of open sockets is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Starts both tasks; they end with the pool, and `stop` ends them sooner.
pub(crate) fn start(inner: &Arc<Inner>, events: PoolEvents) {
    let stop = inner.stop.clone();
    inner
        .tasks
        .spawn(evict_in_doubt(Arc::downgrade(inner), stop.clone()));
    inner
        .tasks
        .spawn(keep_warm(Arc::downgrade(inner), events, stop));
}

/// Evicts all leases whenever the driver loses its trust in a server: the next callers wait until
/// it can be used again, or are told why not.
async fn evict_in_doubt(inner: Weak<Inner>, stop: CancellationToken) {
    let current = || inner.upgrade().map(|inner| inner.backend());
    let Some(mut backend) = current() else { return };
    let mut seen = 0;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = backend.watch.doubted.notified() => {}
        }
        let Some(now) = current() else { return };
        if !Arc::ptr_eq(&now, &backend) {
            // Replaced: what has happened to the new client so far was before it took over.
            seen = now.watch.doubts();
            backend = now;
            continue;
        }
        let doubts = backend.watch.doubts();
        if doubts != seen {
            seen = doubts;
            let Some(inner) = inner.upgrade() else { return };
            tracing::debug!(pool = inner.engine.name(), "the driver distrusts a server");
            inner.engine.soft_evict();
        }
    }
}

/// Keeps as many sockets open as leases are kept without demand: opens what is missing, and uses
/// all of them now and then, because the driver closes what is idle without regard to a minimum.
async fn keep_warm(inner: Weak<Inner>, mut events: PoolEvents, stop: CancellationToken) {
    let mut refreshed = Instant::now();
    loop {
        let Some(duty) = inner.upgrade().map(|inner| Duty::of(&inner)) else {
            return;
        };
        let work = duty.carry_out(refreshed.elapsed());
        tokio::select! {
            () = stop.cancelled() => return,
            outcome = tokio::time::timeout(duty.backend.proof_timeout, work) => match outcome {
                Ok(Ok(true)) => refreshed = Instant::now(),
                Ok(Ok(false)) => {}
                // Callers are told by their own attempts.
                Ok(Err(error)) => tracing::debug!(%error, "the minimum cannot be kept warm"),
                Err(_elapsed) => tracing::debug!("keeping the minimum warm takes too long"),
            },
        }
        let pause = tokio::time::sleep(duty.pause());
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = &mut pause => break,
                event = events.next() => match event {
                    Some(PoolEvent::LimitsChanged { .. } | PoolEvent::TargetChanged { .. }) => break,
                    Some(PoolEvent::Closed) | None => return,
                    Some(_) => {}
                },
            }
        }
    }
}

/// What is to be kept now.
struct Duty {
    backend: Arc<Backend>,
    floor: u32,
    /// Callers that have a lease.
    busy: u32,
    /// How often each socket has to be used.
    every: Option<Duration>,
}

impl Duty {
    fn of(inner: &Inner) -> Self {
        Self {
            backend: inner.backend(),
            floor: inner.floor(),
            busy: inner.engine.counts().active,
            every: inner.settings.idle_timeout.map(|timeout| timeout / 3),
        }
    }

    /// Returns whether every socket has been used.
    async fn carry_out(&self, since: Duration) -> Result<bool, MongoConnectError> {
        let missing = self.backend.open_now() < self.floor;
        let due = self.every.is_some_and(|every| since >= every);
        // Where callers keep more leases than that busy, they open and use the sockets.
        if self.floor <= self.busy || !(missing || due) {
            return Ok(false);
        }
        self.backend.prove().await?;
        self.backend.keep_sockets(self.floor, self.busy).await?;
        Ok(true)
    }

    /// How long to wait for the next look.
    fn pause(&self) -> Duration {
        let pause = self.every.map_or(LOOK, |every| every.min(LOOK) / 2);
        pause.max(Duration::from_millis(50))
    }
}
