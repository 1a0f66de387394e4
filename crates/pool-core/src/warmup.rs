//! Opening the minimum before the first caller comes.

use std::sync::Arc;
use std::time::Duration;

use crate::engine::Gate;
use crate::error::{SharedError, WarmupError};
use crate::{ConnectFault, ConnectionManager, Pool};

/// What a warm-up did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WarmupReport {
    /// How many connections were wanted: the minimum, or the target of a sizing policy.
    pub wanted: u32,
    /// How many are open.
    pub open: u32,
    /// How many were opened by this warm-up.
    pub opened: u64,
    /// How many were checked by this warm-up with success, new ones included.
    pub validated: u64,
    /// How many connects failed on the way.
    pub failures: u64,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a look at the pool during warm-up says.
enum Look {
    Done {
        open: u32,
    },
    NotYet,
    Failed {
        open: u32,
        cause: Option<SharedError>,
    },
}

impl<M: ConnectionManager> Pool<M> {
    /// Opens the minimum, `max_connecting` at a time, checks every idle connection, and then
    /// turns [`ready`](Self::ready) true.
    ///
    /// Connects that fail for a passing reason are repeated until `acquire_timeout` is over.
    ///
    /// # Errors
    ///
    /// The time was over, the pool was closed, or the server turns connects down for good.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what has been opened stays, what is being opened goes on, and the pool does
    /// not turn ready.
    pub async fn warmup_pool(&self) -> Result<WarmupReport, WarmupError> {
        let began = tokio::time::Instant::now();
        let (opened, failures, validated, round) = {
            let mut state = self.shared.state.lock();
            state.warmups += 1;
            (
                state.tally.opened,
                state.tally.connect_failures,
                state.tally.own_checks_passed,
                state.warmups,
            )
        };
        // New connections are checked as well: a proxy can finish a handshake for a server that is
        // not there.
        let since = self.shared.now();
        let timeout = self.runtime_settings().acquire_timeout;
        loop {
            let changed = self.shared.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            let look = self.shared.step(|state, now, fx| {
                let mut at = 0;
                // A few at a time, so that callers find connections meanwhile.
                while at < state.idle.len() && state.validating < state.rules.max_connecting {
                    if state.idle[at].checked_in < round {
                        let slot = state.idle.remove(at);
                        state.validate_for_upkeep(slot, fx);
                    } else {
                        at += 1;
                    }
                }
                state.grow(now, fx);
                let unchecked = state.idle.iter().any(|slot| slot.checked_in < round);
                let open = state.open();
                let reached = open >= state.wanted() && state.own_checks == 0 && !unchecked;
                let permanent = state.last_failure.as_ref().filter(|failure| {
                    failure.at >= since && failure.fault == ConnectFault::Permanent
                });
                if state.gate == Gate::Closed {
                    Look::Failed { open, cause: None }
                } else if reached {
                    state.warmed = true;
                    Look::Done { open }
                } else if let Some(failure) = permanent {
                    Look::Failed {
                        open,
                        cause: Some(Arc::clone(&failure.error)),
                    }
                } else {
                    Look::NotYet
                }
            });
            match look {
                Look::Done { open } => {
                    let state = self.shared.state.lock();
                    return Ok(WarmupReport {
                        wanted: state.wanted(),
                        open,
                        opened: state.tally.opened - opened,
                        validated: state.tally.own_checks_passed - validated,
                        failures: state.tally.connect_failures - failures,
                        elapsed: began.elapsed(),
                    });
                }
                Look::Failed { open, cause } => return Err(self.warmup_failed(open, began, cause)),
                Look::NotYet => {}
            }
            let left = timeout.saturating_sub(began.elapsed());
            if tokio::time::timeout(left, changed).await.is_err() {
                let (open, cause) = {
                    let state = self.shared.state.lock();
                    let cause = state
                        .last_failure
                        .as_ref()
                        .map(|failure| Arc::clone(&failure.error));
                    (state.open(), cause)
                };
                return Err(self.warmup_failed(open, began, cause));
            }
        }
    }

    fn warmup_failed(
        &self,
        open: u32,
        began: tokio::time::Instant,
        cause: Option<SharedError>,
    ) -> WarmupError {
        WarmupError {
            pool: self.name().to_owned(),
            wanted: self.shared.state.lock().wanted(),
            ready: open,
            elapsed: began.elapsed(),
            cause,
        }
    }
}
