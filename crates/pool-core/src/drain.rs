//! The end of a pool.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::shared::Shared;
use crate::{ConnectionManager, HeldSince, Pool};

/// How a pool ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DrainReport {
    /// The name of the pool.
    pub pool: String,
    /// Whether every connection was closed in time.
    pub clean: bool,
    /// How many callers were waiting and were told that the pool is closed.
    pub refused: u32,
    /// How many connections were closed by the end.
    pub closed: u32,
    /// Connections that were still in use when the time was over, longest first. They are closed
    /// when they come back.
    pub in_use: Vec<HeldSince>,
    /// Connections that were still being opened, checked, cleaned or closed.
    pub unfinished: u32,
    /// How long it took.
    pub elapsed: Duration,
}

impl<M: ConnectionManager> Pool<M> {
    /// Closes the pool: callers in the queue are refused, idle connections are closed at once,
    /// those in use when they come back, and all that is waited for until `deadline` is over.
    ///
    /// Can be called again, for instance with more time.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the pool stays closed and goes on closing its connections.
    pub async fn close(&self, deadline: Duration) -> DrainReport {
        let began = tokio::time::Instant::now();
        let (refused, existed) = self.shared.begin_close();
        let gone = async {
            loop {
                let mut changed = std::pin::pin!(self.shared.changed.notified());
                changed.as_mut().enable();
                if self.shared.state.lock().total == 0 {
                    break;
                }
                changed.await;
            }
            // Upkeep and sizing end by themselves once the pool is closed.
            self.shared.tasks.close();
            self.shared.tasks.wait().await;
        };
        let in_time = tokio::time::timeout(deadline, gone).await.is_ok();
        let now = self.shared.now();
        let (mut in_use, total, lent) = {
            let state = self.shared.state.lock();
            let in_use: Vec<_> = state
                .slots
                .holders()
                .map(|holder| crate::shared::held_since(holder, now))
                .collect();
            (in_use, state.total, state.flow.in_use)
        };
        in_use.sort_by_key(|holder| std::cmp::Reverse(holder.held));
        DrainReport {
            pool: self.name().to_owned(),
            clean: in_time,
            refused,
            closed: existed.saturating_sub(total),
            unfinished: total - lent,
            in_use,
            elapsed: began.elapsed(),
        }
    }
}

impl<M: ConnectionManager> Shared<M> {
    /// Closes the pool without waiting; returns how many callers were refused and how many
    /// connections existed.
    pub(crate) fn begin_close(self: &Arc<Self>) -> (u32, u32) {
        self.closed.cancel();
        self.step(|state, _, fx| {
            let existed = state.total;
            let refused = state.close(fx);
            self.shut.store(true, Ordering::Release);
            (refused, existed)
        })
    }
}

impl std::fmt::Display for DrainReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            pool,
            clean,
            refused,
            closed,
            in_use,
            unfinished,
            elapsed,
        } = self;
        write!(
            f,
            "pool `{pool}`: {closed} connections closed in {elapsed:.1?}"
        )?;
        if *refused > 0 {
            write!(f, ", {refused} waiting callers refused")?;
        }
        if !clean {
            write!(
                f,
                "; {} still in use, {unfinished} unfinished",
                in_use.len()
            )?;
            for HeldSince { caller, held } in in_use.iter().take(5) {
                write!(f, "; {caller} for {held:.1?}")?;
            }
        }
        Ok(())
    }
}
