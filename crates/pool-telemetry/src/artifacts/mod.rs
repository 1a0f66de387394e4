//! What is made from the table for other programs: the dashboard, the alert rules and their tests,
//! and the reference.

mod alerts;
mod dashboard;
mod rule_tests;
mod rules;

use std::fmt::Write as _;

pub use self::alerts::{ALERTS, Alert, Severity};
pub use self::dashboard::grafana_dashboard;
pub use self::rule_tests::prometheus_rule_tests;
pub use self::rules::prometheus_rules;
use crate::{METRICS, metric};

/// The label that tells pools apart.
const POOL: &str = "db_client_connection_pool_name";

/// What tells one pool of one process from all others.
const BY: &str = "job, instance, db_client_connection_pool_name";

/// The name under which Prometheus has a metric.
///
/// # Panics
///
/// The table has no such metric: a mistake in this crate, which its tests find.
fn name(otel: &str) -> String {
    metric(otel)
        .unwrap_or_else(|| panic!("{otel} is not in the table"))
        .prometheus_name()
}

/// Open connections in one state, by whichever exporter they came: ours, or OpenTelemetry's with
/// the name that its rules make.
fn connections(state: &str, more: &str) -> String {
    let ours = name("db.client.connection.count");
    format!(
        "{{__name__=~\"{ours}|db_client_connection_count\", db_client_connection_state=\"{state}\"{more}}}"
    )
}

/// The reference of all metrics, as a page of the documentation.
#[must_use]
pub fn metric_reference() -> String {
    let mut page = "# Metrics\n\n\
        Made from the table in `crates/pool-telemetry/src/table.rs` by `cargo xtask telemetry`.\n\n\
        Every metric has the attribute `db.client.connection.pool.name`, the pool's name. \
        Prometheus writes\n`_` for `.` in names of attributes. The first nine are those of \
        OpenTelemetry's semantic conventions.\nHistograms have buckets from 100 µs to 30 s.\n\n\
        Of a MongoDB pool a connection is a *lease*: the right to one operation at a time, which is what \
        callers\nwait for and what is resized. The driver's sockets follow the leases, later and not one \
        for one: it keeps up\nto its own ceiling open until they have been idle for `max_idle_time`, and \
        has some of its own for\nmonitoring. `pool.server.*` counts them, server by server, as `MongoPool::sockets()` does; \
        `create_time` is how long a lease\ntook to be ready, and that of a socket only where one had \
        to be opened.\n\n\
        | metric | type | unit | in Prometheus | attributes | is |\n|---|---|---|---|---|---|\n"
        .to_owned();
    for metric in METRICS {
        let attributes = metric.attributes.iter().map(|attribute| {
            if attribute.values.is_empty() {
                return format!("`{}`", attribute.name);
            }
            let values = attribute.values.join("`, `");
            format!("`{}`: `{values}`", attribute.name)
        });
        let kind = format!("{:?}", metric.kind).to_lowercase();
        let kind = kind.replace("updowncounter", "up-down counter");
        let _ = writeln!(
            page,
            "| `{}` | {kind} | `{}` | `{}` | {} | {} |",
            metric.name,
            metric.unit.as_str(),
            metric.prometheus_name(),
            attributes.collect::<Vec<_>>().join("; "),
            metric.help
        );
    }
    page
}
