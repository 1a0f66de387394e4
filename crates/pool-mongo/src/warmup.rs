//! Opening the minimum before the first caller comes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pool_core::{ConnectFault, SharedError, WarmupReport};
use tokio::time::{Instant, timeout_at};

use crate::backend::Backend;
use crate::drain::after;
use crate::error::{MongoConnectError, MongoWarmupError};
use crate::pool::MongoPool;
use crate::sockets::ServerSockets;

/// How long a warm-up waits before it tries again what has failed for a passing reason: at first,
/// doubling, and at most.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What a warm-up did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MongoWarmupReport {
    /// How many leases and sockets were wanted: the minimum, or the target of a sizing policy.
    pub wanted: u32,
    /// How many sockets are open, on all servers, by the driver's own account.
    pub sockets: u32,
    /// How many of them this warm-up, or somebody else meanwhile, opened.
    pub sockets_opened: u32,
    /// The sockets server by server.
    pub servers: Vec<ServerSockets>,
    /// What the engine did with the leases.
    pub leases: WarmupReport,
    /// How long it took, all together.
    pub elapsed: Duration,
}

impl MongoPool {
    /// Opens the minimum of leases and of sockets, authenticated, and then turns
    /// [`ready`](Self::ready) true.
    ///
    /// First comes one authenticated round trip, so that a wrong password ends here, with its cause.
    /// Then as many commands as sockets are wanted are sent at once that the server answers late:
    /// the driver opens exactly those that are missing, on the primary, or on the servers of the
    /// URI's read preference. With a minimum of 0 the round trip is all.
    ///
    /// What fails for a passing reason is tried again until `acquire_timeout` is over: a server
    /// that is not up yet, an election, a member that has just joined and refuses a client because
    /// it cannot check yet the time that the client has heard from others (code 211, `KeyNotFound`).
    ///
    /// The driver's own `warm_connection_pool` is not used: it does nothing before the first
    /// heartbeat, reports no error, and waits for ever when a socket cannot be authenticated.
    ///
    /// # Errors
    ///
    /// `acquire_timeout` is over, the pool is closed, or the server cannot be used for a reason that
    /// waiting does not mend: it turns the user down, say. The error says how far it came, and what
    /// failed last.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the pool does not turn ready. Sockets that wait for an answer at that moment are
    /// closed by the driver; the others stay.
    pub async fn warmup_pool(&self) -> Result<MongoWarmupReport, MongoWarmupError> {
        let began = Instant::now();
        let end = after(self.inner.settings().acquire_timeout);
        let first = self.inner.backend();
        let before = first.open_now();
        let mut last = None;
        let outcome = tokio::select! {
            biased;
            () = self.inner.stop.cancelled() => Err(Some(Arc::new(Closed) as SharedError)),
            outcome = timeout_at(end, self.warm(&mut last)) => match outcome {
                Ok(outcome) => outcome.map_err(Some),
                Err(_elapsed) => Err(None),
            },
        };
        let backend = self.inner.backend();
        let sockets = backend.open_now();
        match outcome {
            Ok((wanted, leases)) => {
                self.inner.warmed.store(true, Ordering::Release);
                let before = if Arc::ptr_eq(&first, &backend) {
                    before
                } else {
                    0
                };
                Ok(MongoWarmupReport {
                    wanted,
                    sockets,
                    sockets_opened: sockets.saturating_sub(before),
                    servers: backend.watch.sockets.snapshot(),
                    leases,
                    elapsed: began.elapsed(),
                })
            }
            Err(cause) => {
                let unseen = || backend.out_of_reach(began.elapsed()).map(shared);
                Err(MongoWarmupError {
                    pool: self.name().to_owned(),
                    wanted: self.inner.floor(),
                    open: sockets,
                    elapsed: began.elapsed(),
                    cause: cause.or(last).or_else(unseen),
                })
            }
        }
    }

    /// Tries again what fails for a passing reason; `last` is the latest such failure.
    async fn warm(
        &self,
        last: &mut Option<SharedError>,
    ) -> Result<(u32, WarmupReport), SharedError> {
        let mut pause = PAUSE;
        let (backend, wanted) = loop {
            // What is in force now: another client may take over meanwhile, or other limits.
            let backend = self.inner.backend();
            let wanted = self.inner.floor();
            let outcome = backend.warm(wanted).await;
            let in_force = Arc::ptr_eq(&backend, &self.inner.backend());
            *last = None;
            match outcome {
                // More than a minimum that was lowered meanwhile is enough.
                Ok(()) if in_force && wanted >= self.inner.floor() => break (backend, wanted),
                Err(error) if in_force => {
                    let lasting = error.fault() == ConnectFault::Permanent;
                    let error = shared(error);
                    if lasting {
                        return Err(error);
                    }
                    *last = Some(error);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    if !Arc::ptr_eq(&backend, &self.inner.backend()) {
                        *last = None;
                        pause = PAUSE;
                    }
                }
                // It was about something else.
                Ok(()) | Err(_) => pause = PAUSE,
            }
        };
        let _warming = Warming::begin(&backend);
        let leases = self.inner.engine.warmup_pool().await;
        let leases = leases.map_err(|error| error.cause.clone().unwrap_or_else(|| Arc::new(error)));
        Ok((wanted, leases?))
    }
}

fn shared(error: MongoConnectError) -> SharedError {
    Arc::new(error)
}

impl Backend {
    /// Makes sure that the server can be used, and opens `wanted` sockets.
    async fn warm(&self, wanted: u32) -> Result<(), MongoConnectError> {
        self.prove().await?;
        self.open_sockets(wanted).await
    }
}

/// Why a warm-up of a closed pool does not go on.
#[derive(Debug, thiserror::Error)]
#[error("the pool is closed")]
struct Closed;

/// A warm-up that looks at the leases; ended, when dropped.
struct Warming<'b>(&'b Backend);

impl<'b> Warming<'b> {
    fn begin(backend: &'b Backend) -> Self {
        backend.warming.fetch_add(1, Ordering::AcqRel);
        Self(backend)
    }
}

impl Drop for Warming<'_> {
    fn drop(&mut self) {
        self.0.warming.fetch_sub(1, Ordering::AcqRel);
    }
}

impl std::fmt::Display for MongoWarmupReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            wanted,
            sockets,
            sockets_opened,
            elapsed,
            ..
        } = self;
        write!(
            f,
            "{sockets} sockets open ({wanted} wanted, {sockets_opened} opened) after {elapsed:.1?}"
        )
    }
}
