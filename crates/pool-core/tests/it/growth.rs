//! Contract 4: connects belong to the pool, few at once, elided when nobody needs them.

use pool_core::ConnectFault;
use pool_testkit::{Answer, settle};
use tokio::time::Instant;

use crate::support::{check, end, line_up, ms, pool, scripted, secs, served, take};

#[tokio::test(start_paused = true)]
async fn no_more_than_max_connecting_are_under_way() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 50).max_connecting(3).build().unwrap();
    script.connect().takes(ms(100));
    let began = Instant::now();
    let callers = line_up(&pool, 9).await;
    for caller in callers {
        // Held until all are served, so that no return helps.
        std::mem::forget(served(caller).await.detach());
    }
    assert_eq!(began.elapsed(), ms(300));
    assert_eq!(script.connect().peak(), 3);
    assert_eq!(script.connect().calls(), 9);
}

/// The callers are gone before their turn to connect has come: it never comes.
#[tokio::test(start_paused = true)]
async fn connects_that_nobody_needs_any_more_are_not_begun() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 50).max_connecting(2).build().unwrap();
    script.connect().takes(ms(100));
    let callers = line_up(&pool, 20).await;
    callers.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::time::sleep(secs(5)).await;
    assert_eq!(script.connect().calls(), 2);
    check(&pool, (2, 0, 2, 0, 0, 0));
    end(pool, &script).await;
}

/// One connect for one caller: a caller that waits does not ask twice.
#[tokio::test(start_paused = true)]
async fn each_caller_in_line_asks_for_one_connect() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 50).max_connecting(10).build().unwrap();
    script.connect().takes(ms(100));
    let callers = line_up(&pool, 4).await;
    pool.set_limits(0, 40).unwrap();
    pool.set_limits(0, 30).unwrap();
    settle().await;
    assert_eq!(script.connect().under_way(), 4);
    for caller in callers {
        drop(served(caller).await);
    }
    assert_eq!(script.connect().calls(), 4);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_hangs_ends_at_its_timeout_and_the_next_one_begins() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .connect_timeout(secs(1))
        .build()
        .unwrap();
    script.connect().next(2, Answer::Hangs);
    let began = Instant::now();
    let guard = take(&pool, 1).await;
    let took = began.elapsed();
    assert!(took >= secs(2) && took <= ms(2_040), "{took:?}");
    let metrics = pool.pool_metrics();
    assert_eq!(metrics.counters.connect_failures, 2);
    assert_eq!(
        metrics.last_error.as_deref(),
        Some("connect timed out after 1s")
    );
    drop(guard);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_panics_is_a_failed_connect() {
    let (pool, script) = pool(0, 1);
    script.connect().next(3, Answer::Panics);
    drop(take(&pool, 1).await);
    let metrics = pool.pool_metrics();
    assert_eq!(metrics.counters.connect_failures, 3);
    assert_eq!(metrics.last_error.as_deref(), Some("connect panicked"));
    end(pool, &script).await;
}

/// Backoff ends with the first success: growth is at its full rate at once.
#[tokio::test(start_paused = true)]
async fn one_success_ends_the_backoff() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 8).max_connecting(4).build().unwrap();
    script.connect().takes(ms(10));
    script
        .connect()
        .next(6, Answer::Fails(ConnectFault::Transient));
    let callers = line_up(&pool, 8).await;
    let mut held = Vec::new();
    for caller in callers {
        held.push(served(caller).await);
    }
    // The first six attempts: four at once, then one and one, and one that succeeds. The other
    // seven connections come in two rounds of four.
    let began = script.connect().began();
    assert_eq!(began.len(), 14);
    assert_eq!(began[13] - began[6], ms(20));
    drop(held);
    end(pool, &script).await;
}

/// A quick pool grows by what its queue needs, not by its length.
#[tokio::test(start_paused = true)]
async fn a_steady_trickle_opens_no_second_connection() {
    let (pool, script) = pool(0, 50);
    script.connect().takes(ms(20));
    for _ in 0..1_000 {
        let mut guard = take(&pool, 1).await.remove(0);
        guard.query(ms(1)).await.unwrap();
    }
    assert_eq!(script.opened(), 1);
    end(pool, &script).await;
}

/// Connects that fail while connections are idle in use disturb nobody who is served by returns.
#[tokio::test(start_paused = true)]
async fn returns_serve_callers_while_connects_fail() {
    let (pool, script) = pool(0, 10);
    let held = take(&pool, 2).await;
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Transient));
    let callers = line_up(&pool, 6).await;
    tokio::time::sleep(ms(100)).await;
    let began = Instant::now();
    drop(held);
    for caller in callers {
        drop(served(caller).await);
    }
    assert_eq!(began.elapsed(), ms(0));
    script.connect().works();
    end(pool, &script).await;
}
