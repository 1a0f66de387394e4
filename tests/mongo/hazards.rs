//! What the driver does by itself that a pool on top of it has to know, and what takes a lease for
//! long.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use mongodb::options::ClientOptions;

use crate::support::{Site, eventually, in_use, with_password};

/// Why warm-up holds sockets by commands of its own: the driver's never ends where a socket cannot
/// be authenticated, and takes the client with it. Should this fail, the driver has been mended.
#[tokio::test(flavor = "multi_thread")]
async fn the_drivers_own_warming_hangs_with_a_wrong_password_and_ours_tells() {
    let Some(site) = Site::new("hang").await else {
        return;
    };
    let wrong = with_password(&site.url, "c4n4ry-p4ssw0rd");
    let mut options = ClientOptions::parse(&wrong).await.unwrap();
    options.min_pool_size = Some(2);
    options.heartbeat_freq = Some(Duration::from_millis(500));
    let ready = Arc::<AtomicBool>::default();
    let seen = Arc::clone(&ready);
    options.cmap_event_handler = Some(EventHandler::callback(move |event| match event {
        CmapEvent::PoolReady(_) => seen.store(true, Ordering::Relaxed),
        CmapEvent::PoolCleared(_) => seen.store(false, Ordering::Relaxed),
        _ => {}
    }));
    let client = Client::with_options(options).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        // Heartbeats need no user; before one has succeeded warming does nothing.
        eventually(Duration::from_secs(10), "the server is found", || {
            ready.load(Ordering::Relaxed)
        })
        .await;
        let warming = client.warm_connection_pool();
        if tokio::time::timeout(Duration::from_secs(3), warming)
            .await
            .is_err()
        {
            break;
        }
        assert!(Instant::now() < end, "the driver's warming ends");
    }
    let timeout = Duration::from_secs(3);
    let pool = site
        .builder_for(&wrong)
        .limits(2, 4)
        .acquire_timeout(timeout);
    let pool = pool.build().await.unwrap();
    let began = Instant::now();
    let error = pool.warmup_pool().await.map(drop).unwrap_err();
    assert!(
        began.elapsed() < timeout + Duration::from_secs(1),
        "{error}"
    );
    assert!(
        error.to_string().contains("authentication failed"),
        "{error}"
    );
    let began = Instant::now();
    pool.close(Duration::from_secs(2)).await;
    assert!(began.elapsed() < Duration::from_secs(3), "closing hangs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_stream_keeps_its_lease_or_runs_beside_the_pool() {
    let Some(site) = Site::new("stream").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 2).ceiling(4)).await;
    let lease = pool.acquire().await.unwrap();
    let rows = lease.collection::<Document>("rows");
    rows.insert_one(doc! { "_id": 0 }).await.unwrap();
    let stream = rows.watch().await.unwrap();
    let mut stream = lease.into_leased(stream);
    assert_eq!(pool.counts().active, 1, "the stream has the lease");
    let writer = pool.acquire().await.unwrap();
    let rows = writer.collection::<Document>("rows");
    rows.insert_one(doc! { "_id": 1 }).await.unwrap();
    let next = stream.next_if_any();
    let change = tokio::time::timeout(Duration::from_secs(10), next);
    let mut change = change.await.unwrap().unwrap();
    while change.is_none() {
        change = stream.next_if_any().await.unwrap();
    }
    assert_eq!(change.unwrap().full_document, Some(doc! { "_id": 1 }));
    drop(stream);
    assert_eq!(pool.counts().active, 1, "only the writer's is left");

    // Beside the pool: it costs no lease, and a socket only while it asks.
    let mut beside = writer
        .client()
        .database(&site.name)
        .collection::<Document>("rows")
        .watch()
        .await
        .unwrap();
    drop(writer);
    assert_eq!(pool.counts().active, 0);
    let both = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    let rows = both[0].collection::<Document>("rows");
    rows.insert_one(doc! { "_id": 2 }).await.unwrap();
    let mut change = None;
    let end = Instant::now() + Duration::from_secs(10);
    while change.is_none() && Instant::now() < end {
        change = beside.next_if_any().await.unwrap();
    }
    assert_eq!(change.unwrap().full_document, Some(doc! { "_id": 2 }));
    drop((beside, both));
    eventually(Duration::from_secs(5), "no socket is in use", || {
        in_use(&pool) == 0
    })
    .await;
    site.clean().await;
}
