//! pgxpool: connects that outlive their caller, checks at acquire, release and in the background.

use futures_util::FutureExt as _;
use pool_core::{ConnectFault, Liveness};
use pool_testkit::{Answer, eventually, in_time, settle};
use tokio::time::Instant;

use crate::support::{check, end, fill, line_up, ms, pool, scripted, secs, served, take};

/// `TestPoolAcquireCalledConstructorIsNotCanceledByAcquireCancellation`,
/// `TestConstructorIgnoresContext`; issues 1259, 1272 and 1287.
#[tokio::test(start_paused = true)]
async fn a_cancelled_callers_connect_lands_in_the_pool() {
    let (pool, script) = pool(0, 10);
    script.connect().takes(ms(100));
    let began = Instant::now();
    let cancelled = tokio::time::timeout(ms(25), pool.acquire()).await.is_err();
    assert!(cancelled);
    assert_eq!(
        began.elapsed(),
        ms(25),
        "the caller does not wait for the connect"
    );
    check(&pool, (1, 0, 0, 1, 0, 0));
    tokio::time::sleep(ms(75)).await;
    settle().await;
    check(&pool, (1, 0, 1, 0, 0, 0));
    assert_eq!(script.connect().calls(), 1);
    end(pool, &script).await;
}

/// `TestPoolAcquireDestroysExpiredIdleConn`; issues 2560 and 2562.
#[tokio::test(start_paused = true)]
async fn an_expired_connection_is_never_lent() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 4)
        .max_lifetime(ms(1_000))
        .build()
        .unwrap();
    for _ in 0..3_000 {
        tokio::time::sleep(ms(1)).await;
        let guard = in_time("an acquire", pool.acquire()).await.unwrap();
        assert!(guard.age() < ms(1_100), "lent at {:?}", guard.age());
    }
    let closed = pool.pool_metrics().counters.closed;
    assert!(closed.lifetime >= 2, "{closed:?}");
    assert_eq!(closed.total(), closed.lifetime);
    end(pool, &script).await;
}

/// `TestPoolAcquireUnlimitedLifetimeDoesNotExpire`.
#[tokio::test(start_paused = true)]
async fn an_unlimited_lifetime_does_not_end() {
    let (pool, script) = pool(1, 1);
    fill(&pool, 1).await;
    tokio::time::sleep(secs(10 * 24 * 3_600)).await;
    let guard = take(&pool, 1).await;
    assert_eq!(guard[0].id(), 1);
    drop(guard);
    end(pool, &script).await;
}

/// `TestConnReleaseChecksMaxConnLifetime`.
#[tokio::test(start_paused = true)]
async fn a_release_checks_the_lifetime() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 1).max_lifetime(secs(1)).build().unwrap();
    let held = take(&pool, 1).await;
    let caller = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(secs(2)).await;
    drop(held);
    let next = served(caller).await;
    assert_eq!(next.id(), 2, "the one in line gets a new one");
    drop(next);
    end(pool, &script).await;
}

/// Issue 1437: the jitter was drawn anew at each check, so that the shortest draw won.
#[tokio::test(start_paused = true)]
async fn a_lifetimes_jitter_is_drawn_once() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 40)
        .max_connecting(40)
        .max_lifetime(secs(1_000))
        .keepalive(secs(1))
        .build()
        .unwrap();
    fill(&pool, 40).await;
    // Looked at a thousand times; still half of them end in the second half of the window.
    tokio::time::sleep(secs(1_000)).await;
    let left = pool.counts().idle;
    assert!(
        (8..=32).contains(&left),
        "{left} of 40 reach their middle age"
    );
    end(pool, &script).await;
}

/// `TestConnReleaseClosesBusyConn`, `...ClosesConnInTransaction`, `...WhenBeginFail`: what cannot
/// be cleaned is closed.
#[tokio::test(start_paused = true)]
async fn a_release_closes_what_cannot_be_cleaned() {
    let (pool, script) = pool(0, 1);
    let mut guard = take(&pool, 1).await.remove(0);
    // Broken off in the middle: an unread answer.
    let cancelled = tokio::time::timeout(ms(5), guard.query(secs(10))).await;
    assert!(cancelled.is_err());
    script
        .recycle()
        .next(1, Answer::Fails(ConnectFault::Transient));
    drop(guard);
    eventually("it is closed", || script.closed() == 1).await;

    // One that can be cleaned is kept.
    let mut guard = take(&pool, 1).await.remove(0);
    guard.soil();
    drop(guard);
    drop(take(&pool, 1).await);
    assert_eq!((script.opened(), script.closed()), (2, 1));
    let counters = pool.pool_metrics().counters;
    assert_eq!((counters.recycled, counters.recycle_failures), (1, 1));
    end(pool, &script).await;
}

/// `TestConnReleaseDestroysClosedConn`.
#[tokio::test(start_paused = true)]
async fn a_release_destroys_a_connection_that_broke() {
    let (pool, script) = pool(0, 1);
    let mut guard = take(&pool, 1).await.remove(0);
    guard.cut();
    guard.query(ms(1)).await.unwrap_err();
    drop(guard);
    eventually("it is closed", || script.open() == 0).await;
    check(&pool, (0, 0, 0, 0, 0, 0));
    end(pool, &script).await;
}

