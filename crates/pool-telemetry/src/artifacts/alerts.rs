//! The alerts, as data.

use super::{BY, POOL, connections, name};

/// An alert on a pool.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Alert {
    /// Its name, and the name of its section in the runbook.
    pub name: &'static str,
    /// Who has to look, and when.
    pub severity: Severity,
    /// What is wrong, after the words "Pool x of y".
    pub summary: &'static str,
    /// How many seconds it has to hold.
    pub(super) holds: f64,
    /// The expression, given how seconds are written.
    pub(super) expression: fn(&Times) -> String,
    /// Labels that the expression keeps beside those of the pool.
    pub(super) labels: &'static [(&'static str, &'static str)],
}

/// Who has to look, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Severity {
    /// Somebody, now: callers are hurt.
    Page,
    /// Somebody, this week: callers will be.
    Ticket,
}

impl Severity {
    /// The value of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Ticket => "ticket",
        }
    }
}

/// How long things are in the rules: as they are, or shorter for a test that cannot wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) scale: f64,
}

impl Times {
    /// So many seconds as Prometheus writes them; never less than two samples of a second each.
    pub(super) fn of(self, seconds: f64) -> String {
        if seconds == 0.0 {
            return "0s".to_owned();
        }
        let seconds = (seconds * self.scale).max(3.0).round();
        if seconds % 3_600.0 == 0.0 {
            format!("{}h", seconds / 3_600.0)
        } else if seconds % 60.0 == 0.0 {
            format!("{}m", seconds / 60.0)
        } else {
            format!("{seconds}s")
        }
    }
}

/// The 99th percentile of waits of one pool, as recorded series: their names and seconds.
pub(super) const WAIT_P99: [(&str, f64); 2] = [
    ("pool:wait_seconds:p99_2m", 120.0),
    ("pool:wait_seconds:p99_5m", 300.0),
];

pub(super) fn wait_p99(times: Times, seconds: f64) -> String {
    let (wait, window) = (name("db.client.connection.wait_time"), times.of(seconds));
    format!("histogram_quantile(0.99, sum by ({BY}, le) (rate({wait}_bucket[{window}])))")
}

/// The part of all callers that waited in vain, over a window.
fn in_vain(window: &str) -> String {
    let failed = format!(
        "sum by ({BY}) (rate({}[{window}]))",
        name("db.client.connection.timeouts")
    );
    let served = format!(
        "sum by ({BY}) (rate({}_count[{window}]))",
        name("db.client.connection.wait_time")
    );
    format!("{failed} / ({failed} + {served})")
}

/// The mean time held over a window, of one pool.
fn mean_hold(window: &str, offset: &str) -> String {
    let held = name("db.client.connection.use_time");
    format!(
        "sum by ({BY}) (rate({held}_sum[{window}]{offset})) \
         / sum by ({BY}) (rate({held}_count[{window}]{offset}))"
    )
}

