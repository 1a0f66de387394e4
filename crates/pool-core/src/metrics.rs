//! What a pool tells of itself.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::clock::between;
use crate::distributions::to_millis;
use crate::engine::{CloseReason, Gate, PoolCounts};
use crate::sizing::Brake;
use crate::{ConnectionManager, Histograms, Pool, Quantiles};

/// A pool's numbers at one moment, all read under one lock, so that they add up:
/// `total = active + idle + connecting + closing`.
///
/// Serialises with the names of the TypeScript layer for the nine fields that it had
/// (`totalConnections`, `activeConnections`, `idleConnections`, `waitingRequests`, `errors`,
/// `lastError`, `avgResponseTime`, `created`, `lastUsed`).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PoolMetrics {
    /// The name of the pool.
    pub name: String,
    /// Connections that exist in any state.
    pub total_connections: u32,
    /// Connections with a caller, or with a task that checks or cleans one for the next.
    pub active_connections: u32,
    /// Connections that wait for a caller.
    pub idle_connections: u32,
    /// Callers in the queue.
    pub waiting_requests: u32,
    /// Failed connects, checks and cleanings, and callers that got no connection.
    pub errors: u64,
    /// The text of the last failed connect, check or cleaning.
    pub last_error: Option<String>,
    /// The mean time from checkout to return, in milliseconds; zero before the first return.
    pub avg_response_time: f64,
    /// When the pool was built, in milliseconds since 1970.
    #[serde(serialize_with = "as_millis")]
    pub created: SystemTime,
    /// When a connection was last lent or returned, in milliseconds since 1970.
    #[serde(serialize_with = "as_optional_millis")]
    pub last_used: Option<SystemTime>,
    /// Connections being opened.
    pub connecting: u32,
    /// Connections being closed.
    pub closing: u32,
    /// The minimum in force.
    pub min: u32,
    /// The maximum in force: that of the limits, or the
    /// [allowance](crate::Pool::set_allowance) if that is less.
    pub max: u32,
    /// How many connections are kept warm: the sizing policy's target, or the minimum.
    pub target: u32,
    /// How far the pool may grow at this moment: the maximum, or less while the server has said that
    /// it has no room for more.
    pub ceiling: u32,
    /// Whether the pool lends.
    pub state: PoolState,
    /// Whether a warm-up has succeeded and the pool is not closed.
    pub ready: bool,
    /// For how long the oldest caller in the queue has waited, in milliseconds; zero without one.
    pub oldest_wait: f64,
    /// Connections in use × time since the pool was built, in milliseconds. The increase of this
    /// over the increase of [`open_time`](Self::open_time) is the utilisation.
    pub in_use_time: f64,
    /// Connections that existed × time since the pool was built, in milliseconds.
    pub open_time: f64,
    /// Failed connects by the code that the backend gave, such as an SQLSTATE; those without one
    /// are under `other`, and so is what comes after the first 32 codes.
    pub connect_failure_codes: BTreeMap<String, u64>,
    /// Counts since the pool was built.
    pub counters: PoolCounters,
    /// How long callers waited in line. Those that did not wait count as zero.
    pub wait: Quantiles,
    /// How long connections were held, from hand-out to return.
    pub hold: Quantiles,
    /// How long successful connects took.
    pub connect: Quantiles,
}

/// Whether a pool lends connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PoolState {
    /// It was closed and lends nothing any more.
    Closed,
    /// It lends.
    Open,
    /// It lends nothing until it is resumed.
    Paused,
}

impl PoolState {
    /// The name that metrics and reports use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Paused => "paused",
        }
    }
}

impl From<Gate> for PoolState {
    fn from(gate: Gate) -> Self {
        match gate {
            Gate::Closed => Self::Closed,
            Gate::Open => Self::Open,
            Gate::Paused => Self::Paused,
        }
    }
}

