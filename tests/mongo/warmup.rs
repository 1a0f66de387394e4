//! Warm-up opens exactly what was asked for, and the minimum stays.

use std::time::Duration;

use pool_mongo::{MongoPool, MongoWarmupError, MongoWarmupReport};
use pool_testkit::Fault;
use tokio::task::JoinHandle;

use crate::support::{Site, UNREACHABLE, behind_a_proxy, eventually, open};

#[tokio::test(flavor = "multi_thread")]
async fn warm_up_opens_exactly_the_minimum() {
    for min in [0, 1, 5, 20] {
        let Some(site) = Site::new("exactly").await else {
            return;
        };
        let pool = site
            .pool(|builder| builder.limits(min, 30).max_connecting(2))
            .await;
        assert!(!pool.ready() && !pool.pool_metrics().ready);
        let report = pool.warmup_pool().await.unwrap();
        // One socket carries the proof that the server can be used.
        let wanted = min.max(1);
        assert_eq!((report.wanted, report.sockets), (min, wanted), "{report}");
        assert_eq!(site.server_sockets().await, wanted);
        assert!(pool.ready() && pool.pool_metrics().ready);
        assert_eq!(pool.counts().idle, min);
        assert_eq!(report.leases.open, min);
        let again = pool.warmup_pool().await.unwrap();
        assert_eq!(
            (again.sockets, again.sockets_opened),
            (wanted, 0),
            "{again}"
        );
        assert_eq!(site.server_sockets().await, wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_warm_ups_at_once_open_no_more() {
    let Some(site) = Site::new("twice").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(6, 20)).await;
    let (first, second) = tokio::join!(pool.warmup_pool(), pool.warmup_pool());
    assert_eq!((first.unwrap().sockets, second.unwrap().sockets), (6, 6));
    assert_eq!(site.server_sockets().await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_minimum_outlives_the_idle_timeout() {
    let Some(site) = Site::new("kept").await else {
        return;
    };
    let idle = Duration::from_secs(2);
    let pool = site
        .pool(|builder| builder.limits(5, 10).idle_timeout(idle))
        .await;
    pool.warmup_pool().await.unwrap();
    for _ in 0..8 {
        tokio::time::sleep(idle / 2).await;
        assert_eq!(site.server_sockets().await, 5);
    }
    let closed: u64 = pool
        .sockets()
        .iter()
        .map(|server| server.closed.total())
        .sum();
    assert_eq!(closed, 0, "kept, not closed and opened again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minimum_that_changes_is_followed_up_and_down() {
    let Some(site) = Site::new("changed").await else {
        return;
    };
    let idle = Duration::from_secs(2);
    let pool = site
        .pool(|builder| builder.limits(1, 20).idle_timeout(idle))
        .await;
    pool.warmup_pool().await.unwrap();
    pool.set_limits(9, 20).unwrap();
    site.server_sockets_become(|sockets| sockets == 9, Duration::from_secs(3))
        .await;
    // The server may count a socket a moment before the driver says that it is ready.
    eventually(Duration::from_secs(1), "nine are open", || open(&pool) == 9).await;
    pool.set_limits(2, 20).unwrap();
    site.server_sockets_become(|sockets| sockets == 2, idle + Duration::from_secs(2))
        .await;
    tokio::time::sleep(idle * 2).await;
    assert_eq!(site.server_sockets().await, 2);
}

fn in_the_background(pool: &MongoPool) -> JoinHandle<Result<MongoWarmupReport, MongoWarmupError>> {
    let pool = pool.clone();
    tokio::spawn(async move { pool.warmup_pool().await })
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_takes_over_from_one_whose_warm_up_goes_on() {
    let Some(site) = Site::new("corrected").await else {
        return;
    };
    let pool = site.builder_for(UNREACHABLE).limits(3, 6);
    let pool = pool
        .acquire_timeout(Duration::from_secs(20))
        .connect_timeout(Duration::from_secs(3))
        .build()
        .await
        .unwrap();
    let warming = in_the_background(&pool);
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert!(!warming.is_finished(), "an attempt that failed passes");
    let corrected = pool.reconfigure().uri(site.url.clone()).apply();
    corrected.await.unwrap();
    let report = warming.await.unwrap().unwrap();
    assert!(report.sockets >= 3 && pool.ready(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_slow_is_not_silent() {
    let Some(site) = Site::new("slow").await else {
        return;
    };
    let (url, proxy) = behind_a_proxy(&site.url).await;
    let connect = Duration::from_secs(3);
    let pool = site
        .builder_for(&url)
        .limits(0, 60)
        .max_connecting(2)
        .connect_timeout(connect)
        .acquire_timeout(Duration::from_secs(60))
        .build()
        .await
        .unwrap();
    drop(pool.acquire().await.unwrap());
    proxy.set(Fault::Delay(Duration::from_millis(75))).await;
    pool.set_limits(40, 60).unwrap();
    let warming = in_the_background(&pool);
    eventually(Duration::from_secs(20), "some are open", || open(&pool) > 4).await;
    pool.set_limits(44, 60).unwrap();
    let report = warming.await.unwrap().unwrap();
    assert_eq!(report.wanted, 44, "the minimum was raised: {report}");
    assert!(report.sockets >= 44, "{report}");
    let one_attempt = connect + Duration::from_secs(1);
    assert!(report.elapsed > one_attempt, "no test of this: {report}");
    let dropped: u64 = report
        .servers
        .iter()
        .map(|server| server.closed.dropped)
        .sum();
    assert_eq!(dropped, 0, "{:?}", report.servers);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_freezes_does_not_keep_the_warm_up_from_another() {
    let Some(site) = Site::new("frozen").await else {
        return;
    };
    let (url, proxy) = behind_a_proxy(&site.url).await;
    let pool = site
        .builder_for(&url)
        .limits(2, 6)
        .connect_timeout(Duration::from_secs(3))
        .acquire_timeout(Duration::from_secs(60))
        .build()
        .await
        .unwrap();
    drop(pool.acquire().await.unwrap());
    proxy.set(Fault::Blackhole).await;
    let warming = in_the_background(&pool);
    tokio::time::sleep(Duration::from_millis(300)).await;
    let other = pool.reconfigure().uri(site.url.clone()).apply();
    other.await.unwrap();
    let report = warming.await.unwrap().unwrap();
    assert!(report.elapsed < Duration::from_secs(30), "{report}");
    assert!(report.sockets >= 2 && pool.ready(), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_a_warm_up_which_says_so() {
    let pool = MongoPool::builder(UNREACHABLE)
        .database("closed")
        .limits(3, 6)
        .build()
        .await
        .unwrap();
    let warming = in_the_background(&pool);
    tokio::time::sleep(Duration::from_millis(300)).await;
    pool.close(Duration::from_secs(1)).await;
    let error = warming.await.unwrap().map(drop).unwrap_err();
    assert!(error.elapsed < Duration::from_secs(4), "{error}");
    let text = error.to_string();
    assert!(text.contains("0 of 3") && text.contains("closed"), "{text}");
    let error = pool.warmup_pool().await.map(drop).unwrap_err();
    assert!(error.to_string().contains("closed"), "{error}");
}
