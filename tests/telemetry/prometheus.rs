//! A real Prometheus scrapes real pools.

use std::collections::BTreeMap;
use std::time::Duration;

use integration_tests::program;
use pool_telemetry::{BUCKETS, METRICS, Registry, artifacts};

use crate::support::{Prometheus, listen, pool, until};

/// Every metric of the table arrives with its type, its unit and its help, and quantiles from the
/// histograms are those of the pool, to within a bucket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_has_every_metric_of_the_table() {
    let Some(program) = program("prometheus", "prometheus") else {
        return;
    };
    let (pool, _script) = pool("orders");
    for millis in [1_u64, 3, 3, 3, 20, 40] {
        let held = pool.acquire().await.unwrap();
        tokio::time::sleep(Duration::from_millis(millis)).await;
        drop(held);
    }
    let registry = Registry::new();
    registry.register(pool.clone()).unwrap();
    let listener = listen(&registry, "127.0.0.1:0").await;
    let address = listener.address();
    let quantiles = pool.pool_metrics();
    tokio::task::spawn_blocking(move || {
        let prometheus = Prometheus::start(&program, address, &artifacts::prometheus_rules(0.05));
        until("a scrape", || prometheus.value("up{job=\"pools\"} == 1"));
        let known = until("the last metric", || {
            let known = prometheus.api("metadata");
            let last = METRICS.last().unwrap().family();
            known.get(&last).is_some().then_some(known)
        });
        for metric in METRICS {
            let family = metric.family();
            let told = &known[&family][0];
            assert_eq!(told["type"], metric.kind.prometheus(), "{family}");
            assert_eq!(
                told["unit"],
                metric.unit.prometheus().unwrap_or(""),
                "{family}"
            );
            assert_eq!(told["help"], metric.help, "{family}");
            let series = match metric.kind {
                pool_telemetry::Kind::Histogram => format!("{}_bucket", metric.prometheus_name()),
                _ => metric.prometheus_name(),
            };
            let pool = "db_client_connection_pool_name=\"orders\"";
            let count = prometheus.value(&format!("count({series}{{{pool}}})"));
            let least = metric
                .attributes
                .iter()
                .map(|one| one.values.len())
                .product::<usize>();
            assert!(
                count.is_some_and(|count| count >= least as f64),
                "{series}: {count:?}"
            );
        }
        for (metric, own) in [
            ("db_client_connection_use_time_seconds", quantiles.hold),
            (
                "db_client_connection_create_time_seconds",
                quantiles.connect,
            ),
            ("db_client_connection_wait_time_seconds", quantiles.wait),
        ] {
            for (q, own) in [(0.5, own.p50), (0.9, own.p90)] {
                let value = prometheus
                    .value(&format!("histogram_quantile({q}, {metric}_bucket)"))
                    .unwrap();
                let (theirs, ours) = (bucket(value), bucket(own / 1e3));
                assert!(
                    theirs.abs_diff(ours) <= 1,
                    "{metric} {q}: {value} s, {own} ms"
                );
            }
        }
    })
    .await
    .unwrap();
}

/// The number of the bucket that a time falls into.
fn bucket(seconds: f64) -> usize {
    BUCKETS
        .iter()
        .take_while(|bound| bound.as_secs_f64() < seconds)
        .count()
}

/// A pool at its maximum with callers in line fires the alert; it resolves when they are served.
/// With the rules as they are, at a twentieth of their times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_exhausted_pool_fires_the_alert_and_it_resolves() {
    let Some(program) = program("prometheus", "prometheus") else {
        return;
    };
    let (pool, _script) = pool("orders");
    let registry = Registry::new();
    registry.register(pool.clone()).unwrap();
    let listener = listen(&registry, "127.0.0.1:0").await;
    let address = listener.address();
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(pool.acquire_owned().await.unwrap());
    }
    let caller = tokio::spawn({
        let pool = pool.clone();
        async move {
            pool.acquire_timeout(Duration::from_secs(600))
                .await
                .map(drop)
        }
    });
    let rules = artifacts::prometheus_rules(0.05);
    let prometheus = tokio::task::spawn_blocking(move || {
        let prometheus = Prometheus::start(&program, address, &rules);
        let fired = until("PoolExhausted fires", || {
            firing(&prometheus).remove("PoolExhausted")
        });
        assert_eq!(fired["db_client_connection_pool_name"], "orders");
        assert_eq!(fired["severity"], "page");
        prometheus
    })
    .await
    .unwrap();
    drop(held);
    caller.await.unwrap().unwrap();
    tokio::task::spawn_blocking(move || {
        until("PoolExhausted resolves", || {
            (!firing(&prometheus).contains_key("PoolExhausted")).then_some(())
        });
    })
    .await
    .unwrap();
}

/// The labels of each alert that fires, by its name.
fn firing(prometheus: &Prometheus) -> BTreeMap<String, serde_json::Value> {
    let alerts = prometheus.api("alerts");
    let alerts = alerts["alerts"].as_array().unwrap().iter();
    alerts
        .filter(|alert| alert["state"] == "firing")
        .map(|alert| {
            let labels = alert["labels"].clone();
            (labels["alertname"].as_str().unwrap().to_owned(), labels)
        })
        .collect()
}
