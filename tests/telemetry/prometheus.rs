//! A real Prometheus scrapes real pools.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use integration_tests::program;
use integration_tests::prometheus::{Prometheus, check_metrics, get, rules, until, watched};
use mongodb::bson::doc;
use pool_core::PoolControl;
use pool_mongo::MongoPool;
use pool_postgres::PostgresPool;
use pool_telemetry::{Registry, artifacts};
use serde_json::json;

use crate::support::{listen, pool};

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
    tokio::task::spawn_blocking(move || {
        check_metrics(&get(&format!("http://{address}/metrics")).unwrap());
        prometheus.scrape_anew();
        let names: Vec<_> = pools.iter().map(|pool| pool.name()).collect();
        let with_servers = pools.iter().filter(|pool| !pool.servers().is_empty());
        let with_servers: Vec<_> = with_servers.map(|pool| pool.name()).collect();
        prometheus.has_every_metric_of(&names, &with_servers);
        for pool in &pools {
            prometheus.has_the_quantiles_of(pool.name(), || {
                let metrics = pool.snapshot().metrics;
                let times = |own: pool_core::Quantiles| {
                    json!({ "count": own.count, "p50": own.p50, "p90": own.p90, "p99": own.p99 })
                };
                json!({ "wait": times(metrics.wait), "hold": times(metrics.hold),
                    "connect": times(metrics.connect) })
            });
        }
        eprintln!("{} scrapes", prometheus.scrapes());
    })
    .await
    .unwrap();
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
            prometheus.firing().remove("PoolExhausted")
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
            (!prometheus.firing().contains_key("PoolExhausted")).then_some(())
        });
        eprintln!("PoolExhausted resolves after {:?}", began.elapsed());
    })
    .await
    .unwrap();
    // The load goes on; it is no overload any more.
    assert!(pool.pool_metrics().active_connections > 0);
    others.iter().for_each(tokio::task::JoinHandle::abort);
}
