//! What the suite asks of a backend.

use std::future::Future;
use std::time::Duration;

use pool_core::{AcquireError, ConnectionManager, Pool, PoolBuilder, SharedError};

/// The connection of a backend.
pub(super) type Connection<B> = <<B as Backend>::Manager as ConnectionManager>::Connection;

/// A server, and a way to make pools for it.
///
/// Each test has a backend of its own; what [`at_server`](Self::at_server) counts are the
/// connections of this one, whatever else the server does.
pub trait Backend: Sync {
    /// What the pools run on.
    type Manager: ConnectionManager;

    /// A builder with the backend's own defaults. The suite sets limits and deadlines.
    fn builder(&self) -> PoolBuilder<Self::Manager>;

    /// Uses a connection: one round trip.
    ///
    /// # Errors
    ///
    /// The connection does not work any more.
    fn ping(
        &self,
        connection: &mut Connection<Self>,
    ) -> impl Future<Output = Result<(), SharedError>> + Send;

    /// How many connections of this backend's pools the server counts.
    fn at_server(&self) -> impl Future<Output = u32> + Send;

    /// How [`at_server`](Self::at_server) follows the pool's own count.
    fn sight(&self) -> Sight {
        Sight::Exact
    }

    /// Kills one connection without telling the pool; `false` where that cannot be done.
    fn kill(&self, _connection: &mut Connection<Self>) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }

    /// Makes the server unreachable for new connects, or reachable again; `false` where that
    /// cannot be done.
    fn set_reachable(&self, _reachable: bool) -> impl Future<Output = bool> + Send {
        std::future::ready(false)
    }
}

/// What the server's count says of the pool's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "there is no third case")]
pub enum Sight {
    /// Both become equal soon after each change.
    Exact,
    /// The server never has more; connections may be opened when they are first used, and kept
    /// for a while.
    AtMost,
}

/// How long anything in the suite may take.
pub(super) const DEADLINE: Duration = Duration::from_secs(30);

/// Awaits `future` until the deadline.
#[track_caller]
pub(super) fn in_time<F: Future>(what: &str, future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(DEADLINE, future).await {
            Ok(output) => output,
            Err(_) => panic!("{caller}: not within {DEADLINE:?}: {what}"),
        }
    }
}

/// Waits until `condition` holds for the pool's own counts.
#[track_caller]
pub(super) fn until<'a, M: ConnectionManager>(
    pool: &'a Pool<M>,
    what: &'a str,
    condition: impl Fn(&pool_core::PoolCounts) -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let began = tokio::time::Instant::now();
        loop {
            let counts = pool.counts();
            if condition(&counts) {
                return;
            }
            assert!(
                began.elapsed() < DEADLINE,
                "{caller}: not within {DEADLINE:?}: {what}; {counts}"
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Waits until the server counts `wanted` connections, or at most so many.
#[track_caller]
pub(super) fn server_has<'a, B: Backend>(
    backend: &'a B,
    wanted: u32,
) -> impl Future<Output = ()> + 'a {
    let exact = backend.sight() == Sight::Exact;
    watch(backend, wanted, move |seen| {
        if exact {
            seen == wanted
        } else {
            seen <= wanted
        }
    })
}

/// Waits until the server counts at most `most` connections.
#[track_caller]
pub(super) fn server_has_at_most<'a, B: Backend>(
    backend: &'a B,
    most: u32,
) -> impl Future<Output = ()> + 'a {
    watch(backend, most, move |seen| seen <= most)
}

#[track_caller]
fn watch<'a, B: Backend>(
    backend: &'a B,
    wanted: u32,
    holds: impl Fn(u32) -> bool + 'a,
) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let began = tokio::time::Instant::now();
        loop {
            let seen = backend.at_server().await;
            if holds(seen) {
                return;
            }
            assert!(
                began.elapsed() < DEADLINE,
                "{caller}: the server counts {seen} connections, not {wanted}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Builds, or says why not.
#[track_caller]
pub(super) fn build<M: ConnectionManager>(builder: PoolBuilder<M>) -> Pool<M> {
    match builder.build() {
        Ok(pool) => pool,
        Err(error) => panic!("{error}"),
    }
}

/// The error of a caller that must not be served.
#[track_caller]
pub(super) fn denied<T>(why: &str, acquired: Result<T, AcquireError>) -> AcquireError {
    match acquired {
        Ok(_) => panic!("a caller was served although {why}"),
        Err(error) => error,
    }
}

/// Closes the pool and sees that nothing is left, here or at the server.
pub(super) async fn end<B: Backend>(backend: &B, pool: Pool<B::Manager>) {
    let report = pool.close(DEADLINE).await;
    assert!(report.clean, "{report}");
    assert_eq!(pool.counts().total, 0);
    server_has(backend, 0).await;
}

/// Says that a part of a contract was not tried on this backend.
#[allow(
    clippy::print_stderr,
    reason = "a part that is skipped is skipped loudly"
)]
pub(super) fn skipped(why: &str) {
    eprintln!("SKIPPED a part of a contract on this backend: {why}");
}
