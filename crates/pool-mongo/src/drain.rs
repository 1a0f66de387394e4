//! The end of a pool.

use std::time::Duration;

use mongodb::Client;
use pool_core::DrainReport;
use tokio::time::{Instant, timeout_at};

use crate::pool::MongoPool;

/// How a pool ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MongoDrainReport {
    /// How the leases came back.
    pub leases: DrainReport,
    /// Whether every lease came back and the driver ended its sessions, cursors and sockets in
    /// time.
    pub clean: bool,
    /// Whether the driver was shut down.
    pub shut_down: bool,
    /// Sockets that were still open when the time was over.
    pub sockets_open: u32,
    /// How long it took, all together.
    pub elapsed: Duration,
}

impl MongoPool {
    /// Closes the pool: callers in the queue are refused, leases are waited for, then the driver
    /// is shut down, all until `deadline` is over.
    ///
    /// Operations on handles that outlive their lease fail from then on with the driver's
    /// "client has been shut down". Cursors and sessions that are still alive are waited for while
    /// there is time, and then cut off.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the pool stays closed. Call it again to shut the driver down.
    pub async fn close(&self, deadline: Duration) -> MongoDrainReport {
        let began = Instant::now();
        self.inner.stop.cancel();
        self.inner.tasks.close();
        let leases = self.inner.engine.close(deadline).await;
        let end = after(deadline);
        let backend = self.inner.backend();
        let (in_time, shut_down) = shut_down(&backend.client, leases.clean, end).await;
        let tasks_ended = timeout_at(end, self.inner.tasks.wait()).await.is_ok();
        MongoDrainReport {
            clean: leases.clean && in_time && tasks_ended,
            leases,
            shut_down,
            sockets_open: backend.open_now(),
            elapsed: began.elapsed(),
        }
    }
}

/// The moment that is `time` from now, or as good as never where the clock does not reach so far.
pub(crate) fn after(time: Duration) -> Instant {
    const NEVER: Duration = Duration::from_secs(60 * 60 * 24 * 365 * 30);
    let now = Instant::now();
    now.checked_add(time).unwrap_or_else(|| now + NEVER)
}

/// Shuts a client down until `end`; what it waits for is cut off a little earlier.
///
/// Returns whether nothing had to be cut off, and whether the client is shut down.
pub(crate) async fn shut_down(client: &Client, graceful: bool, end: Instant) -> (bool, bool) {
    let left = end.saturating_duration_since(Instant::now());
    if graceful {
        let patience = Instant::now() + left.mul_f64(0.8);
        let shutdown = client.clone().shutdown();
        if timeout_at(patience, shutdown).await.is_ok() {
            return (true, true);
        }
    }
    let shutdown = client.clone().shutdown().immediate(true);
    (false, timeout_at(end, shutdown).await.is_ok())
}

impl std::fmt::Display for MongoDrainReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.leases)?;
        if !self.shut_down {
            write!(f, "; the driver was not shut down in time")?;
        } else if !self.clean {
            write!(f, "; the driver was cut off")?;
        }
        if self.sockets_open > 0 {
            write!(f, "; {} sockets open", self.sockets_open)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_beyond_the_clock_is_far_away() {
        assert!(after(Duration::MAX) > Instant::now() + Duration::from_secs(1 << 29));
    }
}
