//! Tests of the rules, for `promtool test rules`: each alert fires, does not fire one step below,
//! does not fire on ten bad seconds however bad (which two scrapes may see), resolves, and is silent where any of its series is
//! missing.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::alerts::{ALERTS, Alert};
use super::{POOL, name};

/// A series: the metric with further labels, and its values every 15 seconds.
type Series = (String, &'static str);

/// A story: its name, what is seen, and whether the alert fires at moments (in minutes).
struct Story {
    name: String,
    series: Vec<Series>,
    moments: Vec<(u32, bool)>,
}

/// The tests of all alerts, as YAML.
#[must_use]
pub fn prometheus_rule_tests() -> String {
    let mut text = "# Made by `cargo xtask telemetry` from crates/pool-telemetry/src/artifacts; \
                    do not edit.\nrule_files:\n  - pools.rules.yml\nevaluation_interval: 15s\n\
                    tests:\n"
        .to_owned();
    for alert in ALERTS {
        let stories = stories(alert.name);
        let without = without(&stories[0]);
        for story in stories.iter().chain(&without) {
            write(&mut text, alert, story);
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
    for (minute, fires) in &story.moments {
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

/// The story without each of its metrics in turn: then nothing may fire.
fn without(fires: &Story) -> Vec<Story> {
    let metric = |series: &Series| {
        let name = series.0.split('{').next().unwrap_or_default();
        name.to_owned()
    };
    let metrics: BTreeSet<_> = fires.series.iter().map(metric).collect();
    metrics
        .into_iter()
        .map(|missing| Story {
            name: format!("not without {missing}"),
            series: fires
                .series
                .iter()
                .filter(|series| metric(series) != missing)
                .cloned()
                .collect(),
            moments: fires
                .moments
                .iter()
                .map(|(minute, _)| (*minute, false))
                .collect(),
        })
        .collect()
}

fn story(name: &str, series: Vec<Series>, moments: &[(u32, bool)]) -> Story {
    Story {
        name: name.to_owned(),
        series,
        moments: moments.to_vec(),
    }
}

/// Nothing fires at any minute from one to another.
fn quiet(from: u32, to: u32) -> Vec<(u32, bool)> {
    (from..=to).map(|minute| (minute, false)).collect()
}

/// The first of the stories of each alert is the one that fires.
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
                    vec![pending("0x19 700 0x20"), used("20x40"), limit("20x40")],
                    &quiet(4, 10),
                ),
                story(
                    "resolves",
                    vec![pending("7x20 0x20"), used("20x40"), limit("20x40")],
                    &[(4, true), (9, false)],
                ),
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
                    &[(1, false), (10, true)],
                ),
                story(
                    "not at one in a hundred",
                    vec![failed("0+1x60"), served("0+99x60")],
                    &[(10, false)],
                ),
                story(
                    "not on a burst",
                    vec![failed("0x20 500 1000x60"), served("0+100x80")],
                    &quiet(5, 18),
                ),
                story(
                    "resolves",
                    vec![failed("0+5x30 150x60"), served("0+100x90")],
                    &[(7, true), (20, false)],
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
                    vec![failures("0x10 450 900x50")],
                    &quiet(2, 12),
                ),
                story(
                    "resolves",
                    vec![failures("0+1x20 20x40")],
                    &[(4, true), (8, false)],
                ),
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
                        bucket("0.25", "0x80"),
                        bucket("0.5", "0x80"),
                        bucket("30", "0x20 500 1000x60"),
                        bucket("+Inf", "0x20 500 1000x60"),
                    ],
                    &quiet(5, 18),
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
                    vec![target("5x40 20 5x80"), max("20x120"), min("2x120")],
                    &quiet(10, 28),
                ),
                story(
                    "resolves",
                    vec![target("20x70 10x20"), max("20x90"), min("2x90")],
                    &[(16, true), (20, false)],
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
                    vec![limit("20x20 1 20x80"), max("20x100")],
                    &quiet(5, 18),
                ),
                story(
                    "resolves",
                    vec![limit("12x60 20x30"), max("20x90")],
                    &[(14, true), (17, false)],
                ),
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
                    &[(170, false), (190, false), (198, true)],
                ),
                story(
                    "not at three times",
                    vec![sum("0+1x720 723+3x120"), count("0+100x840")],
                    &[(198, false), (205, false)],
                ),
                story(
                    "not on a burst",
                    vec![sum("0+1x720 1221 1722+1x120"), count("0+100x840")],
                    &quiet(180, 205),
                ),
                story(
                    "resolves",
                    vec![sum("0+1x720 725+4x80 1046+1x120"), count("0+100x930")],
                    &[(198, true), (215, false)],
                ),
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
                        moved("up", "0x9 1x9 2x9 3x9 4x9 5x9 6x9 7x9 8x9 9x9"),
                        moved("down", "0x14 1x9 2x9 3x9 4x9 5x9 6x9 7x9 8x9 9x9"),
                    ],
                    &[(10, false), (20, true)],
                ),
                story(
                    "not at once in five minutes, or a little more often",
                    vec![
                        moved("up", "0x19 1x17 2x17 3x17 4x17 5x17"),
                        moved("down", "0x24 1x17 2x17 3x17 4x17 5x17"),
                    ],
                    &quiet(5, 24),
                ),
                story(
                    "not when it only shrinks",
                    vec![moved("up", "0x100"), moved("down", "0+1x100")],
                    &quiet(5, 24),
                ),
                story(
                    "not when it only grows",
                    vec![moved("up", "0+1x100"), moved("down", "0x100")],
                    &quiet(5, 24),
                ),
                story(
                    "not on a burst",
                    vec![moved("up", "0x20 5 9x80"), moved("down", "0x20 4 9x80")],
                    &quiet(5, 24),
                ),
                story(
                    "resolves",
                    vec![moved("up", "0+1x80 80x60"), moved("down", "0+1x80 80x60")],
                    &[(18, true), (28, false)],
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
                    vec![used("0x40 20 0x80"), returned("0+1x40 40 41+1x79")],
                    &quiet(9, 28),
                ),
                story(
                    "resolves",
                    vec![used("1x90 0x60"), returned("9x150")],
                    &[(21, true), (25, false)],
                ),
            ]
        }
        "PoolPaused" => {
            let paused = |values| with("pool.state", "state=\"paused\"", values);
            vec![
                story("fires", vec![paused("1x90")], &[(5, false), (15, true)]),
                story("not while open", vec![paused("0x90")], &[(15, false)]),
                story("not on a burst", vec![paused("0x20 1 0x80")], &quiet(5, 18)),
                story(
                    "resolves",
                    vec![paused("1x60 0x30")],
                    &[(14, true), (16, false)],
                ),
            ]
        }
        other => panic!("{other} has no stories"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever adds an alert tells all of its stories.
    #[test]
    fn every_alert_has_every_kind_of_story() {
        for alert in ALERTS {
            let stories = stories(alert.name);
            let named = |name: &str| stories.iter().find(|story| story.name == name);
            let says =
                |story: &Story, fires| story.moments.iter().any(|(_, other)| *other == fires);
            let fires = &stories[0];
            assert!(fires.name == "fires" && says(fires, true), "{}", alert.name);
            assert!(says(fires, false), "{} takes its time", alert.name);
            let resolves = named("resolves").unwrap();
            assert!(
                says(resolves, true) && says(resolves, false),
                "{}",
                alert.name
            );
            // A burst is watched for longer than any window and any time that it has to hold.
            let burst = named("not on a burst").unwrap();
            assert!(
                burst.moments.len() > 6 && !says(burst, true),
                "{}",
                alert.name
            );
            let others = ["resolves", "not on a burst"];
            let below = stories[1..]
                .iter()
                .filter(|story| !others.contains(&&*story.name) && !says(story, true));
            assert!(below.count() > 0, "{} one step below", alert.name);
            assert!(!without(fires).is_empty(), "{}", alert.name);
        }
    }
}
