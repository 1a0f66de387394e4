//! Sizing by load is real at the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mongodb::bson::doc;
use pool_core::sizing::Direction;
use pool_core::{DynamicPoolConfig, DynamicSizing as _};

use crate::support::Site;

const CEILING: u32 = 24;

const LOAD: Duration = Duration::from_secs(6);

const CONFIG: DynamicPoolConfig = DynamicPoolConfig {
    enabled: true,
    min_size: 2,
    max_size: 20,
    scale_up_threshold: 70.0,
    scale_down_threshold: 30.0,
    scale_up_increment: 6,
    scale_down_increment: 18,
    evaluation_interval: 250,
};

#[tokio::test(flavor = "multi_thread")]
async fn the_server_follows_the_load_up_and_down() {
    let Some(site) = Site::new("dynamic").await else {
        return;
    };
    let idle = Duration::from_secs(1);
    let pool = site
        .pool(|builder| builder.ceiling(CEILING).idle_timeout(idle).dynamic(CONFIG))
        .await;
    pool.warmup_pool().await.unwrap();
    assert_eq!(site.server_sockets().await, 2);

    let stop = Arc::<AtomicBool>::default();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..40 {
        let (pool, stop) = (pool.clone(), Arc::clone(&stop));
        tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let lease = pool.acquire().await.unwrap();
                lease.run_command(doc! { "ping": 1 }).await.unwrap();
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
    }
    // Throughout, not only until it has grown: what is opened in passing counts as well.
    let mut samples = Vec::new();
    let end = Instant::now() + LOAD;
    while Instant::now() < end {
        samples.push(site.server_sockets().await);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let peak = samples.iter().copied().max().unwrap_or(0);
    assert!(peak >= 15, "{peak} sockets at 20 leases under load");
    assert!(pool.counts().total > 10);

    // One evaluation sees the idle pool; then the sockets have `idle_timeout` and 2 s.
    let within =
        Duration::from_millis(2 * CONFIG.evaluation_interval) + idle + Duration::from_secs(2);
    let end = Instant::now() + within;
    while samples.last() != Some(&2) {
        assert!(Instant::now() < end, "not within {within:?}: {samples:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        samples.push(site.server_sockets().await);
    }
    // The driver's two monitoring connections are beside these.
    assert!(
        samples.iter().all(|sockets| *sockets <= CEILING),
        "above the ceiling: {samples:?}"
    );
    let directions: Vec<_> = pool
        .sizing_decisions()
        .iter()
        .map(|record| record.decision.direction)
        .collect();
    assert!(directions.contains(&Direction::Down), "{directions:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_is_checked_against_the_ceiling() {
    let Some(site) = Site::new("checked").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(1, 5).ceiling(10)).await;
    let refused = pool
        .set_dynamic_pool_config(CONFIG)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("maxSize 20") && refused.contains("ceiling 10"),
        "{refused}"
    );
    let contradicting = DynamicPoolConfig {
        min_size: 9,
        max_size: 8,
        ..CONFIG
    };
    let refused = pool
        .set_dynamic_pool_config(contradicting)
        .unwrap_err()
        .to_string();
    assert!(
        refused.contains("minSize 9") && refused.contains("maxSize 8"),
        "{refused}"
    );
    assert_eq!(pool.dynamic_pool_config(), None);
    assert_eq!((pool.limits().min(), pool.limits().max()), (1, 5));
    let fits = DynamicPoolConfig {
        max_size: 10,
        ..CONFIG
    };
    pool.set_dynamic_pool_config(fits).unwrap();
    assert_eq!((pool.limits().min(), pool.limits().max()), (2, 10));
    assert_eq!(pool.dynamic_pool_config(), Some(fits));
}