/// Counts since the pool was built.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PoolCounters {
    /// Checkouts: moves when a caller gets its connection.
    pub acquired: u64,
    /// Of these, the ones that found an idle connection and did not wait.
    pub acquired_immediately: u64,
    /// Of these, the ones whose caller gave up just when it was given a connection, which then went
    /// to the next one. While no connection is being checked or cleaned, `acquired` is `returned` +
    /// `passed_on` + the active ones.
    pub passed_on: u64,
    /// Moves when a guard comes back.
    pub returned: u64,
    /// Moves when a connect has succeeded.
    pub opened: u64,
    /// Moves when a connect has failed.
    pub connect_failures: u64,
    /// Moves when an idle connection did not pass its check.
    pub validation_failures: u64,
    /// Moves when a connection that came back dirty has been cleaned.
    pub recycled: u64,
    /// Moves when it could not be.
    pub recycle_failures: u64,
    /// Moves when the pool decides to close a connection.
    pub closed: ClosedCounters,
    /// Moves when a close has not ended in time; the connection was dropped.
    pub close_timeouts: u64,
    /// Moves when a caller keeps a connection for good.
    pub detached: u64,
    /// Moves when a caller's time is over.
    pub timeouts: u64,
    /// Moves when a waiting caller is dropped before it was told anything.
    pub cancelled: u64,
    /// Moves when the queue is full.
    pub rejected: u64,
    /// Moves when controlled delay turns a caller away.
    pub shed: u64,
    /// Moves when a caller is told at once that connecting is useless.
    pub failed_fast: u64,
    /// Moves when a checkout passes the leak threshold.
    pub leaks_suspected: u64,
    /// Moves when other limits come into force.
    pub resizes: u64,
    /// Limits and targets that moved, by direction.
    pub resized: ResizeCounters,
    /// Decisions of the sizing policy that something held back, by what did.
    pub vetoes: VetoCounters,
    /// Moves when a listener fails or panics.
    pub listener_failures: u64,
    /// Moves by the number of events that a slow listener missed.
    pub listener_missed: u64,
    /// The most connections that existed at once.
    pub peak_total: u32,
}

/// Changes of a pool's size, by what changed and in which direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ResizeCounters {
    /// A higher maximum, or with the same maximum a higher minimum, came into force.
    pub limits_up: u64,
    /// A lower one did.
    pub limits_down: u64,
    /// More connections are to be kept warm, by a sizing policy or by `set_target`.
    pub target_up: u64,
    /// Fewer are.
    pub target_down: u64,
}

/// Decisions that grew a pool less than they would have, by the [brake](Brake) that was on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct VetoCounters {
    /// Connects failed.
    pub connect_failures: u64,
    /// Growth would have bought no throughput.
    pub elasticity: u64,
    /// The server had no room.
    pub server_full: u64,
    /// The database had become slower.
    pub slow_database: u64,
}

impl VetoCounters {
    pub(crate) const fn count(&mut self, brake: Brake) {
        let counter = match brake {
            Brake::ConnectFailures => &mut self.connect_failures,
            Brake::Elasticity => &mut self.elasticity,
            Brake::ServerFull => &mut self.server_full,
            Brake::SlowDatabase => &mut self.slow_database,
        };
        *counter += 1;
    }
}

/// Closed connections by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ClosedCounters {
    /// Broken when it came back, or evicted by its guard.
    pub broken: u64,
    /// The pool was closed.
    pub closed: u64,
    /// By `soft_evict` or `evict_idle`.
    pub evicted: u64,
    /// Idle for longer than the timeout.
    pub idle: u64,
    /// It did not pass its check or its cleaning.
    pub invalid: u64,
    /// Its lifetime was over.
    pub lifetime: u64,
    /// A hook turned it down.
    pub refused: u64,
    /// The pool was made smaller.
    pub surplus: u64,
}

impl ClosedCounters {
    /// The count of one reason.
    #[must_use]
    pub const fn by(&self, reason: CloseReason) -> u64 {
        match reason {
            CloseReason::Broken => self.broken,
            CloseReason::Closed => self.closed,
            CloseReason::Evicted => self.evicted,
            CloseReason::Idle => self.idle,
            CloseReason::Invalid => self.invalid,
            CloseReason::Lifetime => self.lifetime,
            CloseReason::Refused => self.refused,
            CloseReason::Surplus => self.surplus,
        }
    }

    const fn of(closed: &[u64; CloseReason::ALL.len()]) -> Self {
        Self {
            broken: closed[CloseReason::Broken as usize],
            closed: closed[CloseReason::Closed as usize],
            evicted: closed[CloseReason::Evicted as usize],
            idle: closed[CloseReason::Idle as usize],
            invalid: closed[CloseReason::Invalid as usize],
            lifetime: closed[CloseReason::Lifetime as usize],
            refused: closed[CloseReason::Refused as usize],
            surplus: closed[CloseReason::Surplus as usize],
        }
    }

    /// The sum over all reasons.
    #[must_use]
    pub const fn total(&self) -> u64 {
        let Self {
            broken,
            closed,
            evicted,
            idle,
            invalid,
            lifetime,
            refused,
            surplus,
        } = *self;
        broken + closed + evicted + idle + invalid + lifetime + refused + surplus
    }
}