/// Every alert, those that page first.
///
/// None fires on what lasted for ten seconds: what an expression looks back over is shorter than the
/// time for which it has to hold. Where a longer look is wanted, a short one stands beside it.
pub const ALERTS: &[Alert] = &[
    Alert {
        name: "PoolExhausted",
        severity: Severity::Page,
        summary: "has callers waiting and may not grow",
        holds: 60.0,
        expression: |times| {
            let (pending, limit) = (
                name("db.client.connection.pending_requests"),
                name("pool.size.limit"),
            );
            let (window, used) = (times.of(60.0), connections("used", ""));
            format!(
                "min by ({BY}) (min_over_time({pending}[{window}])) > 0\n\
                 and on ({BY})\n\
                 sum by ({BY}) (max_over_time({used}[{window}])) >= on ({BY}) sum by ({BY}) ({limit})"
            )
        },
        labels: &[],
    },
    Alert {
        name: "PoolAcquireTimeouts",
        severity: Severity::Page,
        summary: "lets more than one caller in a hundred wait in vain",
        holds: 120.0,
        expression: |times| {
            let (short, long) = (in_vain(&times.of(60.0)), in_vain(&times.of(300.0)));
            format!("{long} > 0.01\nand on ({BY})\n{short} > 0.01")
        },
        labels: &[],
    },
    Alert {
        name: "PoolConnectFailures",
        severity: Severity::Page,
        summary: "cannot open connections",
        holds: 120.0,
        expression: |times| {
            let (failures, window) = (name("pool.connect_failures"), times.of(60.0));
            format!("sum by ({BY}, code) (rate({failures}[{window}])) > 0")
        },
        labels: &[("code", "57P03")],
    },
    Alert {
        name: "PoolWaitHigh",
        severity: Severity::Ticket,
        summary: "lets one caller in a hundred wait for more than 250 ms",
        holds: 300.0,
        expression: |_| {
            let [(short, _), (long, _)] = WAIT_P99;
            format!("{long} > 0.25\nand on ({BY})\n{short} > 0.25")
        },
        labels: &[],
    },
    Alert {
        name: "PoolPinnedAtMax",
        severity: Severity::Ticket,
        summary: "has been kept at its maximum",
        holds: 900.0,
        expression: |_| {
            let (target, max, min) = (
                name("pool.size.target"),
                name("db.client.connection.max"),
                name("pool.size.min"),
            );
            format!(
                "sum by ({BY}) ({target}) >= on ({BY}) sum by ({BY}) ({max})\n\
                 and on ({BY})\n\
                 sum by ({BY}) ({min}) < on ({BY}) sum by ({BY}) ({max})"
            )
        },
        labels: &[],
    },
    Alert {
        name: "PoolGrowthHeldBack",
        severity: Severity::Ticket,
        summary: "may not grow to its maximum: the server has no room, or growth buys nothing",
        holds: 600.0,
        expression: |_| {
            let (limit, max) = (name("pool.size.limit"), name("db.client.connection.max"));
            format!("sum by ({BY}) ({limit}) < on ({BY}) sum by ({BY}) ({max})")
        },
        labels: &[],
    },
    Alert {
        name: "PoolHoldTimeRegression",
        severity: Severity::Ticket,
        summary: "holds connections three times as long as two hours ago: a slower database, or slower code",
        holds: 600.0,
        expression: |times| {
            let (now, before) = (times.of(300.0), times.of(3_600.0));
            let then = mean_hold(&before, &format!(" offset {before}"));
            format!("({})\n> 3 *\n({then})", mean_hold(&now, ""))
        },
        labels: &[],
    },
    Alert {
        name: "PoolFlapping",
        severity: Severity::Ticket,
        summary: "grows and shrinks again and again",
        holds: 600.0,
        expression: |times| {
            let (resizes, window) = (name("pool.resizes"), times.of(300.0));
            // More than one: a single step is extrapolated to a little more than it is.
            let moved = |direction: &str| {
                format!(
                    "sum by ({BY}) (increase({resizes}{{reason=\"target\", \
                     direction=\"{direction}\"}}[{window}])) > 1.5"
                )
            };
            format!("{}\nand on ({BY})\n{}", moved("up"), moved("down"))
        },
        labels: &[],
    },
    Alert {
        name: "PoolLeakSuspected",
        severity: Severity::Ticket,
        summary: "has lent connections of which none has come back",
        holds: 600.0,
        expression: |times| {
            let (held, window) = (name("db.client.connection.use_time"), times.of(600.0));
            let used = connections("used", "");
            format!(
                "sum by ({BY}) ({used}) > 0\n\
                 and on ({BY})\n\
                 sum by ({BY}) (increase({held}_count[{window}])) == 0"
            )
        },
        labels: &[],
    },
    Alert {
        name: "PoolPaused",
        severity: Severity::Ticket,
        summary: "has been paused for ten minutes",
        holds: 600.0,
        expression: |_| {
            let state = name("pool.state");
            format!("max by ({BY}) ({state}{{state=\"paused\"}}) == 1")
        },
        labels: &[],
    },
];

impl Alert {
    /// The alert's sentence, with templates or values for the labels.
    pub(super) fn sentence(&self, pool: &str, instance: &str) -> String {
        let Self { summary, .. } = self;
        format!("Pool {pool} of {instance} {summary}.")
    }

    pub(super) fn template(&self) -> String {
        self.sentence(
            &format!("{{{{ $labels.{POOL} }}}}"),
            "{{ $labels.instance }}",
        )
    }

    /// Where to read on: an address, since whoever is paged has no copy of the repository at hand.
    #[must_use]
    pub fn runbook(&self) -> String {
        let repository = env!("CARGO_PKG_REPOSITORY");
        let section = self.name.to_lowercase();
        format!("{repository}/blob/main/docs/runbook.md#{section}")
    }
}
