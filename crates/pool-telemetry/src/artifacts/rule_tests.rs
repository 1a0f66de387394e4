//! Tests of the rules, for `promtool test rules`: each alert fires, does not fire one step below,
//! does not fire on a short burst, resolves, and is silent where series are missing.

use std::fmt::Write as _;

use super::alerts::{ALERTS, Alert};
use super::{POOL, name};

/// A series: the metric with further labels, and its values every 15 seconds.
type Series = (String, &'static str);

/// A story: its name, what is seen, and whether the alert fires at moments (in minutes).
struct Story {
    name: &'static str,
    series: Vec<Series>,
    moments: &'static [(u32, bool)],
}

/// The tests of all alerts, as YAML.
#[must_use]
pub fn prometheus_rule_tests() -> String {
    let mut text = "# Made by `cargo xtask telemetry` from crates/pool-telemetry/src/artifacts; \
                    do not edit.\nrule_files:\n  - pools.rules.yml\nevaluation_interval: 15s\n\
                    tests:\n"
        .to_owned();
    for alert in ALERTS {
        for story in stories(alert.name) {
            write(&mut text, alert, &story);
        }
    }
    text
}

fn write(text: &mut String, alert: &Alert, story: &Story) {
    let labels = format!("job=\"shop\",instance=\"a\",{POOL}=\"orders\"");
    let _ = writeln!(text, "  - name: '{} {}'", alert.name, story.name);
    let _ = writeln!(text, "    interval: 15s");
    let _ = writeln!(text, "    input_series:");
    for (series, values) in &story.series {
        let (metric, more) = series.split_once('{').unwrap_or((series, "}"));
        let comma = if more == "}" { "" } else { "," };
        let _ = writeln!(text, "      - series: '{metric}{{{labels}{comma}{more}'");
        let _ = writeln!(text, "        values: '{values}'");
    }
    let _ = writeln!(text, "    alert_rule_test:");
    for (minute, fires) in story.moments {
        let _ = writeln!(text, "      - eval_time: {minute}m");
        let _ = writeln!(text, "        alertname: {}", alert.name);
        if !fires {
            let _ = writeln!(text, "        exp_alerts: []");
            continue;
        }
        let _ = writeln!(text, "        exp_alerts:");
        let _ = writeln!(text, "          - exp_labels:");
        let _ = writeln!(text, "              job: shop");
        let _ = writeln!(text, "              instance: a");
        let _ = writeln!(text, "              {POOL}: orders");
        for (label, value) in alert.labels {
            let _ = writeln!(text, "              {label}: {value}");
        }
        let severity = alert.severity.as_str();
        let _ = writeln!(text, "              severity: {severity}");
        let _ = writeln!(text, "            exp_annotations:");
        let summary = alert.sentence("orders", "a");
        let _ = writeln!(text, "              summary: '{summary}'");
        let _ = writeln!(text, "              runbook_url: {}", alert.runbook());
    }
}

fn story(name: &'static str, series: Vec<Series>, moments: &'static [(u32, bool)]) -> Story {
    Story {
        name,
        series,
        moments,
    }
}

#[allow(clippy::too_many_lines, reason = "a table of stories")]
fn stories(alert: &str) -> Vec<Story> {
    let one = |metric: &str, values| (name(metric), values);
    let with =
        |metric: &str, labels: &str, values| (format!("{}{{{labels}}}", name(metric)), values);
    let used = |values| {
        with(
            "db.client.connection.count",
            "db_client_connection_state=\"used\"",
            values,
        )
    };
    // What OpenTelemetry's own exporter calls it.
    let used_otel = |values| {
        let series = "db_client_connection_count{db_client_connection_state=\"used\"}";
        (series.to_owned(), values)
    };
    match alert {
        "PoolExhausted" => {
            let pending = |values| one("db.client.connection.pending_requests", values);
            let limit = |values| one("pool.size.limit", values);
            vec![
                story(
                    "fires",
                    vec![pending("7x40"), used("20x40"), limit("20x40")],
                    &[(0, false), (4, true)],
                ),
                story(
                    "fires on the names that OpenTelemetry gives",
                    vec![pending("7x40"), used_otel("20x40"), limit("20x40")],
                    &[(4, true)],
                ),
                story(
                    "not while one connection is free",
                    vec![pending("7x40"), used("19x40"), limit("20x40")],
                    &[(4, false)],
                ),
                story(
                    "not when nobody waits",
                    vec![pending("0x40"), used("20x40"), limit("20x40")],
                    &[(4, false)],
                ),
                story(
                    "not on a burst",
                    vec![pending("0x19 7 0x20"), used("20x40"), limit("20x40")],
                    &[(5, false), (6, false), (7, false)],
                ),
                story(
                    "resolves",
                    vec![pending("7x20 0x20"), used("20x40"), limit("20x40")],
                    &[(4, true), (9, false)],
                ),
                story("not without series", vec![pending("7x40")], &[(4, false)]),
            ]
        }
        "PoolAcquireTimeouts" => {
            let failed = |values| one("db.client.connection.timeouts", values);
            let served = |values| {
                (
                    format!("{}_count", name("db.client.connection.wait_time")),
                    values,
                )
            };
            vec![
                story(
                    "fires",
                    vec![failed("0+2x60"), served("0+100x60")],
                    &[(10, true)],
                ),
                story(
                    "not at one in a hundred",
                    vec![failed("0+1x60"), served("0+99x60")],
                    &[(10, false)],
                ),
                story(
                    "not on a burst",
                    vec![failed("0x20 1x40"), served("0+100x60")],
                    &[(6, false), (10, false), (14, false)],
                ),
                story(
                    "resolves",
                    vec![failed("0+5x30 150x60"), served("0+100x90")],
                    &[(7, true), (20, false)],
                ),
                story(
                    "not without series",
                    vec![served("0+100x60")],
                    &[(10, false)],
                ),
            ]
        }
        "PoolConnectFailures" => {
            let failures = |values| with("pool.connect_failures", "code=\"57P03\"", values);
            vec![
                story("fires", vec![failures("0+1x60")], &[(1, false), (5, true)]),
                story(
                    "not without a failure",
                    vec![failures("7x60")],
                    &[(5, false)],
                ),
                story(
                    "not on a burst",
                    vec![failures("0x10 9x50")],
                    &[(3, false), (4, false), (5, false)],
                ),
                story(
                    "resolves",
                    vec![failures("0+1x20 20x40")],
                    &[(4, true), (8, false)],
                ),
                story("not without series", vec![], &[(5, false)]),
            ]
        }
        "PoolWaitHigh" => {
            let bucket = |le: &str, values| {
                let wait = name("db.client.connection.wait_time");
                (format!("{wait}_bucket{{le=\"{le}\"}}"), values)
            };
            vec![
                story(
                    "fires",
                    vec![
                        bucket("0.25", "0+90x60"),
                        bucket("0.5", "0+100x60"),
                        bucket("+Inf", "0+100x60"),
                    ],
                    &[(4, false), (12, true)],
                ),
                story(
                    "not at the threshold",
                    vec![
                        bucket("0.1", "0+90x60"),
                        bucket("0.25", "0+100x60"),
                        bucket("+Inf", "0+100x60"),
                    ],
                    &[(12, false)],
                ),
                story(
                    "not on a burst",
                    vec![
                        bucket("0.25", "0x20 0x40"),
                        bucket("0.5", "0x20 9x40"),
                        bucket("+Inf", "0x20 9x40"),
                    ],
                    &[(6, false), (9, false), (12, false)],
                ),
                story(
                    "resolves",
                    vec![
                        bucket("0.25", "0+90x40 3600+100x60"),
                        bucket("0.5", "0+100x40 4000+100x60"),
                        bucket("+Inf", "0+100x40 4000+100x60"),
                    ],
                    &[(10, true), (20, false)],
                ),
                story(
                    "not without series",
                    vec![bucket("0.25", "0+90x60")],
                    &[(12, false)],
                ),
            ]
        }
        "PoolPinnedAtMax" => {
            let target = |values| one("pool.size.target", values);
            let max = |values| one("db.client.connection.max", values);
            let min = |values| one("pool.size.min", values);
            vec![
                story(
                    "fires",
                    vec![target("20x90"), max("20x90"), min("2x90")],
                    &[(10, false), (20, true)],
                ),
                story(
                    "not one below",
                    vec![target("19x90"), max("20x90"), min("2x90")],
                    &[(20, false)],
                ),
                story(
                    "not for a pool of one size",
                    vec![target("20x90"), max("20x90"), min("20x90")],
                    &[(20, false)],
                ),
                story(
                    "not on a burst",
                    vec![target("5x40 20 5x48"), max("20x90"), min("2x90")],
                    &[(10, false), (20, false)],
                ),
                story(
                    "resolves",
                    vec![target("20x70 10x20"), max("20x90"), min("2x90")],
                    &[(16, true), (20, false)],
                ),
                story(
                    "not without series",
                    vec![max("20x90"), min("2x90")],
                    &[(20, false)],
                ),
            ]
        }
        "PoolGrowthHeldBack" => {
            let limit = |values| one("pool.size.limit", values);
            let max = |values| one("db.client.connection.max", values);
            vec![
                story(
                    "fires",
                    vec![limit("12x90"), max("20x90")],
                    &[(5, false), (15, true)],
                ),
                story(
                    "not at the maximum",
                    vec![limit("20x90"), max("20x90")],
                    &[(15, false)],
                ),
                story(
                    "not on a burst",
                    vec![limit("20x20 12 20x60"), max("20x90")],
                    &[(5, false), (15, false)],
                ),
                story(
                    "resolves",
                    vec![limit("12x60 20x30"), max("20x90")],
                    &[(14, true), (17, false)],
                ),
                story("not without series", vec![limit("12x90")], &[(15, false)]),
            ]
        }
        "PoolHoldTimeRegression" => {
            let sum = |values| {
                (
                    format!("{}_sum", name("db.client.connection.use_time")),
                    values,
                )
            };
            let count = |values| {
                (
                    format!("{}_count", name("db.client.connection.use_time")),
                    values,
                )
            };
            // Three hours at 10 ms, then half an hour.
            vec![
                story(
                    "fires",
                    vec![sum("0+1x720 725+4x120"), count("0+100x840")],
                    &[(170, false), (195, true)],
                ),
                story(
                    "not at three times",
                    vec![sum("0+1x720 723+3x120"), count("0+100x840")],
                    &[(195, false)],
                ),
                story(
                    "not on a burst",
                    vec![sum("0+1x720 730+1x120"), count("0+100x840")],
                    &[(182, false), (195, false)],
                ),
                story(
                    "resolves",
                    vec![sum("0+1x720 725+4x60 966+1x120"), count("0+100x900")],
                    &[(194, true), (215, false)],
                ),
                story("not without series", vec![sum("0+1x840")], &[(195, false)]),
            ]
        }
        "PoolFlapping" => {
            let moved = |direction: &str, values| {
                let labels = format!("direction=\"{direction}\",reason=\"target\"");
                with("pool.resizes", &labels, values)
            };
            vec![
                story(
                    "fires",
                    vec![
                        moved("up", "0x8 1x8 2x8 3x8 4x8 5x8 6x8"),
                        moved("down", "0x12 1x8 2x8 3x8 4x8 5x8 6x8"),
                    ],
                    &[(14, true)],
                ),
                story(
                    "not at three",
                    vec![
                        moved("up", "0x8 1x16 2x16 3x40"),
                        moved("down", "0x12 1x16 2x16 3x40"),
                    ],
                    &[(14, false)],
                ),
                story(
                    "not when it only grows",
                    vec![moved("up", "0+1x60"), moved("down", "0x60")],
                    &[(14, false)],
                ),
                story(
                    "not on a burst",
                    vec![moved("up", "0x20 2x60"), moved("down", "0x21 2x60")],
                    &[(7, false), (14, false)],
                ),
                story(
                    "resolves",
                    vec![moved("up", "0+1x30 30x90"), moved("down", "0+1x30 30x90")],
                    &[(7, true), (28, false)],
                ),
                story(
                    "not without series",
                    vec![moved("up", "0+1x60")],
                    &[(14, false)],
                ),
            ]
        }
        "PoolLeakSuspected" => {
            let returned = |values| {
                (
                    format!("{}_count", name("db.client.connection.use_time")),
                    values,
                )
            };
            vec![
                story(
                    "fires",
                    vec![used("1x120"), returned("9x120")],
                    &[(5, false), (21, true)],
                ),
                story(
                    "not while one comes back",
                    vec![used("1x120"), returned("9x30 10x30 11x60")],
                    &[(21, false)],
                ),
                story(
                    "not while nothing is lent",
                    vec![used("0x120"), returned("9x120")],
                    &[(21, false)],
                ),
                story(
                    "not on a burst",
                    vec![used("1x120"), returned("0+1x40 40 41+1x79")],
                    &[(11, false), (21, false)],
                ),
                story(
                    "resolves",
                    vec![used("1x90 0x60"), returned("9x150")],
                    &[(21, true), (25, false)],
                ),
                story("not without series", vec![used("1x120")], &[(21, false)]),
            ]
        }
        "PoolPaused" => {
            let paused = |values| with("pool.state", "state=\"paused\"", values);
            vec![
                story("fires", vec![paused("1x90")], &[(5, false), (15, true)]),
                story("not while open", vec![paused("0x90")], &[(15, false)]),
                story(
                    "not on a burst",
                    vec![paused("0x20 1 0x60")],
                    &[(6, false), (15, false)],
                ),
                story(
                    "resolves",
                    vec![paused("1x60 0x30")],
                    &[(14, true), (16, false)],
                ),
                story("not without series", vec![], &[(15, false)]),
            ]
        }
        other => panic!("{other} has no stories"),
    }
}
