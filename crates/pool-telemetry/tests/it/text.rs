//! The table as text.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pool_telemetry::{BUCKETS, Kind, METRICS, TextFormat};

use crate::lived::lived;

/// Name and labels of each sample with its value; what is not a sample is left out.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            // `le="1.0"` in one format is `le="1"` in the other.
            let series = match series.split_once("le=\"") {
                Some((before, rest)) => {
                    let (bound, after) = rest.split_once('"').unwrap();
                    let bound: f64 = bound.parse().unwrap();
                    let mut labels: Vec<_> = format!("{before}{after}")
                        .replace(['{', '}'], ",")
                        .split(',')
                        .filter(|part| !part.is_empty())
                        .map(str::to_owned)
                        .collect();
                    labels.push(format!("le={bound}"));
                    labels.join(",")
                }
                None => series.to_owned(),
            };
            (series, value.parse().unwrap())
        })
        .collect()
}

#[tokio::test]
async fn both_formats_tell_the_same() {
    let (_pool, registry) = lived().await;
    let readings = registry.read();
    let (_, classic) = TextFormat::Classic.render(&readings);
    let (_, open) = TextFormat::OpenMetrics.render(&readings);
    let (classic, open_samples) = (samples(&classic), samples(&open));
    assert_eq!(
        classic.keys().collect::<Vec<_>>(),
        open_samples.keys().collect::<Vec<_>>()
    );
    for (series, value) in &classic {
        let other = open_samples[series];
        assert!((value - other).abs() <= 1e-9 * value.abs(), "{series}");
    }
    assert!(open.ends_with("# EOF\n"));
    assert!(classic.len() > 100, "{}", classic.len());
}

#[tokio::test]
async fn every_metric_is_there_with_its_type_unit_and_values() {
    let (_pool, registry) = lived().await;
    let readings = registry.read();
    let (_, classic) = TextFormat::Classic.render(&readings);
    let (_, open) = TextFormat::OpenMetrics.render(&readings);
    for metric in METRICS {
        let (name, family) = (metric.prometheus_name(), metric.family());
        let kind = metric.kind.prometheus();
        assert!(
            classic.contains(&format!("# TYPE {name} {kind}\n")),
            "{name}"
        );
        assert!(
            classic.contains(&format!("# HELP {name} {}\n", metric.help)),
            "{name}"
        );
        assert!(
            open.contains(&format!("# TYPE {family} {kind}\n")),
            "{family}"
        );
        if let Some(unit) = metric.unit.prometheus() {
            assert!(
                open.contains(&format!("# UNIT {family} {unit}\n")),
                "{family}"
            );
        }
        for attribute in metric.attributes {
            for value in attribute.values {
                let label = format!("{}=\"{value}\"", attribute.name.replace('.', "_"));
                let series = |line: &&str| line.starts_with(&name) && line.contains(&label);
                assert!(classic.lines().any(|line| series(&line)), "{name}: {label}");
            }
        }
    }
    assert!(classic.contains(r#"="a \"quoted\" \\ name""#));
    assert!(open.contains(r#"="a \"quoted\" \\ name""#));
}

/// A pool whose connections are the sockets has no series for servers below it.
#[tokio::test]
async fn a_pool_without_servers_below_it_is_scraped_without_them() {
    let (manager, _script) = pool_testkit::ScriptedManager::new();
    let pool = pool_core::Pool::builder(manager).build().unwrap();
    let registry = pool_telemetry::Registry::new();
    registry.register(pool).unwrap();
    for format in [TextFormat::Classic, TextFormat::OpenMetrics] {
        let (_, text) = format.render(&registry.read());
        assert!(text.contains("pool_ready{"), "{text}");
        assert!(!text.contains("pool_server_ready{"), "{text}");
    }
}

#[tokio::test]
async fn values_are_those_of_the_pool() {
    let (pool, registry) = lived().await;
    let (_, text) = TextFormat::Classic.render(&registry.read());
    let metrics = pool.pool_metrics();
    let value = |series: &str, label: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(&format!("{series}{{")) && line.contains(label))
            .unwrap_or_else(|| panic!("{series} {label}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    assert_eq!(value("db_client_connection_max", ""), 2.0);
    assert_eq!(value("pool_size_target", ""), 2.0);
    assert_eq!(value("db_client_connection_timeouts_total", ""), 1.0);
    assert_eq!(
        value("pool_connect_failures_total", "code=\"refused\""),
        1.0
    );
    assert_eq!(
        value("pool_connections_closed_total", "reason=\"surplus\""),
        1.0
    );
    let server = "server=\"db.example:27017\"";
    for (name, wanted) in [
        ("pool_server_sockets_open", 5.0),
        ("pool_server_sockets_used", 3.0),
        ("pool_server_sockets_connecting", 2.0),
        ("pool_server_ready", 1.0),
        ("pool_server_cleared_total", 7.0),
        ("pool_server_connect_failures_total", 9.0),
    ] {
        assert_eq!(value(name, server), wanted, "{name}");
    }
    assert_eq!(value("pool_state", "state=\"open\""), 1.0);
    assert_eq!(value("pool_state", "state=\"paused\""), 0.0);
    let idle = value("db_client_connections", "state=\"idle\"");
    assert_eq!(idle, f64::from(metrics.idle_connections));
    for (histogram, quantiles) in [
        ("db_client_connection_wait_time_seconds", metrics.wait),
        ("db_client_connection_use_time_seconds", metrics.hold),
        ("db_client_connection_create_time_seconds", metrics.connect),
    ] {
        let count = value(&format!("{histogram}_count"), "");
        let all = value(&format!("{histogram}_bucket"), "le=\"+Inf\"");
        assert_eq!(
            (count, all),
            (quantiles.count as f64, quantiles.count as f64)
        );
        // Half are below the bound that p50 is below.
        let bound = BUCKETS
            .iter()
            .find(|bound| bound.as_secs_f64() * 1e3 >= quantiles.p50 * 1.02)
            .unwrap();
        let le = format!("le=\"{}\"", bound.as_secs_f64());
        assert!(
            value(&format!("{histogram}_bucket"), &le) >= count / 2.0,
            "{le}"
        );
    }
}

#[test]
fn the_table_is_consistent() {
    let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    let scraped: BTreeSet<_> = METRICS
        .iter()
        .map(|metric| metric.prometheus_name())
        .collect();
    assert_eq!((names.len(), scraped.len()), (METRICS.len(), METRICS.len()));
    for nine in [
        "count",
        "create_time",
        "idle.max",
        "idle.min",
        "max",
        "pending_requests",
        "timeouts",
        "use_time",
        "wait_time",
    ] {
        let name = format!("db.client.connection.{nine}");
        assert!(names.contains(&*name), "{name}");
    }
    for metric in METRICS {
        assert!(metric.help.ends_with('.'), "{}", metric.name);
        assert_eq!(
            metric.kind == Kind::Histogram,
            metric.name.starts_with("db.") && metric.name.ends_with("_time"),
            "{}",
            metric.name
        );
    }
    assert!(BUCKETS.is_sorted());
    assert_eq!(BUCKETS[0], Duration::from_micros(100));
    assert_eq!(BUCKETS[BUCKETS.len() - 1], Duration::from_secs(30));
}

#[test]
fn the_scraper_says_which_format() {
    let modern = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
    assert_eq!(TextFormat::accepted(modern), TextFormat::OpenMetrics);
    assert_eq!(TextFormat::accepted("text/plain, */*"), TextFormat::Classic);
}