/// `TestPoolAcquirePingTimeout`: the check hangs, and the caller is served within its acquire.
#[tokio::test(start_paused = true)]
async fn a_check_that_hangs_is_replaced_within_the_acquire() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .validate_timeout(ms(200))
        .liveness(Liveness::IdleFor(secs(1)))
        .build()
        .unwrap();
    fill(&pool, 1).await;
    script.connect().takes(ms(50));
    tokio::time::sleep(secs(2)).await;
    script.validate().next(1, Answer::Hangs);
    let began = Instant::now();
    let guard = take(&pool, 1).await;
    assert_eq!(began.elapsed(), ms(250));
    assert_eq!(guard[0].id(), 2);
    drop(guard);
    end(pool, &script).await;
}

/// `TestPoolAcquireChecksIdleConns`: all of them died; each caller gets a living one.
#[tokio::test(start_paused = true)]
async fn idle_connections_that_died_are_found_at_acquire() {
    let (pool, script) = pool(0, 10);
    fill(&pool, 10).await;
    script.cut_all();
    tokio::time::sleep(secs(1)).await;
    let mut held = take(&pool, 10).await;
    for guard in &mut held {
        guard.query(ms(1)).await.unwrap();
    }
    assert_eq!((script.opened(), script.closed()), (20, 10));
    assert_eq!(script.peak_open(), 10);
    drop(held);
    end(pool, &script).await;
}

/// `TestPoolBackgroundChecksMinConns`, `TestConnectEagerlyReachesMinPoolSize`.
#[tokio::test(start_paused = true)]
async fn the_minimum_is_opened_and_kept_without_a_caller() {
    let (pool, script) = pool(4, 8);
    script.connect().takes(ms(10));
    eventually("the minimum is there", || pool.counts().idle == 4).await;
    for round in 1..=3 {
        let mut held = take(&pool, 4).await;
        held.iter_mut().for_each(|guard| guard.break_off());
        drop(held);
        eventually("the minimum is there again", || pool.counts().idle == 4).await;
        assert_eq!(script.opened(), 4 + round * 4);
    }
    end(pool, &script).await;
}

/// `TestPoolBackgroundChecksMaxConnLifetime`: without a caller, idle ones end with their lifetime.
#[tokio::test(start_paused = true)]
async fn what_has_lived_long_enough_is_closed_in_the_background() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 2).max_lifetime(secs(10)).build().unwrap();
    fill(&pool, 2).await;
    tokio::time::sleep(ms(8_900)).await;
    check(&pool, (2, 0, 2, 0, 0, 0));
    // Ten per cent more at the most.
    tokio::time::sleep(ms(2_200)).await;
    check(&pool, (0, 0, 0, 0, 0, 0));
    assert_eq!(pool.pool_metrics().counters.closed.lifetime, 2);
    end(pool, &script).await;
}

/// `TestConnPoolQueryConcurrentLoad`: a hundred tasks query at once; each is served and nothing is
/// left over.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_queries_are_all_served() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 5)
        .time_source(pool_core::TimeSource::Hardware)
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..100)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..20 {
                    let mut guard = pool.acquire().await.unwrap();
                    guard.query(std::time::Duration::ZERO).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        in_time("a task", task).await.unwrap();
    }
    assert_eq!(pool.pool_metrics().counters.acquired, 2_000);
    assert!(script.peak_open() <= 5, "{}", script.peak_open());
    end(pool, &script).await;
}

/// `TestPoolBackgroundChecksMaxConnIdleTime`.
#[tokio::test(start_paused = true)]
async fn what_is_idle_for_too_long_is_closed_in_the_background() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 4).idle_timeout(secs(30)).build().unwrap();
    fill(&pool, 4).await;
    tokio::time::sleep(ms(29_900)).await;
    assert_eq!(script.open(), 4);
    tokio::time::sleep(ms(200)).await;
    assert_eq!(script.open(), 0);
    assert_eq!(pool.pool_metrics().counters.closed.idle, 4);
    end(pool, &script).await;
}

/// `TestPoolQueryRowScanPanicReleasesConnection`.
#[tokio::test(start_paused = true)]
async fn a_holder_that_panics_gives_its_connection_back() {
    let (pool, script) = pool(0, 1);
    let held = take(&pool, 1).await;
    let panics = std::panic::AssertUnwindSafe(async move {
        let _held = held;
        panic!("a row that cannot be read");
    });
    assert!(panics.catch_unwind().await.is_err());
    check(&pool, (1, 0, 1, 0, 0, 0));
    end(pool, &script).await;
}

/// Issues 1780 and 2425: locally closed connections were still alive at the server, which saw
/// more than the maximum.
#[tokio::test(start_paused = true)]
async fn connections_being_closed_count_until_they_are_closed() {
    let (pool, script) = pool(0, 4);
    script.close().takes(ms(500));
    let mut held = take(&pool, 4).await;
    held.iter_mut().for_each(|guard| guard.evict());
    let callers = line_up(&pool, 4).await;
    drop(held);
    settle().await;
    check(&pool, (4, 0, 0, 0, 4, 4));
    let began = Instant::now();
    for caller in callers {
        drop(served(caller).await);
    }
    assert_eq!(began.elapsed(), ms(500));
    assert_eq!(script.peak_open(), 4);
    end(pool, &script).await;
}

/// `TestIdempotentPoolClose`.
#[tokio::test(start_paused = true)]
async fn a_pool_is_closed_as_often_as_one_likes() {
    let (pool, script) = pool(2, 4);
    fill(&pool, 2).await;
    for round in 0..3 {
        let report = pool.close(secs(1)).await;
        assert!(report.clean, "{report}");
        assert_eq!(report.closed, if round == 0 { 2 } else { 0 });
    }
    end(pool, &script).await;
}
