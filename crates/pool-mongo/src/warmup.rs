//! Opening the minimum before the first caller comes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pool_core::{ConnectFault, SharedError, WarmupReport};
use tokio::time::Instant;

use crate::backend::Backend;
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
    /// First comes one authenticated round trip, so that a wrong password or an unreachable host
    /// ends here, with its cause. Then as many commands as sockets are wanted are sent at once
    /// that the server answers late: the driver opens exactly those that are missing, on the
    /// primary, or on the servers of the URI's read preference. With a minimum of 0 the round
    /// trip is all.
    ///
    /// What fails for a passing reason is tried again until `acquire_timeout` is over: a server
    /// that is not up yet, an election, a member that has just joined and refuses a client because
    /// it cannot check the time that this has heard elsewhere (code 211, `KeyNotFound`).
    ///
    /// The driver's own `warm_connection_pool` is not used: it does nothing before the first
    /// heartbeat, reports no error, and waits for ever when a socket cannot be authenticated.
    ///
    /// # Errors
    ///
    /// `acquire_timeout` is over, the pool is closed, or the server cannot be used for a reason that
    /// waiting does not mend: it turns the user down, say. The error says how far it came, and why
    /// it got no further.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what has been opened stays, and the pool does not turn ready.
    pub async fn warmup_pool(&self) -> Result<MongoWarmupReport, MongoWarmupError> {
        let began = Instant::now();
        let backend = self.inner.backend();
        let wanted = self.inner.floor();
        let before = backend.open_now();
        let failed = |cause: Option<SharedError>| MongoWarmupError {
            pool: self.name().to_owned(),
            wanted,
            open: backend.open_now(),
            elapsed: began.elapsed(),
            cause,
        };
        let shared = |error: MongoConnectError| -> SharedError { Arc::new(error) };
        let mut passing = None;
        let work = async {
            let mut pause = PAUSE;
            loop {
                if self.is_closed() {
                    return Err(failed(None));
                }
                let Err(error) = backend.warm(wanted, &mut passing).await else {
                    break;
                };
                if error.fault() == ConnectFault::Permanent {
                    return Err(failed(Some(shared(error))));
                }
                passing = Some(error);
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            let _warming = Warming::begin(&backend);
            self.inner.engine.warmup_pool().await.map_err(|error| {
                let cause = error.cause.clone();
                failed(Some(cause.unwrap_or_else(|| Arc::new(error))))
            })
        };
        let limit = self.inner.settings().acquire_timeout;
        let leases = match tokio::time::timeout(limit, work).await {
            Ok(leases) => leases?,
            Err(_elapsed) => return Err(failed(passing.map(shared))),
        };
        self.inner.warmed.store(true, Ordering::Release);
        let sockets = backend.open_now();
        Ok(MongoWarmupReport {
            wanted,
            sockets,
            sockets_opened: sockets.saturating_sub(before),
            servers: backend.watch.sockets.snapshot(),
            leases,
            elapsed: began.elapsed(),
        })
    }
}

impl Backend {
    /// Makes sure that the server can be used, and opens `wanted` sockets. An earlier failure is
    /// forgotten once the server has answered: what comes after that has reasons of its own.
    async fn warm(
        &self,
        wanted: u32,
        failed: &mut Option<MongoConnectError>,
    ) -> Result<(), MongoConnectError> {
        self.prove().await?;
        *failed = None;
        self.open_sockets(wanted).await
    }
}

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