/// Connections × time in nanoseconds, as milliseconds.
#[allow(
    clippy::cast_precision_loss,
    reason = "exact to the millisecond for 285,000 connection years"
)]
fn integral_millis(nanos: u128) -> f64 {
    nanos as f64 / 1e6
}

/// A pool's numbers with the distributions behind them, read under one lock.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PoolSnapshot {
    /// The numbers.
    pub metrics: PoolMetrics,
    /// The distributions whose quantiles `metrics` holds.
    pub histograms: Histograms,
}

impl<M: ConnectionManager> Pool<M> {
    /// The pool's numbers at this moment.
    #[must_use]
    pub fn pool_metrics(&self) -> PoolMetrics {
        self.snapshot().metrics
    }

    /// The pool's numbers and distributions at this moment, read under one lock.
    #[must_use]
    pub fn snapshot(&self) -> PoolSnapshot {
        let now = self.shared.now();
        let clock = SystemTime::now();
        let listeners = self.shared.events.counters();
        let state = self.shared.state.lock();
        let (tally, flow) = (&state.tally, &state.flow);
        let histograms = Histograms::of(&state);
        let PoolCounts {
            total,
            active,
            idle,
            connecting,
            closing,
            waiting,
            min,
            max,
            ..
        } = state.counts();
        let at = |then| {
            clock
                .checked_sub(between(then, now))
                .unwrap_or(self.shared.created)
        };
        #[allow(clippy::cast_precision_loss, reason = "a mean for people")]
        let mean = |sum: u128, n: u64| {
            if n == 0 {
                0.0
            } else {
                sum as f64 / n as f64 / 1e6
            }
        };
        let mut metrics = PoolMetrics {
            name: self.name().to_owned(),
            total_connections: total,
            active_connections: active,
            idle_connections: idle,
            waiting_requests: waiting,
            errors: tally.errors(),
            last_error: tally.last_error.as_ref().map(|(_, error)| error.clone()),
            avg_response_time: mean(flow.held, flow.returns),
            created: self.shared.created,
            last_used: state.last_used().map(at),
            connecting,
            closing,
            min,
            max,
            target: state.floor(),
            ceiling: state.ceiling,
            state: state.gate.into(),
            oldest_wait: state
                .waiters
                .front()
                .map_or(0.0, |place| to_millis(now.saturating_sub(place.since))),
            in_use_time: integral_millis(state.use_integral(now)),
            open_time: integral_millis(tally.size_integral(now, total)),
            connect_failure_codes: tally.connect_failure_codes.clone(),
            ready: state.warmed && state.gate != Gate::Closed,
            counters: PoolCounters {
                acquired: state.immediate + flow.queued,
                acquired_immediately: state.immediate,
                passed_on: tally.passed_on,
                returned: flow.returns,
                opened: tally.opened,
                connect_failures: tally.connect_failures,
                validation_failures: tally.validation_failures,
                recycled: tally.recycled,
                recycle_failures: tally.recycle_failures,
                closed: ClosedCounters::of(&tally.closed),
                close_timeouts: tally.close_timeouts,
                detached: tally.detached,
                timeouts: tally.timeouts,
                cancelled: tally.cancelled,
                rejected: tally.rejected,
                shed: tally.shed,
                failed_fast: tally.failed_fast,
                leaks_suspected: tally.leaks,
                resizes: tally.resizes,
                resized: tally.resized,
                vetoes: tally.vetoes,
                listener_failures: listeners.failures.load(Ordering::Relaxed),
                listener_missed: listeners.missed.load(Ordering::Relaxed),
                peak_total: tally.peak_total,
            },
            wait: Quantiles::default(),
            hold: Quantiles::default(),
            connect: Quantiles::default(),
        };
        let immediate = state.immediate;
        drop(state);
        let histograms = histograms.with_immediate(immediate);
        metrics.wait = histograms.wait();
        metrics.hold = histograms.hold();
        metrics.connect = histograms.connect();
        PoolSnapshot {
            metrics,
            histograms,
        }
    }

    /// The distributions of wait, hold and connect time at this moment.
    #[must_use]
    pub fn histograms(&self) -> Histograms {
        let (histograms, immediate) = {
            let state = self.shared.state.lock();
            (Histograms::of(&state), state.immediate)
        };
        histograms.with_immediate(immediate)
    }
}

fn as_millis<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    serializer.serialize_u64(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[allow(clippy::ref_option, reason = "the signature that serde calls")]
fn as_optional_millis<S: serde::Serializer>(
    time: &Option<SystemTime>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => as_millis(time, serializer),
        None => serializer.serialize_none(),
    }
}
