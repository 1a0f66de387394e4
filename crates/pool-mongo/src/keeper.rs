//! The tasks that look after a pool: the minimum stays warm, and doubts reach the leases.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mongodb::options::ServerAddress;
use pool_core::{PoolEvent, PoolEvents};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backend::Backend;
use crate::error::MongoConnectError;
use crate::pool::Inner;
use crate::sockets::Trust;

/// How often the number of open sockets is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Starts both tasks; they end with the pool, and `stop` ends them sooner.
pub(crate) fn start(inner: &Arc<Inner>, events: PoolEvents) {
    let stop = inner.stop.clone();
    inner
        .tasks
        .spawn(follow_trust(Arc::downgrade(inner), stop.clone()));
    inner
        .tasks
        .spawn(keep_warm(Arc::downgrade(inner), events, stop));
}

/// Follows how the driver trusts its servers: tells of it, evicts all leases whenever trust is
/// lost, so that the next callers wait until a server can be used again, or are told why not, and
/// lets them ask at once when the driver has found one.
async fn follow_trust(inner: Weak<Inner>, stop: CancellationToken) {
    let current = || inner.upgrade().map(|inner| inner.backend());
    let Some(mut backend) = current() else { return };
    let mut seen = Seen::default();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = backend.watch.changed.notified() => {}
        }
        let Some(inner) = inner.upgrade() else { return };
        let now = inner.backend();
        if !Arc::ptr_eq(&now, &backend) {
            // Replaced: what has happened to the new client so far was before it took over.
            seen = Seen {
                doubts: now.watch.doubts(),
                finds: now.watch.finds(),
                servers: HashMap::new(),
            };
            backend = now;
        }
        // Read first: a server that is found after a doubt is found for the leases, too.
        let finds = backend.watch.finds();
        let doubts = backend.watch.doubts();
        if doubts != seen.doubts {
            seen.doubts = doubts;
            inner.engine.soft_evict();
        }
        if finds != seen.finds {
            seen.finds = finds;
            // Otherwise callers wait out a pause that was drawn while the server was away.
            inner.engine.retry_now();
        }
        for (address, trust) in backend.watch.sockets.trust() {
            for event in seen.news(address, trust) {
                inner.engine.announce(event);
            }
        }
    }
}

/// What has been told and acted upon.
#[derive(Default)]
struct Seen {
    doubts: u64,
    finds: u64,
    servers: HashMap<ServerAddress, Trust>,
}

impl Seen {
    /// What is to be told of a server. One that was lost and found between two looks is told of as
    /// lost and found; how often is in its counters.
    fn news(&mut self, address: &ServerAddress, now: Trust) -> Vec<PoolEvent> {
        let known = self.servers.entry(address.clone()).or_default();
        let before = std::mem::replace(known, now);
        let lost = now.cleared != before.cleared;
        let found = now.ready && (lost || !before.ready);
        if !(lost || found) {
            return Vec::new();
        }
        let address: Arc<str> = address.to_string().into();
        let cleared = lost.then(|| PoolEvent::ServerCleared {
            address: Arc::clone(&address),
        });
        let ready = found.then_some(PoolEvent::ServerReady { address });
        cleared.into_iter().chain(ready).collect()
    }
}

/// Keeps as many sockets open as leases are kept without demand: opens what is missing, and uses
/// all of them now and then, because the driver closes what is idle without regard to a minimum.
async fn keep_warm(inner: Weak<Inner>, mut events: PoolEvents, stop: CancellationToken) {
    let mut refreshed = Instant::now();
    // How many servers had been found when the minimum was last there.
    let mut found = None;
    loop {
        let Some(duty) = inner.upgrade().map(|inner| Duty::of(&inner)) else {
            return;
        };
        let anew = found.is_some_and(|found| found != duty.finds);
        if found.is_none() && !duty.is_missing() {
            found = Some(duty.finds);
        }
        let work = duty.carry_out(refreshed.elapsed(), anew);
        tokio::select! {
            () = stop.cancelled() => return,
            outcome = work => match outcome {
                Ok(true) => {
                    refreshed = Instant::now();
                    found = Some(duty.finds);
                }
                Ok(false) => {}
                // Callers are told by their own attempts.
                Err(error) => tracing::debug!(%error, "the minimum cannot be kept warm"),
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
    /// How often the driver has found a server: a new primary is one.
    finds: u64,
    /// How often each socket has to be used.
    every: Option<Duration>,
}

impl Duty {
    fn of(inner: &Inner) -> Self {
        let backend = inner.backend();
        Self {
            finds: backend.watch.finds(),
            backend,
            floor: inner.floor(),
            busy: inner.engine.counts().active,
            every: inner.settings().idle_timeout.map(|timeout| timeout / 3),
        }
    }

    fn is_missing(&self) -> bool {
        self.backend.open_now() < self.floor
    }

    /// Returns whether every socket is there and has been used. `anew` says that a server has been
    /// found since: the sockets that are open may be those to the old one.
    async fn carry_out(&self, since: Duration, anew: bool) -> Result<bool, MongoConnectError> {
        let due = self.every.is_some_and(|every| since >= every);
        // Where callers keep more leases than that busy, they open and use the sockets.
        if self.floor <= self.busy || !(self.is_missing() || due || anew) {
            return Ok(false);
        }
        // Somebody who asks for the proof as well may have begun it, and not go on.
        let patience = self.backend.proof_timeout * 2;
        match tokio::time::timeout(patience, self.backend.prove()).await {
            Ok(proof) => proof?,
            Err(_elapsed) => return Err(self.backend.no_answer(patience)),
        }
        self.backend.keep_sockets(self.floor, self.busy).await
    }

    /// How long to wait for the next look.
    fn pause(&self) -> Duration {
        let pause = self.every.map_or(LOOK, |every| every.min(LOOK) / 2);
        pause.max(Duration::from_millis(50))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(seen: &mut Seen, ready: bool, cleared: u64, wanted: &[&str]) {
        let address = ServerAddress::parse("h:1").unwrap();
        let news = seen.news(&address, Trust { ready, cleared });
        let told: Vec<_> = news
            .iter()
            .map(|event| match event {
                PoolEvent::ServerCleared { .. } => "cleared",
                PoolEvent::ServerReady { address } if &**address == "h:1" => "ready",
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told, wanted);
    }

    #[test]
    fn each_change_of_trust_is_told_once() {
        let mut seen = Seen::default();
        check(&mut seen, false, 0, &[]);
        check(&mut seen, true, 0, &["ready"]);
        check(&mut seen, true, 0, &[]);
        check(&mut seen, false, 1, &["cleared"]);
        check(&mut seen, true, 1, &["ready"]);
        check(&mut seen, true, 3, &["cleared", "ready"]);
        check(&mut seen, false, 3, &[]);
    }
}
