//! A real Prometheus scrapes real pools.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use integration_tests::program;
use mongodb::bson::doc;
use pool_core::PoolControl;
use pool_mongo::MongoPool;
use pool_postgres::PostgresPool;
use pool_telemetry::{BUCKETS, METRICS, Registry, artifacts};

use crate::rules::check_metrics;
use crate::support::{Prometheus, get, listen, pool, root, rules_as_they_are, until};

/// For how long the pools are used and scraped: `POOLS_WATCHED_SECONDS`, or less than one would wait
/// for in a suite.
fn watched() -> Duration {
    let seconds = std::env::var("POOLS_WATCHED_SECONDS").ok();
    Duration::from_secs(seconds.map_or(8, |seconds| seconds.parse().expect("seconds")))
}

/// The pools that are watched: of scripted connections, and of whichever servers there are.
async fn pools() -> Vec<Arc<dyn PoolControl>> {
    let mut pools: Vec<Arc<dyn PoolControl>> = Vec::new();
    let (orders, _script) = pool("orders");
    pools.push(Arc::new(orders.clone()));
    let turns = Arc::new(AtomicUsize::new(0));
    work(move || {
        let turn = turns.fetch_add(1, Ordering::Relaxed);
        let orders = orders.clone();
        async move {
            let held = orders.acquire().await.unwrap();
            let millis = [1, 3, 3, 3, 20, 40][turn % 6];
            tokio::time::sleep(Duration::from_millis(millis)).await;
            drop(held);
        }
    });
    if let Some(url) = integration_tests::postgres_url() {
        let postgres = PostgresPool::builder(&url)
            .unwrap()
            .name("postgres")
            .limits(1, 4)
            .acquire_timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        pools.push(Arc::new(postgres.clone()));
        work(move || {
            let postgres = postgres.clone();
            async move {
                sqlx::query("select pg_sleep(0.002)")
                    .execute(&postgres)
                    .await
                    .unwrap();
            }
        });
    }
    if let Some(url) = integration_tests::mongodb_url() {
        let mongo = MongoPool::builder(url)
            .name("mongo")
            .database("watched")
            .limits(1, 4)
            .acquire_timeout(Duration::from_secs(60))
            .build()
            .await
            .unwrap();
        pools.push(Arc::new(mongo.clone()));
        work(move || {
            let mongo = mongo.clone();
            async move {
                let lease = mongo.acquire().await.unwrap();
                lease.run_command(doc! { "ping": 1 }).await.unwrap();
            }
        });
    }
    pools
}

/// Eight callers, again and again, for as long as the pools are watched.
fn work<F: Future<Output = ()> + Send>(once: impl Fn() -> F + Clone + Send + Sync + 'static) {
    let until = Instant::now() + watched();
    for _ in 0..8 {
        let once = once.clone();
        tokio::spawn(async move {
            while Instant::now() < until {
                once().await;
            }
        });
    }
}

