//! Every metric of a pool, in one place. The text for Prometheus, the instruments of OpenTelemetry,
//! the dashboard, the alert rules and the tables in the documentation are made from it.

use std::time::Duration;

use pool_core::{CloseReason, PoolState};

use crate::metric::{Attribute, Kind, Metric, Unit};

/// The upper bounds of the histograms' buckets, from 100 µs to 30 s.
///
/// Most waits and many operations take less than the 5 ms at which the usual buckets begin.
pub const BUCKETS: [Duration; 17] = [
    Duration::from_micros(100),
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_micros(2_500),
    Duration::from_millis(5),
    Duration::from_millis(10),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2_500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

const CONNECTIONS: Unit = Unit::Of("{connection}");
const REQUESTS: Unit = Unit::Of("{request}");

const STATES: &[Attribute] = &[Attribute {
    name: "db.client.connection.state",
    values: &["idle", "used"],
}];

const CLOSE_REASONS: &[Attribute] = &[Attribute {
    name: "reason",
    values: &[
        "broken", "closed", "evicted", "idle", "invalid", "lifetime", "refused", "surplus",
    ],
}];

const REFUSALS: &[Attribute] = &[Attribute {
    name: "reason",
    values: &["connect", "queue_full", "shed"],
}];

const CODES: &[Attribute] = &[Attribute {
    name: "code",
    values: &["other"],
}];

const RESIZES: &[Attribute] = &[
    Attribute {
        name: "direction",
        values: &["down", "up"],
    },
    Attribute {
        name: "reason",
        values: &["limits", "target"],
    },
];

const BRAKES: &[Attribute] = &[Attribute {
    name: "reason",
    values: &[
        "connect_failures",
        "elasticity",
        "server_full",
        "slow_database",
    ],
}];

const POOL_STATES: &[Attribute] = &[Attribute {
    name: "state",
    values: &["closed", "open", "paused"],
}];

/// The names of servers are known only when there are some.
const SERVERS: &[Attribute] = &[Attribute {
    name: "server",
    values: &[],
}];

const SOCKETS: Unit = Unit::Of("{socket}");

/// Every metric, those of OpenTelemetry's semantic conventions first.
pub const METRICS: &[Metric] = &[
    Metric::new(
        "db.client.connection.count",
        Kind::UpDownCounter,
        CONNECTIONS,
        "Open connections by state.",
        |reading, points| {
            points.number_of(&["idle"], reading.metrics().idle_connections);
            points.number_of(&["used"], reading.metrics().active_connections);
        },
    )
    .by(STATES)
    // The suffix `_count` belongs to histograms and summaries there.
    .called("db_client_connections"),
    Metric::new(
        "db.client.connection.idle.max",
        Kind::UpDownCounter,
        CONNECTIONS,
        "The most connections that may be idle: the maximum in force.",
        |reading, points| points.number(reading.metrics().max),
    ),
    Metric::new(
        "db.client.connection.idle.min",
        Kind::UpDownCounter,
        CONNECTIONS,
        "The connections that are kept without demand: the minimum in force.",
        |reading, points| points.number(reading.metrics().min),
    ),
    Metric::new(
        "db.client.connection.max",
        Kind::UpDownCounter,
        CONNECTIONS,
        "The most connections that may be open: the maximum in force.",
        |reading, points| points.number(reading.metrics().max),
    ),
    Metric::new(
        "db.client.connection.pending_requests",
        Kind::UpDownCounter,
        REQUESTS,
        "Callers that wait for a connection.",
        |reading, points| points.number(reading.metrics().waiting_requests),
    ),
    Metric::new(
        "db.client.connection.timeouts",
        Kind::Counter,
        Unit::Of("{timeout}"),
        "Callers whose time was over before they got a connection.",
        |reading, points| points.count(reading.metrics().counters.timeouts),
    ),
    Metric::new(
        "db.client.connection.create_time",
        Kind::Histogram,
        Unit::Seconds,
        "How long it took to open a connection.",
        |reading, points| points.times(|bounds| reading.histograms().connect_buckets(bounds)),
    ),
    Metric::new(
        "db.client.connection.wait_time",
        Kind::Histogram,
        Unit::Seconds,
        "How long callers waited for a connection that they got.",
        |reading, points| points.times(|bounds| reading.histograms().wait_buckets(bounds)),
    ),
    Metric::new(
        "db.client.connection.use_time",
        Kind::Histogram,
        Unit::Seconds,
        "How long connections were held, from checkout to return.",
        |reading, points| points.times(|bounds| reading.histograms().hold_buckets(bounds)),
    ),
    Metric::new(
        "pool.size.min",
        Kind::UpDownCounter,
        CONNECTIONS,
        "The minimum in force.",
        |reading, points| points.number(reading.metrics().min),
    ),
    Metric::new(
        "pool.size.target",
        Kind::UpDownCounter,
        CONNECTIONS,
        "The connections that are kept warm: the sizing policy's target, or the minimum.",
        |reading, points| points.number(reading.metrics().target),
    ),
    Metric::new(
        "pool.size.limit",
        Kind::UpDownCounter,
        CONNECTIONS,
        "How far the pool may grow now: the maximum, or less while the server has no room.",
        |reading, points| points.number(reading.metrics().ceiling),
    ),
    Metric::new(
        "pool.connections.connecting",
        Kind::UpDownCounter,
        CONNECTIONS,
        "Connections being opened.",
        |reading, points| points.number(reading.metrics().connecting),
    ),
    Metric::new(
        "pool.connections.closing",
        Kind::UpDownCounter,
        CONNECTIONS,
        "Connections being closed.",
        |reading, points| points.number(reading.metrics().closing),
    ),
    Metric::new(
        "pool.connections.opened",
        Kind::Counter,
        CONNECTIONS,
        "Connections that were opened.",
        |reading, points| points.count(reading.metrics().counters.opened),
    ),
    Metric::new(
        "pool.connections.closed",
        Kind::Counter,
        CONNECTIONS,
        "Connections that the pool closed, by reason.",
        |reading, points| {
            for reason in CloseReason::ALL {
                let closed = reading.metrics().counters.closed.by(reason);
                points.count_of(&[reason.as_str()], closed);
            }
        },
    )
    .by(CLOSE_REASONS),
    Metric::new(
        "pool.connections.in_use_time",
        Kind::Counter,
        Unit::Seconds,
        "Connections in use, integrated over time.",
        |reading, points| points.number(reading.metrics().in_use_time / 1e3),
    ),
    Metric::new(
        "pool.connections.open_time",
        Kind::Counter,
        Unit::Seconds,
        "Connections that exist, integrated over time.",
        |reading, points| points.number(reading.metrics().open_time / 1e3),
    ),
    Metric::new(
        "pool.utilisation",
        Kind::Gauge,
        Unit::Ratio,
        "The part of the connections that was in use, averaged over the last ten seconds or more.",
        |reading, points| points.number(reading.utilisation()),
    ),
    Metric::new(
        "pool.connect_failures",
        Kind::Counter,
        Unit::Of("{failure}"),
        "Failed connects by code: an SQLSTATE, or a word for what went wrong.",
        |reading, points| {
            let codes = &reading.metrics().connect_failure_codes;
            if !codes.contains_key("other") {
                points.count_of(&["other"], 0);
            }
            for (code, failures) in codes {
                points.count_of(&[code], *failures);
            }
        },
    )
    .by(CODES),
    Metric::new(
        "pool.validation_failures",
        Kind::Counter,
        Unit::Of("{failure}"),
        "Idle connections that did not pass their check.",
        |reading, points| points.count(reading.metrics().counters.validation_failures),
    ),
    Metric::new(
        "pool.waiters.oldest_age",
        Kind::Gauge,
        Unit::Seconds,
        "For how long the oldest caller in the queue has waited.",
        |reading, points| points.number(reading.metrics().oldest_wait / 1e3),
    ),
    Metric::new(
        "pool.acquire.immediate",
        Kind::Counter,
        REQUESTS,
        "Checkouts that found an idle connection and did not wait.",
        |reading, points| points.count(reading.metrics().counters.acquired_immediately),
    ),
    Metric::new(
        "pool.acquire.cancelled",
        Kind::Counter,
        REQUESTS,
        "Callers that gave up before they got a connection.",
        |reading, points| points.count(reading.metrics().counters.cancelled),
    ),
    Metric::new(
        "pool.acquire.refused",
        Kind::Counter,
        REQUESTS,
        "Callers that were turned away at once: a full queue, controlled delay, a server that \
         turns connects down for good.",
        |reading, points| {
            let counters = &reading.metrics().counters;
            points.count_of(&["connect"], counters.failed_fast);
            points.count_of(&["queue_full"], counters.rejected);
            points.count_of(&["shed"], counters.shed);
        },
    )
    .by(REFUSALS),
    Metric::new(
        "pool.resizes",
        Kind::Counter,
        Unit::Of("{resize}"),
        "Changes of the limits and of the target, by direction.",
        |reading, points| {
            let resized = &reading.metrics().counters.resized;
            points.count_of(&["down", "limits"], resized.limits_down);
            points.count_of(&["up", "limits"], resized.limits_up);
            points.count_of(&["down", "target"], resized.target_down);
            points.count_of(&["up", "target"], resized.target_up);
        },
    )
    .by(RESIZES),
    Metric::new(
        "pool.growth_vetoes",
        Kind::Counter,
        Unit::Of("{decision}"),
        "Decisions of the sizing policy that something held back.",
        |reading, points| {
            let vetoes = &reading.metrics().counters.vetoes;
            points.count_of(&["connect_failures"], vetoes.connect_failures);
            points.count_of(&["elasticity"], vetoes.elasticity);
            points.count_of(&["server_full"], vetoes.server_full);
            points.count_of(&["slow_database"], vetoes.slow_database);
        },
    )
    .by(BRAKES),
    Metric::new(
        "pool.leaks",
        Kind::Counter,
        CONNECTIONS,
        "Checkouts that lasted longer than the leak threshold.",
        |reading, points| points.count(reading.metrics().counters.leaks_suspected),
    ),
    Metric::new(
        "pool.state",
        Kind::Gauge,
        Unit::Of("{pool}"),
        "One for the state that the pool is in, zero for the others.",
        |reading, points| {
            for state in [PoolState::Closed, PoolState::Open, PoolState::Paused] {
                let is = reading.metrics().state == state;
                points.number_of(&[state.as_str()], u8::from(is));
            }
        },
    )
    .by(POOL_STATES),
    Metric::new(
        "pool.ready",
        Kind::Gauge,
        Unit::Of("{pool}"),
        "One once the pool has been warmed up and while it is not closed.",
        |reading, points| points.number(u8::from(reading.metrics().ready)),
    ),
    Metric::new(
        "pool.server.sockets.open",
        Kind::UpDownCounter,
        SOCKETS,
        "Open sockets below the pool to each server, in use or not: the driver's own.",
        |reading, points| {
            for server in reading.servers() {
                points.number_of(&[&server.address], server.open);
            }
        },
    )
    .by(SERVERS),
    Metric::new(
        "pool.server.sockets.used",
        Kind::UpDownCounter,
        SOCKETS,
        "Of the open sockets to each server, the ones that an operation uses.",
        |reading, points| {
            for server in reading.servers() {
                points.number_of(&[&server.address], server.in_use);
            }
        },
    )
    .by(SERVERS),
    Metric::new(
        "pool.server.sockets.connecting",
        Kind::UpDownCounter,
        SOCKETS,
        "Sockets to each server that are being connected and authenticated.",
        |reading, points| {
            for server in reading.servers() {
                points.number_of(&[&server.address], server.connecting);
            }
        },
    )
    .by(SERVERS),
    Metric::new(
        "pool.server.ready",
        Kind::Gauge,
        Unit::Of("{server}"),
        "One while the driver lends sockets to the server, zero while it has paused them.",
        |reading, points| {
            for server in reading.servers() {
                points.number_of(&[&server.address], u8::from(server.ready));
            }
        },
    )
    .by(SERVERS),
    Metric::new(
        "pool.server.cleared",
        Kind::Counter,
        Unit::Of("{clearing}"),
        "How often the driver has distrusted all its sockets to the server.",
        |reading, points| {
            for server in reading.servers() {
                points.count_of(&[&server.address], server.cleared);
            }
        },
    )
    .by(SERVERS),
    Metric::new(
        "pool.server.connect_failures",
        Kind::Counter,
        Unit::Of("{failure}"),
        "Sockets to the server that could not be connected or authenticated.",
        |reading, points| {
            for server in reading.servers() {
                points.count_of(&[&server.address], server.connect_failures);
            }
        },
    )
    .by(SERVERS),
];

/// A metric by its name in OpenTelemetry's spelling.
#[must_use]
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}
