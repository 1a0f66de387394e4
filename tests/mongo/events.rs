//! What the pool tells those who listen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mongodb::bson::doc;
use pool_core::{EventHandlers, PoolEvent};
use pool_mongo::MongoPool;
use pool_testkit::Fault;

use crate::support::{Site, behind_a_proxy, eventually};

#[tokio::test(flavor = "multi_thread")]
async fn listeners_hear_the_life_of_leases() {
    let Some(site) = Site::new("events").await else {
        return;
    };
    let counts = Arc::new([const { AtomicU32::new(0) }; 3]);
    let count = |at: usize| {
        let counts = Arc::clone(&counts);
        move || {
            counts[at].fetch_add(1, Ordering::Relaxed);
        }
    };
    let handlers = EventHandlers::new()
        .on_pool_created(count(0))
        .on_connect(count(1))
        .on_disconnect(count(2));
    let pool = site
        .pool(|builder| builder.limits(2, 4).events(handlers))
        .await;
    pool.warmup_pool().await.unwrap();
    let heard = |at: usize| counts[at].load(Ordering::Relaxed);
    eventually(Duration::from_secs(2), "creation and two connects", || {
        heard(0) == 1 && heard(1) == 2
    })
    .await;
    let mut events = pool.subscribe();
    pool.set_limits(0, 1).unwrap();
    eventually(Duration::from_secs(2), "one disconnect", || heard(2) == 1).await;
    let changed = tokio::time::timeout(Duration::from_secs(2), async {
        loop {
            if let Some(PoolEvent::LimitsChanged { from, to }) = events.next().await {
                return (from.max(), to.max());
            }
        }
    });
    assert_eq!(changed.await, Ok((4, 1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_hear_why_the_server_cannot_be_reached() {
    let heard = Arc::new(std::sync::Mutex::new(String::new()));
    let handlers = EventHandlers::new().on_error({
        let heard = Arc::clone(&heard);
        move |error| *heard.lock().unwrap() = error.to_string()
    });
    let pool = MongoPool::builder("mongodb://127.0.0.1:9/db?directConnection=true")
        .limits(0, 1)
        .acquire_timeout(Duration::from_millis(500))
        .events(handlers)
        .build()
        .await
        .unwrap();
    pool.acquire().await.map(drop).unwrap_err();
    eventually(Duration::from_secs(2), "the error is heard", || {
        heard.lock().unwrap().contains("127.0.0.1:9")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_held_for_long_is_reported_with_its_line() {
    let Some(site) = Site::new("leak").await else {
        return;
    };
    let threshold = Duration::from_millis(100);
    let pool = site.pool(|builder| builder.leak_threshold(threshold)).await;
    let mut events = pool.subscribe();
    let lease = pool.acquire().await.unwrap();
    lease.run_command(doc! { "ping": 1 }).await.unwrap();
    let leak = tokio::time::timeout(Duration::from_secs(5), async {
        loop {
            if let Some(PoolEvent::LeakSuspected(leak)) = events.next().await {
                return leak;
            }
        }
    });
    let leak = leak.await.expect("the leak is reported");
    assert!(leak.caller.file().ends_with("events.rs"), "{}", leak.caller);
    assert_eq!(pool.pool_metrics().counters.leaks_suspected, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn subscribers_hear_when_the_driver_loses_and_finds_a_server() {
    let Some(site) = Site::new("trust").await else {
        return;
    };
    let (url, proxy) = behind_a_proxy(&site.url).await;
    // Found only once somebody listens.
    proxy.set(Fault::Delay(Duration::from_secs(1))).await;
    let pool = site.builder_for(&url).build().await.unwrap();
    let mut events = pool.subscribe();
    proxy.set(Fault::Pass).await;
    let mut next = async || {
        let told = tokio::time::timeout(Duration::from_secs(20), async {
            loop {
                match events.next().await.expect("the pool is there") {
                    PoolEvent::ServerReady { address } => return ("ready", address),
                    PoolEvent::ServerCleared { address } => return ("cleared", address),
                    _ => {}
                }
            }
        });
        told.await.expect("a change is told of")
    };
    let address: Arc<str> = proxy.address().to_string().into();
    assert_eq!(next().await, ("ready", Arc::clone(&address)));

    proxy.set(Fault::Refuse).await;
    proxy.cut_all().await;
    assert_eq!(next().await, ("cleared", Arc::clone(&address)));
    proxy.set(Fault::Pass).await;
    // Looks for the server, so that it need not wait for the next heartbeat.
    let lease = pool.acquire().await.unwrap();
    lease.run_command(doc! { "ping": 1 }).await.unwrap();
    assert_eq!(next().await, ("ready", address));
}
