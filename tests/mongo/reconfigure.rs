//! A new client in place of the old one, without a failed operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use pool_mongo::{LimitsError, MongoPool, ReconfigureError};

use crate::support::{Site, eventually, with_password};

const CANARY: &str = "c4n4ry-p4ssw0rd";

/// Callers that work until they are told to stop, and count their failures.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU32>,
    tasks: tokio::task::JoinSet<Vec<String>>,
}

impl Load {
    fn begin(pool: &MongoPool) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicU32>::default());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..6 {
            let (pool, stop, done) = (pool.clone(), Arc::clone(&stop), Arc::clone(&done));
            tasks.spawn(async move {
                let mut failures = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let ping = |db: mongodb::Database| async move {
                        db.run_command(doc! { "ping": 1 }).await
                    };
                    match pool.run(ping).await {
                        Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Err(error) => failures.push(error.to_string()),
                    }
                }
                failures
            });
        }
        Self { stop, done, tasks }
    }

    /// Waits for some more work to be done.
    async fn goes_on(&self) {
        let wanted = self.done.load(Ordering::Relaxed) + 50;
        eventually(Duration::from_secs(10), "work goes on", || {
            self.done.load(Ordering::Relaxed) >= wanted
        })
        .await;
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(failures) = self.tasks.join_next().await {
            assert_eq!(failures.unwrap(), Vec::<String>::new());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_takes_over_under_load_and_the_old_one_ends() {
    let Some(site) = Site::new("takeover").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(3, 6).ceiling(6)).await;
    pool.warmup_pool().await.unwrap();
    let load = Load::begin(&pool);
    load.goes_on().await;
    // The same servers and user by another name, so that the server tells the clients apart.
    let renamed = format!("{}&appName={}_new", site.url, site.name);
    let report = pool
        .reconfigure()
        .uri(renamed)
        .ceiling(9)
        .drain_within(Duration::from_secs(5))
        .apply()
        .await
        .unwrap();
    assert!(report.sockets >= 3, "{report}");
    assert_eq!(report.old_leases, 0, "{report}");
    load.goes_on().await;
    site.server_sockets_become(|sockets| sockets == 0, Duration::from_secs(5))
        .await;
    load.end().await;
    assert!(pool.ready());
    assert_eq!((pool.ceiling(), pool.limits().max()), (9, 6));
    pool.set_limits(3, 9).unwrap();
    assert!(matches!(
        pool.set_limits(3, 10),
        Err(LimitsError::AboveCeiling { .. })
    ));
    let report = pool.close(Duration::from_secs(5)).await;
    assert!(report.clean, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_of_the_old_client_is_not_interrupted() {
    let Some(site) = Site::new("holder").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 2)).await;
    let held = pool.acquire().await.unwrap();
    let rows = held.collection::<Document>("rows");
    rows.insert_one(doc! { "_id": 1 }).await.unwrap();
    let report = pool.reconfigure().ceiling(50).apply().await.unwrap();
    assert_eq!(report.old_leases, 1, "{report}");
    assert!(
        report.to_string().contains("1 leases of the old client"),
        "{report}"
    );
    rows.insert_one(doc! { "_id": 2 }).await.unwrap();
    let new = pool.acquire().await.unwrap();
    assert_eq!(
        new.collection::<Document>("rows")
            .count_documents(doc! {})
            .await
            .unwrap(),
        2
    );
    drop(held);
    let after = Instant::now();
    while rows.insert_one(doc! {}).await.is_ok() {
        assert!(
            after.elapsed() < Duration::from_secs(5),
            "the old client still works"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    new.run_command(doc! { "ping": 1 }).await.unwrap();
    site.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_cannot_be_used_leaves_the_old_one_serving() {
    let Some(site) = Site::new("refused").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(2, 6)).await;
    pool.warmup_pool().await.unwrap();
    let before = site.server_sockets().await;
    let load = Load::begin(&pool);

    let began = Instant::now();
    let wrong = pool
        .reconfigure()
        .uri(with_password(&site.url, CANARY))
        .apply()
        .await;
    let error = wrong.map(drop).unwrap_err();
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    assert!(matches!(error, ReconfigureError::Connect(_)), "{error:?}");
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("authentication failed") && !text.contains(CANARY),
        "{text}"
    );
    load.goes_on().await;

    let malformed = pool
        .reconfigure()
        .uri("mongodb://u:c4n4ry-p4ssw0rd@h:x/")
        .apply()
        .await;
    let error = malformed.map(drop).unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(
        text.contains("host `h`") && !text.contains(CANARY),
        "{text}"
    );
    let low = pool
        .reconfigure()
        .ceiling(5)
        .apply()
        .await
        .map(drop)
        .unwrap_err();
    let text = low.to_string();
    assert!(
        text.contains("max 6") && text.contains("ceiling 5"),
        "{text}"
    );
    load.goes_on().await;
    load.end().await;
    assert!(pool.ready() && site.server_sockets().await >= before);

    pool.close(Duration::from_secs(5)).await;
    let closed = pool
        .reconfigure()
        .ceiling(20)
        .apply()
        .await
        .map(drop)
        .unwrap_err();
    assert!(
        matches!(closed, ReconfigureError::Closed { .. }),
        "{closed:?}"
    );
}

/// Callers that waited out what the last server had earned would be told of a password that is not
/// in use any more.
#[tokio::test(flavor = "multi_thread")]
async fn failures_of_the_old_client_are_not_the_new_ones() {
    let Some(site) = Site::new("forgotten").await else {
        return;
    };
    for _ in 0..5 {
        let wrong = with_password(&site.url, CANARY);
        let pool = site.builder_for(&wrong).limits(0, 2).build().await.unwrap();
        let right = pool.reconfigure().uri(site.url.as_str());
        let right = right.prepare().await.unwrap();
        // Up to the last moment, so that it falls into a pause between attempts.
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            pool.acquire().await.map(drop).unwrap_err();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        right.take_over();
        let began = Instant::now();
        let lease = pool.acquire().await.unwrap();
        let took = began.elapsed();
        assert!(took < Duration::from_millis(100), "{took:?}");
        lease.run_command(doc! { "ping": 1 }).await.unwrap();
        drop(lease);
        pool.close(Duration::MAX).await;
    }
}
