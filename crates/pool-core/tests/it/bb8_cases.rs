//! bb8: stalls, newcomers that overtake, broken connections that starve the pool.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use pool_core::{ConnectFault, Liveness, TimeSource};
use pool_testkit::{Answer, eventually, in_time, settle};
use tokio::time::Instant;

use crate::support::{check, end, fill, line_up, ms, pool, scripted, secs, served, take};

/// Issue 122: a return between "is one idle?" and "then I wait" was lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn issue_122_no_return_is_lost_between_a_look_and_a_place_in_line() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 2)
        .time_source(TimeSource::Hardware)
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for n in 0..5_000 {
                    let guard = pool.acquire().await.unwrap();
                    if n % 16 == 0 {
                        tokio::task::yield_now().await;
                    }
                    drop(guard);
                }
            })
        })
        .collect();
    for task in tasks {
        in_time("no caller is stranded", task).await.unwrap();
    }
    assert_eq!(pool.pool_metrics().counters.acquired, 40_000);
    end(pool, &script).await;
}

/// Issue 243: a newcomer popped what a waiter had been woken for, and the waiter went to the end.
#[tokio::test(start_paused = true)]
async fn issue_243_a_newcomer_never_overtakes() {
    let (pool, script) = pool(0, 1);
    let mut held = take(&pool, 1).await.pop();
    let mut callers = line_up(&pool, 5).await;
    for turn in 0..5 {
        drop(held.take());
        // The one that was handed the connection has not run yet; the newcomer has.
        assert!(pool.try_acquire().is_none(), "turn {turn}");
        let newcomer = line_up(&pool, 1).await.remove(0);
        for later in &callers[1..] {
            assert!(!later.is_finished(), "turn {turn}");
        }
        held = Some(served(callers.remove(0)).await);
        assert!(!newcomer.is_finished(), "turn {turn}");
        newcomer.abort();
        settle().await;
    }
    drop(held);
    end(pool, &script).await;
}

/// Issue 243's measurement: the longest wait of 1,000 tasks on 50 connections is near the usual
/// one (there: p99.9 of 1.8 s at a p50 of 2.8 ms).
#[tokio::test(start_paused = true)]
async fn issue_243_a_thousand_tasks_on_fifty_connections_wait_alike() {
    let (builder, script) = scripted();
    let pool = builder.limits(50, 50).max_connecting(50).build().unwrap();
    pool.warmup_pool().await.unwrap();
    let waits = Arc::new(std::sync::Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..1_000)
        .map(|n: u64| {
            let (pool, waits) = (pool.clone(), Arc::clone(&waits));
            tokio::spawn(async move {
                for turn in 0..20 {
                    let began = Instant::now();
                    let guard = pool.acquire().await.unwrap();
                    waits.lock().unwrap().push(began.elapsed());
                    tokio::time::sleep(ms(1 + (n + turn) % 3)).await;
                    drop(guard);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut waits = std::mem::take(&mut *waits.lock().unwrap());
    waits.sort();
    let (p50, p999) = (waits[waits.len() / 2], waits[waits.len() * 999 / 1_000]);
    assert!(p999 <= p50 * 5, "p50 {p50:?}, p99.9 {p999:?}");
    assert_eq!(script.peak_open(), 50);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn test_broken_connections_dont_starve_pool() {
    let (pool, script) = pool(0, 5);
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut guard = in_time("a turn", pool.acquire()).await.unwrap();
                tokio::time::sleep(ms(10)).await;
                guard.break_off();
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(script.opened(), 100);
    assert!(script.peak_open() <= 5);
    assert_eq!(pool.pool_metrics().counters.closed.broken, 100);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn test_now_invalid() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(2, 2)
        .liveness(Liveness::Always)
        .build()
        .unwrap();
    pool.warmup_pool().await.unwrap();
    assert_eq!(script.ids(), [1, 2]);
    script.cut_all();
    let held = take(&pool, 2).await;
    assert!(held.iter().all(|guard| guard.id() > 2));
    assert_eq!(pool.pool_metrics().counters.validation_failures, 2);
    drop(held);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn test_conn_fail_once() {
    let (pool, script) = pool(0, 1);
    script
        .connect()
        .next(1, Answer::Fails(ConnectFault::Transient));
    let began = Instant::now();
    drop(take(&pool, 1).await);
    assert!(
        began.elapsed() <= ms(11),
        "one pause of at most 10 ms: {:?}",
        began.elapsed()
    );
    assert_eq!(script.connect().calls(), 2);
    assert_eq!(pool.pool_metrics().counters.connect_failures, 1);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn test_lots_of_waiters() {
    let (pool, script) = pool(0, 1);
    let turn = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..25_000)
        .map(|n| {
            let (pool, turn) = (pool.clone(), Arc::clone(&turn));
            tokio::spawn(async move {
                let _guard = pool.acquire().await.unwrap();
                assert_eq!(turn.fetch_add(1, Ordering::SeqCst), n, "out of turn");
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(turn.load(Ordering::SeqCst), 25_000);
    assert_eq!(script.opened(), 1);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn test_max_lifetime_reap_on_drop() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 1).max_lifetime(secs(10)).build().unwrap();
    let held = take(&pool, 1).await;
    tokio::time::sleep(secs(12)).await;
    assert_eq!(script.open(), 1, "a holder is never interrupted");
    drop(held);
    eventually("it is closed", || script.open() == 0).await;
    assert_eq!(pool.pool_metrics().counters.closed.lifetime, 1);
    check(&pool, (0, 0, 0, 0, 0, 0));
    end(pool, &script).await;
}

/// Issues 67, 164 and 201: after every mishap at once the pool still has all of its room.
#[tokio::test(start_paused = true)]
async fn callers_that_time_out_while_connects_fail_leak_nothing() {
    let (pool, script) = pool(0, 3);
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Transient));
    for _ in 0..20 {
        let error = crate::support::denied(pool.acquire_timeout(ms(50)).await);
        assert!(error.is_timeout(), "{error}");
    }
    script.connect().works();
    fill(&pool, 3).await;
    end(pool, &script).await;
}
