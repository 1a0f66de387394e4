//! Leases do what they say.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind};
use pool_core::AcquireErrorKind;
use pool_mongo::{MongoConfig, MongoPool, RunError};

use crate::support::{Site, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_the_database() {
    let Some(site) = Site::new("lease").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 2)).await;
    let lease = pool.acquire().await.unwrap();
    assert_eq!(lease.name(), site.name);
    let quotes = lease.collection::<Document>("quotes");
    quotes
        .insert_one(doc! { "_id": "A", "price": 1.5 })
        .await
        .unwrap();
    let found = quotes.find_one(doc! { "_id": "A" }).await.unwrap().unwrap();
    assert_eq!(found.get_f64("price"), Ok(1.5));
    let other = lease.other_database("admin");
    assert_eq!(other.name(), "admin");
    other.run_command(doc! { "ping": 1 }).await.unwrap();
    let names = lease.client().list_database_names().await.unwrap();
    assert!(names.contains(&site.name));
    drop(lease);
    let metrics = pool.pool_metrics();
    assert_eq!(
        (metrics.active_connections, metrics.counters.returned),
        (0, 1)
    );
    assert_eq!(pool.database_name(), site.name);
    site.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn run_lends_for_the_length_of_its_work() {
    let Some(site) = Site::new("run").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 1)).await;
    let answer = pool
        .run(|db| async move { db.run_command(doc! { "ping": 1 }).await })
        .await
        .unwrap();
    assert_eq!(answer.get_f64("ok"), Ok(1.0));
    let failed: Result<(), RunError<Error>> = pool
        .run(|db| async move { db.run_command(doc! { "nonsense": 1 }).await.map(drop) })
        .await;
    let Err(RunError::Work(error)) = failed else {
        panic!("want the work's own error, got {failed:?}");
    };
    assert!(matches!(*error.kind, ErrorKind::Command(_)), "{error}");
    assert_eq!(pool.counts().active, 0);
    assert_eq!(pool.pool_metrics().counters.returned, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_and_ceiling_bound_what_the_server_sees() {
    let Some(site) = Site::new("bound").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 3).ceiling(3)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..30 {
        let pool = pool.clone();
        tasks.spawn(async move {
            for row in 0..10 {
                let lease = pool.acquire().await.unwrap();
                let rows = lease.collection::<Document>("rows");
                rows.insert_one(doc! { "task": task, "row": row })
                    .await
                    .unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let metrics = pool.pool_metrics();
    assert_eq!(metrics.counters.acquired, 300);
    assert_eq!(metrics.counters.returned, 300);
    assert!(metrics.counters.peak_total <= 3);
    assert!(metrics.wait.p99 > 0.0, "30 tasks on 3 leases have to wait");
    let peak: u32 = pool.sockets().iter().map(|server| server.peak_open).sum();
    assert!((1..=3).contains(&peak), "{peak} sockets for 3 leases");
    let lease = pool.acquire().await.unwrap();
    let rows = lease.collection::<Document>("rows");
    assert_eq!(rows.count_documents(doc! {}).await.unwrap(), 300);
    site.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn configuration_as_data_builds_the_same_pool() {
    let Some(site) = Site::new("config").await else {
        return;
    };
    for (max, timeout) in [
        ("maxConnections", "acquireTimeoutMs"),
        ("max_connections", "acquire_timeout_ms"),
    ] {
        let text = serde_json::json!({
            "uri": site.url, "database": site.name, "name": site.name, max: 4, timeout: 9_000,
        });
        let config: MongoConfig = serde_json::from_str(&text.to_string()).unwrap();
        let pool = MongoPool::from_config(config).await.unwrap();
        assert_eq!(pool.limits().max(), 4);
        let lease = pool.acquire().await.unwrap();
        lease.run_command(doc! { "ping": 1 }).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_waits_for_leases_and_ends_every_socket() {
    let Some(site) = Site::new("close").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(2, 4)).await;
    pool.warmup_pool().await.unwrap();
    assert_eq!(site.server_sockets().await, 2);
    let lease = pool.acquire().await.unwrap();
    let handle = lease.database().clone();
    let holder = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(200)).await;
        lease.run_command(doc! { "ping": 1 }).await.unwrap();
    });
    let report = pool.close(Duration::from_secs(10)).await;
    holder.await.unwrap();
    assert!(report.clean && report.shut_down, "{report}");
    assert!(report.elapsed >= Duration::from_millis(150), "{report}");
    assert_eq!(report.sockets_open, 0, "{report}");
    site.server_sockets_become(|sockets| sockets == 0, Duration::from_secs(2))
        .await;
    assert!(pool.is_closed() && !pool.ready());
    let refused = pool.acquire().await.unwrap_err();
    let refusal = refused.acquire_error().map(pool_core::AcquireError::kind);
    assert_eq!(refusal, Some(AcquireErrorKind::Closed));
    let late = handle.run_command(doc! { "ping": 1 }).await.unwrap_err();
    assert!(matches!(*late.kind, ErrorKind::Shutdown), "{late}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_is_never_returned_does_not_hold_up_the_end() {
    let Some(site) = Site::new("cut").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 2)).await;
    let lease = pool.acquire().await.unwrap();
    lease.run_command(doc! { "ping": 1 }).await.unwrap();
    let report = pool.close(Duration::from_millis(500)).await;
    assert!(!report.clean, "{report}");
    assert_eq!(report.leases.in_use.len(), 1);
    let text = report.to_string();
    assert!(
        text.contains("basics.rs"),
        "the report names the line: {text}"
    );
    assert!(report.elapsed < Duration::from_secs(2), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_handle_takes_everything_with_it() {
    let Some(site) = Site::new("dropped").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(3, 5)).await;
    pool.warmup_pool().await.unwrap();
    assert_eq!(site.server_sockets().await, 3);
    let clone = pool.clone();
    drop(pool);
    clone
        .acquire()
        .await
        .unwrap()
        .run_command(doc! { "ping": 1 })
        .await
        .unwrap();
    drop(clone);
    site.server_sockets_become(|sockets| sockets == 0, Duration::from_secs(5))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_holds_callers_back_and_nobody_else() {
    let Some(site) = Site::new("pause").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 2)).await;
    let held = pool.acquire().await.unwrap();
    pool.pause(Duration::from_secs(30));
    held.run_command(doc! { "ping": 1 }).await.unwrap();
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(drop) }
    });
    eventually(Duration::from_secs(2), "one caller waits", || {
        pool.counts().waiting == 1
    })
    .await;
    pool.resume();
    waiting.await.unwrap().unwrap();
    assert_eq!((pool.counts().waiting, pool.counts().active), (0, 1));
}
