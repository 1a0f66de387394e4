//! A server that dies, comes back, and freezes. One of its own: the others' must not.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use mongodb::options::WriteConcern;
use pool_core::ConnectFault;
use pool_mongo::MongoPool;
use test_servers::{Environment, MongoOptions, Server};

use crate::support::{eventually, in_use, open};

/// A server that this test may kill; `None` when the tests are given theirs.
async fn own_server() -> Option<Server> {
    integration_tests::mongodb_url()?;
    let started = tokio::task::spawn_blocking(|| {
        let environment = Environment::from_env().expect("a valid environment");
        MongoOptions::default().start(&environment.without_given_servers())
    });
    let server = started.await.unwrap().expect("a server can be started");
    if server.pid().is_none() {
        eprintln!("SKIPPED: this server is no process that a test could kill");
        return None;
    }
    Some(server)
}

async fn pool(server: &Server, timeout: Duration) -> MongoPool {
    MongoPool::builder(server.url())
        .name("faults")
        .database("faults")
        .limits(2, 8)
        .acquire_timeout(timeout)
        .build()
        .await
        .unwrap()
}

/// Moves the server to where it may be blocked on, and back.
async fn with(mut server: Server, change: impl FnOnce(&mut Server) + Send + 'static) -> Server {
    let changed = tokio::task::spawn_blocking(move || {
        change(&mut server);
        server
    });
    changed.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_learn_that_the_server_is_gone_and_are_served_when_it_is_back() {
    let Some(server) = own_server().await else {
        return;
    };
    let timeout = Duration::from_secs(2);
    let pool = pool(&server, timeout).await;
    pool.warmup_pool().await.unwrap();
    let server = with(server, |server| server.kill().unwrap()).await;

    // The driver's own heartbeat notices at once; leases that lie ready are not lent any more.
    eventually(
        Duration::from_secs(5),
        "the pool distrusts its leases",
        || pool.counts().idle == 0,
    )
    .await;
    let began = Instant::now();
    let error = pool.acquire().await.map(drop).unwrap_err();
    let took = began.elapsed();
    assert!(took < timeout + Duration::from_millis(500), "{took:?}");
    let text = error.to_string();
    assert!(
        text.contains("127.0.0.1:") && text.contains("refused"),
        "{text}"
    );
    let cause = error.connect_error().expect("the cause is in the error");
    assert_eq!(cause.fault(), ConnectFault::Transient);

    let server = with(server, |server| server.restart().unwrap()).await;
    let began = Instant::now();
    while let Err(error) = pool.acquire().await.map(drop) {
        assert!(
            error.is_timeout() && began.elapsed() < Duration::from_secs(30),
            "{error}"
        );
    }
    let lease = pool.acquire().await.unwrap();
    lease.run_command(doc! { "ping": 1 }).await.unwrap();
    drop(lease);
    eventually(Duration::from_secs(15), "the minimum is warm again", || {
        open(&pool) >= 2 && pool.counts().idle >= 2
    })
    .await;
    assert!(pool.sockets().iter().any(|server| server.cleared > 0));
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_writes_survive_a_kill_under_load_and_no_lease_is_lost() {
    let Some(server) = own_server().await else {
        return;
    };
    let timeout = Duration::from_secs(3);
    let pool = pool(&server, timeout).await;
    pool.warmup_pool().await.unwrap();
    pool.acquire()
        .await
        .unwrap()
        .create_collection("rows")
        .await
        .unwrap();
    let stop = Arc::<AtomicBool>::default();
    let after = Arc::<AtomicU32>::default();
    let is_back = Arc::<AtomicBool>::default();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..50_i32 {
        let pool = pool.clone();
        let (stop, after, is_back) = (Arc::clone(&stop), Arc::clone(&after), Arc::clone(&is_back));
        tasks.spawn(async move {
            let (mut acknowledged, mut slowest) = (Vec::new(), Duration::ZERO);
            for row in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let began = Instant::now();
                let lease = pool.acquire().await;
                slowest = slowest.max(began.elapsed());
                let Ok(lease) = lease else { continue };
                let id = format!("{task}-{row}");
                let rows = lease.collection::<Document>("rows");
                let written = rows
                    .insert_one(doc! { "_id": &id })
                    .write_concern(WriteConcern::majority());
                let written = tokio::time::timeout(Duration::from_secs(5), written).await;
                if matches!(written, Ok(Ok(_))) {
                    acknowledged.push(id);
                    after.fetch_add(is_back.load(Ordering::Relaxed).into(), Ordering::Relaxed);
                }
            }
            (acknowledged, slowest)
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let server = with(server, |server| {
        server.kill().unwrap();
        std::thread::sleep(Duration::from_secs(1));
        server.restart().unwrap();
    })
    .await;
    is_back.store(true, Ordering::Relaxed);
    eventually(
        Duration::from_secs(30),
        "writes go on now that the server is back",
        || after.load(Ordering::Relaxed) > 100,
    )
    .await;
    stop.store(true, Ordering::Relaxed);
    let (mut ids, mut slowest) = (Vec::new(), Duration::ZERO);
    while let Some(done) = tasks.join_next().await {
        let (acknowledged, slow) = done.unwrap();
        ids.extend(acknowledged);
        slowest = slowest.max(slow);
    }
    assert!(
        slowest < timeout + Duration::from_secs(1),
        "an acquire took {slowest:?}"
    );
    eventually(
        Duration::from_secs(5),
        "no lease is held and no socket in use",
        || {
            let counts = pool.counts();
            (counts.active, counts.waiting, in_use(&pool)) == (0, 0, 0)
        },
    )
    .await;
    let lease = pool.acquire().await.unwrap();
    let rows = lease.collection::<Document>("rows");
    for chunk in ids.chunks(1_000) {
        let wanted: Vec<_> = chunk.iter().map(String::as_str).collect();
        let found = rows
            .count_documents(doc! { "_id": { "$in": &wanted } })
            .await
            .unwrap();
        assert_eq!(found, wanted.len() as u64, "acknowledged writes are there");
    }
    drop(server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_freezes_costs_no_caller_more_than_its_time() {
    let Some(server) = own_server().await else {
        return;
    };
    let timeout = Duration::from_secs(1);
    let pool = pool(&server, timeout).await;
    pool.warmup_pool().await.unwrap();
    let server = with(server, |server| server.pause().unwrap()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let pool = pool.clone();
        tasks.spawn(async move {
            let began = Instant::now();
            let lease = pool.acquire().await;
            let waited = began.elapsed();
            if let Ok(lease) = lease {
                // Hangs until the server runs again.
                let _ = lease.run_command(doc! { "ping": 1 }).await;
            }
            waited
        });
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let server = with(server, |server| server.resume().unwrap()).await;
    while let Some(waited) = tasks.join_next().await {
        let waited = waited.unwrap();
        assert!(waited < timeout + Duration::from_millis(500), "{waited:?}");
    }
    eventually(Duration::from_secs(15), "the server serves again", || {
        pool.counts().active == 0 && in_use(&pool) == 0
    })
    .await;
    let began = Instant::now();
    while pool.acquire().await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(15));
    }
    drop(server);
}
