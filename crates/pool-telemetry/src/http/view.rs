//! What the API answers, as JSON. Described field by field in `docs/api.md`.

use std::time::SystemTime;

use pool_core::sizing::{Brake, DecisionRecord, Direction, SizingMode};
use pool_core::{DynamicPoolConfig, PoolControl, PoolEvent, PoolMetrics, Quantiles, ServerState};
use serde::Serialize;

use crate::PoolReading;

/// Decisions that a pool's view shows.
const DECISIONS: usize = 20;

/// Every pool at one moment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolsView {
    /// Milliseconds since 1970.
    pub(super) at: u64,
    /// Whether there is a token with which pools can be changed.
    pub(super) operations: bool,
    pub(super) pools: Vec<PoolView>,
}

/// One pool at one moment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PoolView {
    #[serde(flatten)]
    pub(super) metrics: PoolMetrics,
    pub(super) system: &'static str,
    /// The sockets below the pool, where its connections are not sockets themselves.
    pub(super) servers: Vec<ServerState>,
    /// Between 0 and 1.
    pub(super) utilisation: f64,
    /// What happened in the second before the last full second, for charts.
    pub(super) last_second: Option<Sample>,
    /// The eight fields in force, if dynamic sizing has been configured.
    pub(super) sizing: Option<DynamicPoolConfig>,
    /// What becomes of decisions.
    pub(super) mode: SizingMode,
    /// The latest decisions of the sizing policy, newest first.
    pub(super) decisions: Vec<DecisionView>,
}

impl PoolView {
    pub(super) fn new(
        reading: &PoolReading,
        pool: &dyn PoolControl,
        last_second: Option<Sample>,
    ) -> Self {
        let decisions = pool.sizing_decisions();
        Self {
            system: reading.system(),
            servers: reading.servers().to_vec(),
            utilisation: reading.utilisation(),
            metrics: reading.metrics().clone(),
            last_second,
            sizing: pool.dynamic_pool_config(),
            mode: pool.sizing_mode(),
            decisions: decisions
                .iter()
                .rev()
                .take(DECISIONS)
                .map(DecisionView::from)
                .collect(),
        }
    }
}

/// A decision of the sizing policy.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DecisionView {
    pub(super) at: u64,
    pub(super) direction: Direction,
    pub(super) target: u32,
    /// What held growth back.
    pub(super) brake: Option<Brake>,
    /// What became of the decision.
    pub(super) mode: SizingMode,
    pub(super) reason: String,
}

impl From<&DecisionRecord> for DecisionView {
    fn from(record: &DecisionRecord) -> Self {
        Self {
            at: millis(record.at),
            direction: record.decision.direction,
            target: record.decision.target,
            brake: record.decision.brake,
            mode: record.mode,
            reason: record.decision.reason.clone(),
        }
    }
}

/// A pool in one second, for charts. Times are in milliseconds and missing when nothing was
/// recorded in it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sample {
    pub(super) at: u64,
    pub(super) active: u32,
    pub(super) idle: u32,
    pub(super) connecting: u32,
    pub(super) closing: u32,
    pub(super) waiting: u32,
    pub(super) min: u32,
    pub(super) target: u32,
    pub(super) max: u32,
    pub(super) wait_p50: Option<f64>,
    pub(super) wait_p99: Option<f64>,
    pub(super) hold_p50: Option<f64>,
    pub(super) hold_p99: Option<f64>,
    pub(super) connect_p50: Option<f64>,
    pub(super) connect_p99: Option<f64>,
    /// Checkouts per second.
    pub(super) acquired: f64,
    /// Errors per second.
    pub(super) errors: f64,
}

impl Sample {
    /// What has happened between two readings of one pool.
    pub(super) fn between(
        earlier: &PoolReading,
        later: &PoolReading,
        at: u64,
        seconds: f64,
    ) -> Self {
        let metrics = later.metrics();
        let since = later.histograms().clone().since(earlier.histograms());
        let (wait_p50, wait_p99) = middle_and_tail(since.wait());
        let (hold_p50, hold_p99) = middle_and_tail(since.hold());
        let (connect_p50, connect_p99) = middle_and_tail(since.connect());
        #[allow(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let before = earlier.metrics();
        Self {
            at,
            active: metrics.active_connections,
            idle: metrics.idle_connections,
            connecting: metrics.connecting,
            closing: metrics.closing,
            waiting: metrics.waiting_requests,
            min: metrics.min,
            target: metrics.target,
            max: metrics.max,
            wait_p50,
            wait_p99,
            hold_p50,
            hold_p99,
            connect_p50,
            connect_p99,
            acquired: rate(metrics.counters.acquired, before.counters.acquired),
            errors: rate(metrics.errors, before.errors),
        }
    }
}

fn middle_and_tail(times: Quantiles) -> (Option<f64>, Option<f64>) {
    if times.count == 0 {
        (None, None)
    } else {
        (Some(times.p50), Some(times.p99))
    }
}

/// Something that happened, in words.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventView {
    /// Counts up; the same number again means that it happened again.
    pub(super) id: u64,
    pub(super) at: u64,
    pub(super) pool: String,
    pub(super) kind: EventKind,
    pub(super) text: String,
    /// How often it happened in a row.
    pub(super) count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum EventKind {
    Error,
    Operator,
    Pool,
    Sizing,
}

/// An event in words. Connections that come and go are in the charts.
pub(super) fn words(event: &PoolEvent) -> Option<(EventKind, String)> {
    Some(match event {
        PoolEvent::BrakeChanged {
            brake: Some(brake), ..
        } => (EventKind::Sizing, format!("growth is held back: {brake}")),
        PoolEvent::BrakeChanged { brake: None, .. } => {
            let text = "growth is no longer held back".to_owned();
            (EventKind::Sizing, text)
        }
        PoolEvent::Closed => (EventKind::Pool, "closed".to_owned()),
        PoolEvent::ConnectFailed { error, .. } => {
            (EventKind::Error, format!("connect failed: {error}"))
        }
        PoolEvent::ConnectionFailed { error, .. } => {
            (EventKind::Error, format!("connection failed: {error}"))
        }
        PoolEvent::LeakSuspected(leak) => {
            let (caller, held) = (leak.caller, leak.held);
            let text = format!("leak suspected: {caller} has held a connection for {held:.1?}");
            (EventKind::Error, text)
        }
        PoolEvent::LimitsChanged { from, to } => {
            (EventKind::Sizing, format!("limits {from} → {to}"))
        }
        PoolEvent::Paused => (EventKind::Pool, "paused".to_owned()),
        PoolEvent::PoolCreated => (EventKind::Pool, "created".to_owned()),
        PoolEvent::Resumed => (EventKind::Pool, "resumed".to_owned()),
        PoolEvent::ServerCleared { address } => {
            let text = format!("the driver distrusts its connections to {address}");
            (EventKind::Error, text)
        }
        PoolEvent::ServerReady { address } => (EventKind::Pool, format!("{address} can be used")),
        PoolEvent::TargetAdvised { from, to, reason } => {
            let text = format!("advice: target {from} → {to}: {reason}");
            (EventKind::Sizing, text)
        }
        PoolEvent::TargetChanged { from, to, reason } => {
            (EventKind::Sizing, format!("target {from} → {to}: {reason}"))
        }
        _ => return None,
    })
}

/// Milliseconds since 1970.
pub(super) fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
