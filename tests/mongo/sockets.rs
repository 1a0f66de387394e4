//! The pool's account of the driver's sockets is the server's.

use std::time::Duration;

use mongodb::bson::{Document, doc};
use pool_core::PoolControl;
use pool_telemetry::{Registry, TextFormat};
use pool_testkit::Fault;

use crate::support::{Site, behind_a_proxy, eventually, in_use, open};

#[tokio::test(flavor = "multi_thread")]
async fn open_sockets_are_those_that_the_server_has() {
    let Some(site) = Site::new("truth").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 8)).await;
    assert_eq!(site.server_sockets().await, 0);
    for callers in [1, 4, 8] {
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..callers {
            let pool = pool.clone();
            tasks.spawn(async move {
                let lease = pool.acquire().await.unwrap();
                for _ in 0..20 {
                    lease.run_command(doc! { "ping": 1 }).await.unwrap();
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        site.agrees_with(&pool).await;
    }
    eventually(Duration::from_secs(1), "none is in use", || {
        in_use(&pool) == 0
    })
    .await;
    let servers = pool.sockets();
    let [server] = &servers[..] else {
        panic!("one server, got {servers:?}");
    };
    assert!(server.ready && server.connecting == 0, "{server:?}");
    assert_eq!(server.created, u64::from(server.open), "{server:?}");
    assert!(server.last_establish_micros > 0, "{server:?}");
    assert_eq!((server.in_use, server.idle()), (0, server.open));
    assert!(site.url.contains(&server.address), "{server:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_counts_as_in_use_while_an_operation_has_it() {
    let Some(site) = Site::new("using").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 2)).await;
    let lease = pool.acquire().await.unwrap();
    lease
        .collection::<Document>("one")
        .insert_one(doc! {})
        .await
        .unwrap();
    eventually(Duration::from_secs(1), "none is in use", || {
        in_use(&pool) == 0
    })
    .await;
    let slow = tokio::spawn(async move {
        let one = lease.collection::<Document>("one");
        one.find_one(doc! { "$where": "sleep(700) || true" })
            .await
            .unwrap();
    });
    eventually(Duration::from_secs(5), "one socket is in use", || {
        in_use(&pool) == 1
    })
    .await;
    slow.await.unwrap();
    eventually(Duration::from_secs(1), "none is in use", || {
        in_use(&pool) == 0
    })
    .await;
    site.clean().await;
}

/// What is scraped has both truths: the leases and, server by server, the sockets.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_scraped_has_the_sockets_to_each_server_and_what_went_wrong_with_it() {
    let Some(site) = Site::new("scraped").await else {
        return;
    };
    let (url, proxy) = behind_a_proxy(&site.url).await;
    let pool = site.builder_for(&url).limits(3, 8).build().await.unwrap();
    pool.warmup_pool().await.unwrap();
    let registry = Registry::new();
    registry.register(pool.clone()).unwrap();
    let address = proxy.address().to_string();
    let scraped = |name: &str| {
        let (_, text) = TextFormat::Classic.render(&registry.read());
        let series = |line: &&str| {
            line.starts_with(&format!("{name}{{"))
                && line.contains(&format!("server=\"{address}\""))
        };
        let line = text.lines().find(series);
        let line = line.unwrap_or_else(|| panic!("{name}: {text}"));
        line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
    };
    // The pool itself uses them now and then, so that they stay open.
    eventually(Duration::from_secs(5), "none is said to be in use", || {
        in_use(&pool) == 0 && scraped("pool_server_sockets_used") == 0.0
    })
    .await;
    assert_eq!(scraped("pool_server_sockets_open"), f64::from(open(&pool)));
    assert!(open(&pool) >= 3);
    assert_eq!(scraped("pool_server_ready"), 1.0);
    assert_eq!(scraped("pool_server_cleared_total"), 0.0);
    assert_eq!(pool.sockets()[0].last_error, None);

    proxy.set(Fault::Refuse).await;
    proxy.cut_all().await;
    eventually(Duration::from_secs(5), "the driver distrusts it", || {
        scraped("pool_server_ready") == 0.0
    })
    .await;
    eventually(Duration::from_secs(5), "why is known", || {
        let servers = PoolControl::servers(&pool);
        let error = servers[0].last_error.clone().unwrap_or_default();
        error.contains("refused")
    })
    .await;
    proxy.set(Fault::Pass).await;
    eventually(Duration::from_secs(5), "the driver trusts it again", || {
        scraped("pool_server_ready") == 1.0
    })
    .await;
    assert!(scraped("pool_server_cleared_total") >= 1.0);
    let kept = &pool.sockets()[0].last_error;
    assert!(kept.is_some(), "what went wrong is still known");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_sockets_close_and_are_counted_by_reason() {
    let Some(site) = Site::new("reason").await else {
        return;
    };
    let idle = Duration::from_millis(300);
    let pool = site
        .pool(|builder| builder.limits(0, 2).idle_timeout(idle))
        .await;
    pool.acquire()
        .await
        .unwrap()
        .run_command(doc! { "ping": 1 })
        .await
        .unwrap();
    let opened = open(&pool);
    assert!(opened >= 1);
    site.server_sockets_become(|sockets| sockets == 0, idle + Duration::from_secs(2))
        .await;
    let closed: u64 = pool.sockets().iter().map(|server| server.closed.idle).sum();
    assert_eq!((open(&pool), closed), (0, u64::from(opened)));
}
