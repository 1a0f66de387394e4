//! A pool of sqlx's own within the same maximum.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pool_core::{DynamicPoolConfig, DynamicSizing as _};
use pool_postgres::SqlxPoolError;
use sqlx::postgres::PgListener;

use crate::server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_pools_together_stay_within_the_maximum() {
    let Some((builder, mut server)) = server::pool("share").await else {
        return;
    };
    let pool = builder
        .limits(0, 8)
        .max_connecting(8)
        .init_sql("set lock_timeout = '77ms'")
        .build()
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut load = Vec::new();
    for _ in 0..12 {
        let (pool, stop) = (pool.clone(), Arc::clone(&stop));
        load.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                sqlx::query("select pg_sleep(0.002)")
                    .execute(&pool)
                    .await
                    .unwrap();
            }
        }));
    }
    server::until("the maximum is in use", || pool.counts().total == 8).await;
    let share = pool.sqlx_pool(3).await.unwrap();
    assert!(pool.counts().total <= 5, "surplus was waited for");
    assert_eq!((pool.limits().max(), pool.engine().limits().max()), (8, 5));
    for _ in 0..6 {
        let (share, stop) = ((*share).clone(), Arc::clone(&stop));
        load.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let set: String = sqlx::query_scalar("select current_setting('lock_timeout')")
                    .fetch_one(&share)
                    .await
                    .unwrap();
                assert_eq!(set, "77ms", "its connections are prepared like the others");
            }
        }));
    }
    server::until("it is used", || share.size() == 3).await;
    let mut most = 0;
    for max in [8, 6, 8] {
        pool.set_limits(0, max).unwrap();
        server::until("surplus is closed", || pool.counts().total <= max - 3).await;
        for _ in 0..20 {
            server.has_at_most(max).await;
            most = most.max(server.connections().await);
        }
    }
    assert!(most > 3, "both were at work: {most}");
    stop.store(true, Ordering::Relaxed);
    for task in load {
        task.await.unwrap();
    }
    share.close().await;
    assert_eq!(pool.engine().limits().max(), 8, "its part is back");
}

#[tokio::test]
async fn a_listener_that_demands_an_sqlx_pool_gets_one() {
    let Some((builder, mut server)) = server::pool("share-listen").await else {
        return;
    };
    let pool = builder.limits(0, 2).build().unwrap();
    let share = pool.sqlx_pool(1).await.unwrap();
    let mut listener = PgListener::connect_with(&share).await.unwrap();
    let channel = server.name().to_owned();
    listener.listen(&channel).await.unwrap();
    sqlx::query("select pg_notify($1, 'AAPL')")
        .bind(&channel)
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(listener.recv().await.unwrap().payload(), "AAPL");
    server.settles_at(2).await;
    drop(listener);
    drop(share); // in the background
    server::until("its part is back", || pool.engine().limits().max() == 2).await;
    server.settles_at(1).await;
}

#[tokio::test]
async fn what_does_not_come_back_is_not_lent_and_not_waited_for_without_end() {
    let Some((builder, _server)) = server::pool("share-kept").await else {
        return;
    };
    let pool = builder.limits(0, 3).build().unwrap();
    let kept = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    let patience = Duration::from_millis(300);
    let unhurried = pool.runtime_settings();
    let mut hurried = unhurried;
    hurried.acquire_timeout = patience;
    pool.set_runtime_settings(hurried).unwrap();
    let error = pool.sqlx_pool(2).await.unwrap_err();
    let SqlxPoolError::TimedOut { surplus, waited } = error else {
        panic!("{error}");
    };
    assert_eq!(surplus, 1);
    assert!((patience..server::SOON).contains(&waited), "{waited:?}");
    assert_eq!(pool.engine().limits().max(), 3, "its part is back");
    drop(kept);
    pool.set_runtime_settings(unhurried).unwrap();
    pool.sqlx_pool(2).await.unwrap().close().await;
}

#[tokio::test]
async fn limits_and_sizing_go_on_to_speak_of_both() {
    let Some((builder, _server)) = server::pool("share-limits").await else {
        return;
    };
    let pool = builder.limits(2, 5).build().unwrap();
    let error = pool.sqlx_pool(5).await.unwrap_err().to_string();
    assert!(error.contains("5 of at most 5"), "{error}");
    pool.sqlx_pool(0).await.unwrap_err();
    let share = pool.sqlx_pool(4).await.unwrap();
    pool.sqlx_pool(1).await.unwrap_err();
    let own = || (pool.engine().limits().min(), pool.engine().limits().max());
    assert_eq!(own(), (1, 1));
    pool.set_limits(0, 4).unwrap_err();
    assert_eq!(
        (pool.limits().min(), pool.limits().max()),
        (2, 5),
        "nothing changed"
    );
    let config = DynamicPoolConfig {
        enabled: true,
        min_size: 3,
        max_size: 9,
        ..Default::default()
    };
    pool.set_dynamic_pool_config(config).unwrap();
    assert_eq!(own(), (3, 5));
    assert_eq!(pool.dynamic_pool_config(), Some(config));
    share.close().await;
    assert_eq!(own(), (3, 9));
    let cancelled = tokio::time::timeout(Duration::ZERO, async {
        let _held = pool.sqlx_pool(2).await.unwrap();
        std::future::pending::<()>().await;
    });
    cancelled.await.unwrap_err();
    server::until("it was given back", || own() == (3, 9)).await;
}
