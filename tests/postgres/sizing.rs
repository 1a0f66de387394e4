//! Dynamic sizing, seen from the server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pool_core::DynamicPoolConfig;

use crate::server::{self, SOON};

const fn config() -> DynamicPoolConfig {
    DynamicPoolConfig {
        enabled: true,
        min_size: 2,
        max_size: 12,
        scale_up_threshold: 70.0,
        scale_down_threshold: 30.0,
        scale_up_increment: 3,
        scale_down_increment: 4,
        evaluation_interval: 100,
    }
}

#[tokio::test]
async fn load_grows_the_pool_and_quiet_shrinks_it_at_the_server() {
    let Some((builder, mut server)) = server::pool("sizing").await else {
        return;
    };
    let pool = builder.dynamic(config()).max_connecting(8).build().unwrap();
    pool.warmup_pool().await.unwrap();
    assert_eq!(server.connections().await, 2);
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..10)
        .map(|_| {
            let (pool, stop) = (pool.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    sqlx::query("select pg_sleep(0.02)")
                        .execute(&pool)
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    // Three more at each evaluation, until ten callers keep a pool of more than eight below 70 %.
    let mut peak = 0;
    let deadline = Instant::now() + SOON;
    while peak < 8 && Instant::now() < deadline {
        peak = peak.max(server.connections().await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    assert!((8..=12).contains(&peak), "{peak} connections at the peak");
    server.settles_at(2).await;
    let decisions = pool_core::DynamicSizing::sizing_decisions(&pool);
    assert!(!decisions.is_empty());
}

#[tokio::test]
async fn a_configuration_at_run_time_is_checked_and_put_in_force() {
    let Some((builder, mut server)) = server::pool("sizing-runtime").await else {
        return;
    };
    let pool = builder.limits(0, 4).build().unwrap();
    let wrong = DynamicPoolConfig {
        min_size: 20,
        ..config()
    };
    let error = pool.set_dynamic_pool_config(wrong).unwrap_err().to_string();
    assert!(error.contains("minSize 20"), "{error}");
    assert_eq!(pool.limits().max(), 4);
    pool.set_dynamic_pool_config(config()).unwrap();
    assert_eq!((pool.limits().min(), pool.limits().max()), (2, 12));
    tokio::time::timeout(SOON, pool.warmup_pool())
        .await
        .unwrap()
        .unwrap();
    server.settles_at(2).await;
}
