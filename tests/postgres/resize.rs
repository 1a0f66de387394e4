//! Limits that change while the pool runs, against what the server counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::server;

#[tokio::test]
async fn growth_serves_waiting_callers_at_once() {
    let Some((builder, mut server)) = server::pool("grow").await else {
        return;
    };
    let pool = builder.limits(0, 2).max_connecting(8).build().unwrap();
    let held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    let waiting: Vec<_> = (0..6)
        .map(|_| {
            tokio::spawn({
                let pool = pool.clone();
                async move { pool.acquire().await.unwrap() }
            })
        })
        .collect();
    server::until("six wait", || pool.counts().waiting == 6).await;
    assert_eq!(server.connections().await, 2);
    pool.set_limits(0, 8).unwrap();
    let mut all = Vec::from(held);
    for waiter in waiting {
        all.push(waiter.await.unwrap());
    }
    assert_eq!(server.connections().await, 8);
}

#[tokio::test]
async fn shrinking_closes_idle_at_once_and_the_rest_on_return() {
    let Some((builder, mut server)) = server::pool("shrink").await else {
        return;
    };
    let pool = builder.limits(10, 10).max_connecting(10).build().unwrap();
    pool.warmup_pool().await.unwrap();
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(pool.acquire().await.unwrap());
    }
    pool.set_limits(0, 3).unwrap();
    server.settles_at(6).await; // the four idle ones are gone, no holder was interrupted
    for connection in &mut held {
        sqlx::query("select 1")
            .execute(&mut **connection)
            .await
            .unwrap();
    }
    held.truncate(4);
    server.settles_at(4).await;
    drop(held);
    server.settles_at(3).await;
    assert_eq!(pool.counts().idle, 3);
    assert!(pool.set_limits(4, 3).is_err());
    assert_eq!(pool.limits().max(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_the_server_never_has_more_than_the_limit_in_force() {
    let Some((builder, mut server)) = server::pool("resize-load").await else {
        return;
    };
    let pool = builder.limits(0, 20).max_connecting(8).build().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..40)
        .map(|_| {
            tokio::spawn({
                let (pool, stop) = (pool.clone(), Arc::clone(&stop));
                async move {
                    let mut done = 0_u32;
                    while !stop.load(Ordering::Relaxed) {
                        sqlx::query("select pg_sleep(0.002)")
                            .execute(&pool)
                            .await
                            .unwrap();
                        done += 1;
                    }
                    done
                }
            })
        })
        .collect();
    for max in [20, 5, 12, 1, 16, 3] {
        pool.set_limits(0, max).unwrap();
        // Each statement takes 2 ms, so all surplus has come back and been closed soon.
        server::until("surplus is closed", || pool.counts().total <= max).await;
        for _ in 0..10 {
            server.has_at_most(max).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for task in load {
        assert!(task.await.unwrap() > 0, "every caller was served");
    }
    server.settles_at(pool.counts().total).await;
    assert!(pool.counts().total <= 3);
}

#[tokio::test]
async fn evictions_replace_connections_without_interrupting_holders() {
    let Some((builder, mut server)) = server::pool("evict").await else {
        return;
    };
    let pool = builder.limits(3, 3).build().unwrap();
    pool.warmup_pool().await.unwrap();
    let mut held = pool.acquire().await.unwrap();
    let old = held.backend_pid();
    pool.soft_evict();
    server::until("the minimum is opened anew", || pool.counts().idle == 2).await;
    sqlx::query("select 1").execute(&mut *held).await.unwrap();
    drop(held);
    server.settles_at(3).await;
    let mut all = Vec::new();
    for _ in 0..3 {
        all.push(pool.acquire().await.unwrap());
    }
    assert!(all.iter().all(|connection| connection.backend_pid() != old));
    assert_eq!(pool.pool_metrics().counters.closed.evicted, 3);
}

#[tokio::test]
async fn a_paused_pool_lends_nothing_until_it_is_resumed() {
    let Some((builder, _server)) = server::pool("pause").await else {
        return;
    };
    let pool = builder.limits(1, 1).build().unwrap();
    pool.warmup_pool().await.unwrap();
    pool.pause(Duration::from_secs(10));
    let query = sqlx::query("select 1").execute(&pool);
    let mut query = std::pin::pin!(query);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), &mut query)
            .await
            .is_err()
    );
    pool.resume();
    query.await.unwrap();
}
