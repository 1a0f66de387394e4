//! A server that freezes, and one that is killed.

use std::time::{Duration, Instant};

use pool_core::Liveness;
use pool_postgres::PostgresPool;
use test_servers::Server;

use crate::own_server::{self, blocking};
use crate::server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_server_lets_no_acquire_exceed_its_time() {
    const PATIENCE: Duration = Duration::from_millis(400);
    let Some(mut own) = own_server::start().await else {
        return;
    };
    let pool = PostgresPool::builder(own.url())
        .unwrap()
        .name("frozen")
        .limits(2, 4)
        .acquire_timeout(PATIENCE)
        // Longer than a caller has: what waits for the server is not the caller.
        .connect_timeout(Duration::from_secs(3))
        .validate_timeout(Duration::from_secs(3))
        .close_timeout(Duration::from_secs(3))
        .liveness(Liveness::Always)
        .build()
        .unwrap();
    server::until("the minimum is open", || pool.counts().idle == 2).await;
    let mut own = blocking(move || {
        own.pause().expect("it can be frozen");
        own
    })
    .await;
    let frozen = Instant::now();
    let mut refused = 0;
    while frozen.elapsed() < Duration::from_secs(10) {
        let tries: Vec<_> = (0..8)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    let began = Instant::now();
                    // Beside it a plain timer, which is as late as the machine is busy.
                    let acquire = async { (pool.acquire().await.map(drop), began.elapsed()) };
                    let timer = async {
                        tokio::time::sleep(PATIENCE).await;
                        began.elapsed()
                    };
                    tokio::join!(acquire, timer)
                })
            })
            .collect();
        for task in tries {
            let ((outcome, took), timer) = task.await.unwrap();
            let error = outcome.expect_err("a frozen server proves nothing");
            assert!(error.is_timeout(), "{error}");
            assert!(
                took < timer + Duration::from_secs(1),
                "{took:?}, and a timer {timer:?}: {error}"
            );
            refused += 1;
        }
    }
    assert!(refused >= 8);
    let own = blocking(move || {
        own.resume().expect("it can be thawed");
        own
    })
    .await;
    let thawed = Instant::now();
    while pool.acquire().await.is_err() {
        assert!(thawed.elapsed() < server::SOON, "{:?}", pool.counts());
    }
    server::until("all is idle", || {
        pool.counts().active + pool.counts().closing == 0
    })
    .await;
    no_capacity_is_lost(&own, &pool).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_kill_the_first_success_comes_within_a_second_of_the_restart() {
    let Some(mut own) = own_server::start().await else {
        return;
    };
    let pool = PostgresPool::builder(own.url())
        .unwrap()
        .name("killed")
        .limits(2, 4)
        .acquire_timeout(server::SOON)
        .build()
        .unwrap();
    pool.warmup_pool().await.unwrap();
    let mut own = blocking(move || {
        own.kill().expect("it can be killed");
        own
    })
    .await;
    // Callers who come while it is away wait for it, within their own time.
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                loop {
                    // Until it is noticed, a statement may still meet a dead connection.
                    match sqlx::query("select 1").execute(&pool).await {
                        Ok(_) => return Instant::now(),
                        Err(error) => assert!(
                            PostgresPool::acquire_error(&error).is_none(),
                            "its time was long enough: {error}"
                        ),
                    }
                }
            })
        })
        .collect();
    server::until("the failures are seen", || {
        pool.pool_metrics().counters.connect_failures > 0
    })
    .await;
    let own = blocking(move || {
        own.restart().expect("it comes back");
        own
    })
    .await;
    let accepting = Instant::now();
    // Beside the callers a connection without a pool, which is as late as the machine is busy.
    own_server::execute(&own, "select 1").await;
    let alone = accepting.elapsed();
    let mut first = None;
    for caller in callers {
        let after = caller.await.unwrap().saturating_duration_since(accepting);
        first = Some(first.map_or(after, |first: Duration| first.min(after)));
    }
    let first = first.expect("there are callers");
    assert!(
        first < alone + Duration::from_secs(1),
        "{first:?} after the restart, and {alone:?} without a pool"
    );
    server::until("all is idle", || pool.counts().active == 0).await;
    no_capacity_is_lost(&own, &pool).await;
}

/// The pool and the server agree on what is open, and that all of it is idle.
async fn no_capacity_is_lost(own: &Server, pool: &PostgresPool) {
    let deadline = Instant::now() + server::SOON;
    loop {
        let (counts, seen) = (pool.counts(), own_server::connections(own, pool).await);
        if counts.total == seen && counts.idle == seen {
            return;
        }
        assert!(Instant::now() < deadline, "{seen} at the server, {counts}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