/// Every metric of the table arrives with its type, its unit and its help, from each pool, and
/// quantiles from the histograms are those of the pool, to within a bucket.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_prometheus_has_every_metric_of_the_table() {
    let Some(program) = program("prometheus", "prometheus") else {
        return;
    };
    let pools = pools().await;
    let registry = Registry::new();
    for pool in &pools {
        registry.register_as(pool.name(), Arc::clone(pool)).unwrap();
    }
    let listener = listen(&registry, "127.0.0.1:0").await;
    let address = listener.address();
    let rules = artifacts::prometheus_rules(0.05);
    let start = move || Prometheus::start(&program, address, &rules);
    let prometheus = tokio::task::spawn_blocking(start).await.unwrap();
    tokio::time::sleep(watched()).await;
    // Nobody uses them any more.
    for pool in &pools {
        while pool.snapshot().metrics.active_connections > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    let quantiles: Vec<_> = pools
        .iter()
        .map(|pool| (pool.name().to_owned(), pool.snapshot().metrics))
        .collect();
    tokio::task::spawn_blocking(move || {
        check_metrics(&get(&format!("http://{address}/metrics")).unwrap());
        let scrapes = "count_over_time(up{job=\"pools\"}[1h])";
        let last = prometheus.value(scrapes).unwrap_or_default();
        // One that began after the last checkout, and has ended.
        until("two more scrapes", || {
            (prometheus.value(scrapes)? >= last + 2.0).then_some(())
        });
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
            let least = metric
                .attributes
                .iter()
                .map(|one| one.values.len())
                .product::<usize>();
            for (pool, _) in &quantiles {
                let of = format!("{{db_client_connection_pool_name=\"{pool}\"}}");
                let count = prometheus.value(&format!("count({series}{of})"));
                assert!(
                    count.is_some_and(|count| count >= least as f64),
                    "{series}{of}: {count:?}"
                );
            }
        }
        for (pool, own) in &quantiles {
            for (metric, own) in [
                ("db_client_connection_use_time_seconds", own.hold),
                ("db_client_connection_create_time_seconds", own.connect),
                ("db_client_connection_wait_time_seconds", own.wait),
            ] {
                assert!(own.count > 0, "{pool}: {metric}");
                let of = format!("{metric}_bucket{{db_client_connection_pool_name=\"{pool}\"}}");
                for (q, own) in [(0.5, own.p50), (0.9, own.p90), (0.99, own.p99)] {
                    let query = format!("histogram_quantile({q}, {of})");
                    let value = prometheus.value(&query).unwrap();
                    let (theirs, ours) = (bucket(value), bucket(own / 1e3));
                    assert!(
                        theirs.abs_diff(ours) <= 1,
                        "{pool}: {metric} {q}: {value} s, {own} ms"
                    );
                }
            }
        }
        eprintln!("{} scrapes", prometheus.value(scrapes).unwrap());
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

/// The rules: as committed where `POOLS_RULES_AS_THEY_ARE` is set, which takes five minutes; else
/// what the same code makes of them at a twentieth of their times.
fn rules() -> String {
    if rules_as_they_are() {
        std::fs::read_to_string(root().join("alerts/pools.rules.yml")).unwrap()
    } else {
        artifacts::prometheus_rules(0.05)
    }
}

/// Four times as many callers as connections, each of whom holds one for a while and asks again: the
/// alert fires. With as many callers as connections it resolves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overloaded_pool_fires_the_alert_and_it_resolves() {
    let Some(program) = program("prometheus", "prometheus") else {
        return;
    };
    let (pool, _script) = pool("orders");
    let registry = Registry::new();
    registry.register(pool.clone()).unwrap();
    let listener = listen(&registry, "127.0.0.1:0").await;
    let address = listener.address();
    let caller = || {
        let pool = pool.clone();
        tokio::spawn(async move {
            loop {
                let held = pool.acquire().await.unwrap();
                tokio::time::sleep(Duration::from_millis(100)).await;
                drop(held);
            }
        })
    };
    let surplus: Vec<_> = (0..12).map(|_| caller()).collect();
    let others: Vec<_> = (0..4).map(|_| caller()).collect();
    let prometheus = tokio::task::spawn_blocking(move || {
        let prometheus = Prometheus::start(&program, address, &rules());
        let began = Instant::now();
        let fired = until("PoolExhausted fires", || {
            firing(&prometheus).remove("PoolExhausted")
        });
        eprintln!("PoolExhausted fires after {:?}", began.elapsed());
        assert_eq!(fired["db_client_connection_pool_name"], "orders");
        assert_eq!(fired["severity"], "page");
        prometheus
    })
    .await
    .unwrap();
    surplus.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::task::spawn_blocking(move || {
        let began = Instant::now();
        until("PoolExhausted resolves", || {
            (!firing(&prometheus).contains_key("PoolExhausted")).then_some(())
        });
        eprintln!("PoolExhausted resolves after {:?}", began.elapsed());
    })
    .await
    .unwrap();
    // The load goes on; it is no overload any more.
    assert!(pool.pool_metrics().active_connections > 0);
    others.iter().for_each(tokio::task::JoinHandle::abort);
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
