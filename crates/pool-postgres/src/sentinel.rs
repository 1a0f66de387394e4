//! What connections tell their pool about the errors that callers meet on them.

use std::sync::{OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::pool::Inner;

/// The pool is not evicted twice within this time: a server that stays read-only would otherwise
/// cost a reconnect for each write that it refuses.
const QUIET: Duration = Duration::from_secs(1);

/// A server is not asked what it is twice within this time, however many transactions come to
/// nothing.
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Known to the manager and to each of its connections; knows the pool without keeping it alive.
#[derive(Debug, Default)]
pub(crate) struct Sentinel {
    pool: OnceLock<Weak<Inner>>,
    epoch: Mutex<Epoch>,
    asked: Mutex<Option<Instant>>,
}

/// Counts the failovers seen.
#[derive(Debug, Default)]
struct Epoch {
    number: u64,
    began: Option<Instant>,
}

impl Sentinel {
    pub(crate) fn watch(&self, pool: Weak<Inner>) {
        self.pool
            .set(pool)
            .expect("a sentinel is given to one pool, once");
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.lock().number
    }

    /// Whether it is time to ask a server what it is; who is told so asks it.
    pub(crate) fn may_ask(&self) -> bool {
        let mut asked = self.asked.lock();
        let due = asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN);
        if due {
            *asked = Some(Instant::now());
        }
        due
    }

    /// A connection of `epoch` has met a server that cannot write. The first of its epoch that
    /// says so has all connections replaced, none of them interrupted.
    pub(crate) fn read_only(&self, epoch: u64) {
        {
            let mut current = self.epoch.lock();
            let quiet = current.began.is_some_and(|began| began.elapsed() < QUIET);
            if current.number != epoch || quiet {
                return;
            }
            current.number += 1;
            current.began = Some(Instant::now());
        }
        let Some(pool) = self.pool.get().and_then(Weak::upgrade) else {
            return;
        };
        tracing::warn!(
            pool = pool.engine.name(),
            "the server is read-only: all connections are replaced"
        );
        pool.engine.soft_evict();
    }
}
