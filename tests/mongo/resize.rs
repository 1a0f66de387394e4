//! Limits that change while the pool runs.

use std::time::{Duration, Instant};

use mongodb::bson::doc;
use pool_mongo::{LimitsError, MongoLease, MongoPool};

use crate::support::{Site, eventually, open};

/// Uses a socket for `time`, through a lease.
async fn occupy(lease: MongoLease, time: Duration) {
    let admin = lease.other_database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
    let version = hello.get_document("topologyVersion").unwrap();
    let millis = i64::try_from(time.as_millis()).unwrap();
    let late = doc! { "hello": 1, "topologyVersion": version, "maxAwaitTimeMS": millis };
    admin.run_command(late).await.unwrap();
}

async fn load(pool: &MongoPool, callers: usize, time: Duration) {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..callers {
        let pool = pool.clone();
        tasks.spawn(async move { occupy(pool.acquire().await.unwrap(), time).await });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_higher_maximum_serves_those_who_wait_at_once() {
    let Some(site) = Site::new("up").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 1)).await;
    let held = pool.acquire().await.unwrap();
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            tokio::spawn({
                let pool = pool.clone();
                async move { pool.acquire().await }
            })
        })
        .collect();
    eventually(Duration::from_secs(2), "four wait", || {
        pool.counts().waiting == 4
    })
    .await;
    let began = Instant::now();
    pool.set_limits(0, 5).unwrap();
    let mut leases = Vec::new();
    for waiter in waiters {
        leases.push(waiter.await.unwrap().unwrap());
    }
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(pool.counts().active, 5);
    drop((held, leases));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lower_maximum_interrupts_nobody_and_the_servers_sockets_follow() {
    let Some(site) = Site::new("down").await else {
        return;
    };
    let idle = Duration::from_secs(1);
    let pool = site
        .pool(|builder| builder.limits(0, 12).idle_timeout(idle).max_connecting(12))
        .await;
    load(&pool, 12, Duration::from_secs(2)).await;
    let peak: u32 = pool.sockets().iter().map(|server| server.peak_open).sum();
    assert!((12..=13).contains(&peak), "{peak} sockets for 12 callers");
    let held = pool.acquire().await.unwrap();
    let holder = tokio::spawn(occupy(held, Duration::from_millis(500)));
    pool.set_limits(0, 2).unwrap();
    eventually(Duration::from_secs(1), "idle leases are closed", || {
        pool.counts().total <= 2
    })
    .await;
    holder.await.unwrap();
    let began = Instant::now();
    // Two callers all the time, so that two sockets are used and the rest is not.
    let mut left = site.server_sockets().await;
    while left > 2 && began.elapsed() < idle + Duration::from_secs(2) {
        load(&pool, 2, Duration::from_millis(20)).await;
        left = site.server_sockets().await;
    }
    let took = began.elapsed();
    assert!(left <= 2, "{left} sockets {took:?} after the shrink");
    eventually(
        Duration::from_secs(1),
        "the pool's account is the server's",
        || open(&pool) <= 2,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ceiling_is_not_passed_and_the_refusal_names_both_numbers() {
    let Some(site) = Site::new("ceiling").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(1, 4).ceiling(8)).await;
    assert_eq!(pool.ceiling(), 8);
    pool.set_limits(2, 8).unwrap();
    let refused = pool.set_limits(2, 9).unwrap_err();
    assert!(matches!(refused, LimitsError::AboveCeiling { .. }));
    let text = refused.to_string();
    assert!(
        text.contains("max 9") && text.contains("ceiling 8"),
        "{text}"
    );
    assert!(pool.set_limits(5, 4).is_err());
    assert_eq!((pool.limits().min(), pool.limits().max()), (2, 8));
}
