//! A bb8 manager from the registry, unchanged, on this engine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bb8_postgres::PostgresConnectionManager;
use bb8_postgres::tokio_postgres::{Config, NoTls};
use pool_core::Pool;
use pool_core::bb8::Bb8Manager;

use crate::server;

#[tokio::test(flavor = "multi_thread")]
async fn bb8_postgres_runs_unchanged_and_is_resized_under_load() {
    let Some((_, mut server)) = server::pool("bb8-postgres").await else {
        return;
    };
    let mut config: Config = integration_tests::postgres_url()
        .expect("there is a server")
        .parse()
        .expect("the URL of the test server is good");
    config.application_name(server.name());
    let manager = Bb8Manager::new(PostgresConnectionManager::new(config, NoTls));
    let pool = Pool::builder(manager)
        .name("bb8-postgres")
        .limits(2, 10)
        .build()
        .expect("valid settings");
    pool.warmup_pool().await.expect("the server is up");
    server.settles_at(2).await;

    let stop = Arc::new(AtomicBool::new(false));
    let sums = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..40)
        .map(|n: i32| {
            let (pool, stop, sums) = (pool.clone(), Arc::clone(&stop), Arc::clone(&sums));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let client = pool.acquire().await.expect("the pool is open");
                    let row = client
                        .query_one("select $1::int4 + 1", &[&n])
                        .await
                        .expect("it runs");
                    assert_eq!(
                        row.get::<_, i32>(0),
                        n + 1,
                        "an answer to somebody else's question"
                    );
                    sums.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();

    for (min, max) in [(2, 10), (0, 3), (2, 20), (5, 5), (1, 8)]
        .into_iter()
        .cycle()
        .take(15)
    {
        pool.set_limits(min, max).expect("valid limits");
        // Those in use close on return: a query later the server has no more than it may.
        let before = sums.load(Ordering::Relaxed);
        while sums.load(Ordering::Relaxed) < before + 400 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // What was being opened when the limit fell is closed when it lands.
        server::until("those above the limit are closed", || {
            pool.counts().total <= max
        })
        .await;
        for _ in 0..20 {
            server.has_at_most(max).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no query failed");
    }

    pool.set_limits(0, 4).expect("valid limits");
    // A connect that was under way lands, and is closed.
    server::until("four are left", || pool.counts().total == 4).await;
    server.settles_at(4).await;
    let counts = pool.counts();
    assert_eq!((counts.active, counts.waiting), (0, 0), "{counts}");
    let report = pool.close(Duration::from_secs(10)).await;
    assert!(report.clean, "{report}");
    server.settles_at(0).await;
}
