//! The Grafana dashboard.

use serde_json::{Value, json};

use super::{BY, POOL, connections, name};

/// The choice of the viewer, in every selector.
const CHOSEN: &str =
    "job=~\"$job\", instance=~\"$instance\", db_client_connection_pool_name=~\"$pool\"";

const LEGEND: &str = "{{instance}} {{db_client_connection_pool_name}}";

/// A panel: its title, unit, expressions with their legends, and how wide it is of 24.
struct Panel {
    title: &'static str,
    description: &'static str,
    unit: &'static str,
    kind: &'static str,
    targets: Vec<(String, String)>,
    width: u32,
}

/// A dashboard for Grafana 10 or later, as JSON: verdict, demand, latency, sizing, churn, sockets, errors.
#[must_use]
pub fn grafana_dashboard() -> String {
    let mut panels = Vec::new();
    let mut y = 0;
    for (title, row) in rows() {
        let id = panels.len() + 1;
        panels.push(json!({
            "id": id, "type": "row", "title": title, "collapsed": false,
            "gridPos": { "h": 1, "w": 24, "x": 0, "y": y }, "panels": [],
        }));
        y += 1;
        let mut x = 0;
        for panel in row {
            let id = panels.len() + 1;
            if x + panel.width > 24 {
                (x, y) = (0, y + 8);
            }
            panels.push(panel.json(id, x, y));
            x += panel.width;
        }
        y += 8;
    }
    let dashboard = json!({
        "title": "Connection pools",
        "uid": "elastic-connection-pools",
        "description": "Made by `cargo xtask telemetry`; do not edit.",
        "tags": ["database", "connection-pool"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": { "from": "now-1h", "to": "now" },
        "templating": { "list": variables() },
        "panels": panels,
    });
    let text = serde_json::to_string_pretty(&dashboard);
    text.expect("a value has string keys and finite numbers") + "\n"
}

fn variables() -> Value {
    let max = name("db.client.connection.max");
    let choice = |variable: &str, label: &str, filter: &str| {
        json!({
            "name": variable, "type": "query", "refresh": 2, "multi": true, "includeAll": true,
            "allValue": ".*", "current": { "text": "All", "value": "$__all" },
            "datasource": { "type": "prometheus", "uid": "${datasource}" },
            "definition": format!("label_values({max}{{{filter}}}, {label})"),
            "query": { "query": format!("label_values({max}{{{filter}}}, {label})"), "refId": "v" },
        })
    };
    json!([
        { "name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus" },
        choice("job", "job", ""),
        choice("instance", "instance", "job=~\"$job\""),
        choice("pool", POOL, "job=~\"$job\", instance=~\"$instance\""),
    ])
}

/// The value of a gauge.
fn gauge(metric: &str) -> String {
    format!("sum by ({BY}) ({}{{{CHOSEN}}})", name(metric))
}

/// The value of a gauge for each server.
fn of_servers(metric: &str) -> String {
    format!("sum by ({BY}, server) ({}{{{CHOSEN}}})", name(metric))
}

/// The rate of a counter, by further labels.
fn rate(metric: &str, by: &str) -> String {
    let metric = name(metric);
    format!("sum by ({BY}{by}) (rate({metric}{{{CHOSEN}}}[$__rate_interval]))")
}

fn quantile(metric: &str, quantile: f64) -> String {
    let metric = name(metric);
    format!(
        "histogram_quantile({quantile}, sum by ({BY}, le) \
         (rate({metric}_bucket{{{CHOSEN}}}[$__rate_interval])))"
    )
}

fn count(state: &str) -> String {
    format!(
        "sum by ({BY}) ({})",
        connections(state, &format!(", {CHOSEN}"))
    )
}

fn lines(targets: &[(String, &str)]) -> Vec<(String, String)> {
    let legend = |words: &str| match words {
        "" => LEGEND.to_owned(),
        words => format!("{LEGEND} {words}"),
    };
    targets
        .iter()
        .map(|(expression, words)| (expression.clone(), legend(words)))
        .collect()
}

fn panel(
    title: &'static str,
    description: &'static str,
    unit: &'static str,
    width: u32,
    targets: &[(String, &str)],
) -> Panel {
    Panel {
        title,
        description,
        unit,
        kind: "timeseries",
        targets: lines(targets),
        width,
    }
}

#[allow(clippy::too_many_lines, reason = "a table of panels")]
fn rows() -> Vec<(&'static str, Vec<Panel>)> {
    let (wait, hold, connect) = (
        "db.client.connection.wait_time",
        "db.client.connection.use_time",
        "db.client.connection.create_time",
    );
    let states = Panel {
        kind: "state-timeline",
        ..panel(
            "State",
            "open, paused or closed; ready once it has been warmed up.",
            "none",
            8,
            &[
                (
                    format!("{}{{{CHOSEN}}} == 1", name("pool.state")),
                    "{{state}}",
                ),
                (gauge("pool.ready"), "ready"),
            ],
        )
    };
    let stat = |panel: Panel| Panel {
        kind: "stat",
        ..panel
    };
    vec![
        (
            "Verdict",
            vec![
                states,
                stat(panel(
                    "Utilisation",
                    "The part of the connections in use, averaged over at least ten seconds.",
                    "percentunit",
                    4,
                    &[(gauge("pool.utilisation"), "")],
                )),
                stat(panel(
                    "Waiting",
                    "Callers in the queue.",
                    "short",
                    4,
                    &[(gauge("db.client.connection.pending_requests"), "")],
                )),
                stat(panel(
                    "Wait p99",
                    "What one caller in a hundred waits at least.",
                    "s",
                    4,
                    &[(quantile(wait, 0.99), "")],
                )),
                stat(panel(
                    "Timeouts per second",
                    "Callers that waited in vain.",
                    "cps",
                    4,
                    &[(rate("db.client.connection.timeouts", ""), "")],
                )),
            ],
        ),
        (
            "Demand",
            vec![
                panel(
                    "Connections",
                    "In use, idle, being opened and closed, against target, limit, minimum and maximum.",
                    "short",
                    12,
                    &[
                        (count("used"), "used"),
                        (count("idle"), "idle"),
                        (gauge("pool.connections.connecting"), "connecting"),
                        (gauge("pool.connections.closing"), "closing"),
                        (gauge("pool.size.target"), "target"),
                        (gauge("pool.size.limit"), "limit"),
                        (gauge("pool.size.min"), "min"),
                        (gauge("db.client.connection.max"), "max"),
                        (gauge("db.client.connection.idle.min"), "idle min"),
                        (gauge("db.client.connection.idle.max"), "idle max"),
                    ],
                ),
                panel(
                    "Oldest caller",
                    "For how long the oldest caller in the queue has waited.",
                    "s",
                    6,
                    &[(gauge("pool.waiters.oldest_age"), "")],
                ),
                panel(
                    "Checkouts per second",
                    "Those that found an idle connection, and all.",
                    "cps",
                    6,
                    &[
                        (rate("pool.acquire.immediate", ""), "immediate"),
                        (
                            format!(
                                "sum by ({BY}) (rate({}_count{{{CHOSEN}}}[$__rate_interval]))",
                                name(wait)
                            ),
                            "all",
                        ),
                    ],
                ),
            ],
        ),
        (
            "Latency",
            vec![
                panel(
                    "Wait for a connection",
                    "Callers that did not wait count as zero.",
                    "s",
                    8,
                    &[
                        (quantile(wait, 0.5), "p50"),
                        (quantile(wait, 0.95), "p95"),
                        (quantile(wait, 0.99), "p99"),
                    ],
                ),
                panel(
                    "Time held",
                    "From checkout to return.",
                    "s",
                    8,
                    &[(quantile(hold, 0.5), "p50"), (quantile(hold, 0.99), "p99")],
                ),
                panel(
                    "Time to connect",
                    "Successful connects.",
                    "s",
                    8,
                    &[
                        (quantile(connect, 0.5), "p50"),
                        (quantile(connect, 0.99), "p99"),
                    ],
                ),
            ],
        ),
        (
            "Sizing",
            vec![
                panel(
                    "Needed against kept",
                    "Little's law: checkouts per second times mean time held is how many connections are in use on average.",
                    "short",
                    8,
                    &[
                        (
                            format!(
                                "sum by ({BY}) (rate({}_sum{{{CHOSEN}}}[$__rate_interval]))",
                                name(hold)
                            ),
                            "needed",
                        ),
                        (gauge("pool.size.target"), "target"),
                        (rate("pool.connections.in_use_time", ""), "in use"),
                        (rate("pool.connections.open_time", ""), "open"),
                    ],
                ),
                panel(
                    "Resizes",
                    "Changes of limits and of the target.",
                    "short",
                    8,
                    &[(
                        rate("pool.resizes", ", direction, reason"),
                        "{{reason}} {{direction}}",
                    )],
                ),
                panel(
                    "Growth vetoes",
                    "Decisions that something held back.",
                    "short",
                    8,
                    &[(rate("pool.growth_vetoes", ", reason"), "{{reason}}")],
                ),
            ],
        ),
        (
            "Churn",
            vec![
                panel(
                    "Opened per second",
                    "Connections opened.",
                    "cps",
                    8,
                    &[(rate("pool.connections.opened", ""), "")],
                ),
                panel(
                    "Closed per second",
                    "By reason.",
                    "cps",
                    8,
                    &[(rate("pool.connections.closed", ", reason"), "{{reason}}")],
                ),
                panel(
                    "Failed connects per second",
                    "By code.",
                    "cps",
                    8,
                    &[(rate("pool.connect_failures", ", code"), "{{code}}")],
                ),
            ],
        ),
        (
            "Sockets",
            vec![
                panel(
                    "Sockets to each server",
                    "Where a driver has a pool of its own below the pool: open, in use and being connected.",
                    "short",
                    12,
                    &[
                        (of_servers("pool.server.sockets.open"), "{{server}} open"),
                        (of_servers("pool.server.sockets.used"), "{{server}} used"),
                        (
                            of_servers("pool.server.sockets.connecting"),
                            "{{server}} connecting",
                        ),
                    ],
                ),
                panel(
                    "Servers that are lent to",
                    "One while the driver lends sockets to a server, zero while it has paused them.",
                    "none",
                    6,
                    &[(of_servers("pool.server.ready"), "{{server}}")],
                ),
                panel(
                    "Distrust per second",
                    "All sockets to a server given up, and sockets that could not be connected.",
                    "cps",
                    6,
                    &[
                        (
                            rate("pool.server.cleared", ", server"),
                            "{{server}} cleared",
                        ),
                        (
                            rate("pool.server.connect_failures", ", server"),
                            "{{server}} not connected",
                        ),
                    ],
                ),
            ],
        ),
        (
            "Errors",
            vec![
                panel(
                    "Callers without a connection",
                    "Timed out, gave up, turned away.",
                    "cps",
                    12,
                    &[
                        (rate("db.client.connection.timeouts", ""), "timeout"),
                        (rate("pool.acquire.cancelled", ""), "cancelled"),
                        (rate("pool.acquire.refused", ", reason"), "{{reason}}"),
                    ],
                ),
                panel(
                    "Bad connections",
                    "Did not pass their check, or were held for too long.",
                    "cps",
                    12,
                    &[
                        (rate("pool.validation_failures", ""), "invalid"),
                        (rate("pool.leaks", ""), "leak"),
                    ],
                ),
            ],
        ),
    ]
}

impl Panel {
    fn json(&self, id: usize, x: u32, y: u32) -> Value {
        let source = json!({ "type": "prometheus", "uid": "${datasource}" });
        let targets: Vec<_> = self
            .targets
            .iter()
            .zip('A'..='Z')
            .map(|((expression, legend), letter)| {
                json!({
                    "refId": letter.to_string(), "datasource": source, "expr": expression,
                    "legendFormat": legend, "instant": self.kind == "stat",
                })
            })
            .collect();
        json!({
            "id": id, "type": self.kind, "title": self.title, "description": self.description,
            "datasource": source, "targets": targets,
            "gridPos": { "h": 8, "w": self.width, "x": x, "y": y },
            "fieldConfig": { "defaults": { "unit": self.unit, "min": 0 }, "overrides": [] },
            "options": {},
        })
    }
}
