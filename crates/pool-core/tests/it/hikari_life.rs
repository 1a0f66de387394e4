//! HikariCP through a connection's life: outages, lifetimes, keepalive, evictions, shutdown.

use pool_core::{AcquireErrorKind, ConnectFault, Liveness, PoolEvent, Step};
use pool_testkit::{Answer, eventually, in_time, settle};
use tokio::time::Instant;

use crate::support::{
    check, denied, end, fill, line_up, ms, pool, refused, scripted, secs, served, take,
};

const DOWN: Answer = Answer::Fails(ConnectFault::Transient);

/// `TestConnectionTimeoutRetry.testConnectionRetries`: the database stays down; the caller waits
/// neither too short nor too long.
#[tokio::test(start_paused = true)]
async fn test_connection_retries() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .acquire_timeout(ms(2_800))
        .build()
        .unwrap();
    script.connect().always(DOWN);
    let began = Instant::now();
    let error = denied(pool.acquire().await);
    let took = began.elapsed();
    assert!((ms(2_800)..=ms(2_805)).contains(&took), "{took:?}");
    assert_eq!(error.kind(), AcquireErrorKind::Timeout(Step::Connect));
    end(pool, &script).await;
}

/// `testConnectionRetries2`: down, then up after 300 ms, within the caller's time.
#[tokio::test(start_paused = true)]
async fn test_connection_retries_2() {
    for seed in 0..50 {
        let (builder, script) = scripted();
        let pool = builder.limits(0, 1).seed(seed).build().unwrap();
        script.connect().always(DOWN);
        let caller = line_up(&pool, 1).await.remove(0);
        let began = Instant::now();
        tokio::time::sleep(ms(300)).await;
        script.connect().works();
        drop(served(caller).await);
        // The longest pause is half a second.
        assert!(
            began.elapsed() <= ms(802),
            "seed {seed}: {:?}",
            began.elapsed()
        );
        end(pool, &script).await;
    }
}

/// `testConnectionRetries3`: all in use, one comes back in time.
#[tokio::test(start_paused = true)]
async fn test_connection_retries_3() {
    let (pool, script) = pool(0, 2);
    let mut held = take(&pool, 2).await;
    let began = Instant::now();
    let caller = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(ms(400)).await;
    held.pop();
    drop(served(caller).await);
    assert_eq!(began.elapsed(), ms(400));
    drop(held);
    end(pool, &script).await;
}

/// `testConnectionIdleFill`: the minimum is there again once the database is, without a caller.
#[tokio::test(start_paused = true)]
async fn test_connection_idle_fill() {
    let (pool, script) = pool(5, 10);
    eventually("the minimum is there", || pool.counts().idle == 5).await;
    script.connect().always(DOWN);
    pool.evict_idle();
    eventually("nothing is left", || pool.counts().idle == 0).await;
    tokio::time::sleep(secs(10)).await;
    check_nothing_but_connects(&pool);
    script.connect().works();
    tokio::time::sleep(ms(510)).await;
    check(&pool, (5, 0, 5, 0, 0, 0));
    end(pool, &script).await;
}

#[track_caller]
fn check_nothing_but_connects(pool: &crate::support::Pool) {
    let counts = pool.counts();
    assert_eq!(counts.total, counts.connecting, "{counts}");
    assert!(
        counts.connecting <= 1,
        "one attempt at a time while they fail: {counts}"
    );
}

/// Wiki, "Bad behavior: handling database down": every call comes back within its time, and
/// service resumes.
#[tokio::test(start_paused = true)]
async fn every_call_comes_back_within_its_time_while_the_database_is_down() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(2, 10)
        .acquire_timeout(secs(5))
        .connect_timeout(secs(2))
        .build()
        .unwrap();
    fill(&pool, 2).await;
    // The cable is pulled: everything hangs, nothing answers.
    script.cut_all();
    script.connect().always(Answer::Hangs);
    script.validate().always(Answer::Hangs);
    for _ in 0..10 {
        tokio::time::sleep(secs(2)).await;
        let began = Instant::now();
        if let Err(error) = pool.acquire().await {
            assert!(error.is_timeout(), "{error}");
        }
        assert!(began.elapsed() <= secs(5), "{:?}", began.elapsed());
    }
    script.connect().works();
    script.validate().works();
    let began = Instant::now();
    let mut guard = take(&pool, 1).await.remove(0);
    guard.query(ms(1)).await.unwrap();
    assert!(began.elapsed() <= ms(510), "{:?}", began.elapsed());
    drop(guard);
    end(pool, &script).await;
}

/// `testMaxLifetime`: replaced before it is closed; the minimum is there all the time.
#[tokio::test(start_paused = true)]
async fn test_max_lifetime() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(2, 4)
        .max_lifetime(secs(100))
        .build()
        .unwrap();
    fill(&pool, 2).await;
    script.connect().takes(secs(1));
    for _ in 0..20_000 {
        tokio::time::sleep(ms(50)).await;
        let counts = pool.counts();
        assert!(counts.idle >= 2, "the replacement comes first: {counts}");
        assert!(counts.total <= 4, "{counts}");
    }
    let closed = pool.pool_metrics().counters.closed;
    assert!(
        (16..=24).contains(&closed.lifetime),
        "two each 100 s: {closed:?}"
    );
    end(pool, &script).await;
}

/// `testMaxLifetime2`: without room above the minimum it is closed first.
#[tokio::test(start_paused = true)]
async fn test_max_lifetime_2() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(2, 2)
        .max_lifetime(secs(100))
        .build()
        .unwrap();
    fill(&pool, 2).await;
    tokio::time::sleep(secs(1_000)).await;
    check(&pool, (2, 0, 2, 0, 0, 0));
    let lifetime = pool.pool_metrics().counters.closed.lifetime;
    assert!((16..=22).contains(&lifetime), "{lifetime}");
    assert_eq!(script.peak_open(), 2);
    end(pool, &script).await;
}

/// `testKeepalive`, `testKeepalive2`: idle ones are checked once an interval; a dead one is
/// replaced before a caller meets it.
#[tokio::test(start_paused = true)]
async fn test_keepalive() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(3, 3)
        .keepalive(secs(30))
        .liveness(Liveness::Never)
        .build()
        .unwrap();
    fill(&pool, 3).await;
    tokio::time::sleep(ms(30_100)).await;
    assert_eq!(script.validate().calls(), 3);
    tokio::time::sleep(secs(30)).await;
    assert_eq!(script.validate().calls(), 6);
    script.cut_all();
    tokio::time::sleep(secs(30)).await;
    check(&pool, (3, 0, 3, 0, 0, 0));
    let mut held = take(&pool, 3).await;
    for guard in &mut held {
        guard.query(ms(1)).await.unwrap();
    }
    drop(held);
    end(pool, &script).await;
}

/// Keepalive keeps up with large pools: every idle connection is checked in its interval, a few
/// at a time.
#[tokio::test(start_paused = true)]
async fn keepalive_reaches_every_connection_of_a_large_pool_in_time() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 200)
        .max_connecting(4)
        .keepalive(secs(30))
        .build()
        .unwrap();
    fill(&pool, 200).await;
    script.validate().takes(ms(10));
    tokio::time::sleep(secs(31)).await;
    assert_eq!(script.validate().calls(), 200);
    assert!(script.validate().peak() <= 4);
    end(pool, &script).await;
}

/// `testEvictAllRefill`, `testBackfill`, `testEviction`.
#[tokio::test(start_paused = true)]
async fn test_evict_all_refill() {
    let (pool, script) = pool(5, 10);
    for round in 1..=5 {
        eventually("the minimum is there", || pool.counts().idle == 5).await;
        assert_eq!(pool.evict_idle(), 5);
        assert_eq!(script.opened(), round * 5);
    }
    eventually("the minimum is there", || pool.counts().idle == 5).await;
    let mut held = take(&pool, 5).await;
    held[0].evict();
    held[1].break_off();
    drop(held);
    eventually("backfilled", || pool.counts().idle == 5).await;
    assert_eq!(script.opened(), 32);
    end(pool, &script).await;
}

/// `testCloseMarkEvicted`: a connection that is evicted while it is held stays its holder's, and is
/// closed instead of lent when it comes back.
#[tokio::test(start_paused = true)]
async fn test_close_mark_evicted() {
    let (pool, script) = pool(0, 2);
    let mut held = take(&pool, 2).await;
    let ids: Vec<_> = held.iter().map(|guard| guard.id()).collect();
    held[0].evict();
    held[0].query(ms(1)).await.unwrap();
    check(&pool, (2, 2, 0, 0, 0, 0));
    drop(held);
    settle().await;
    check(&pool, (1, 0, 1, 0, 0, 0));
    assert_eq!(pool.pool_metrics().counters.closed.broken, 1);
    let next = take(&pool, 1).await;
    assert_eq!(next[0].id(), ids[1]);
    drop(next);
    end(pool, &script).await;
}

/// `TestMBean.testMBeanCredentialRotation`, `PostgresTest.testCredentialRotation`: the old password
/// stops to work, the new one begins to; those who hold connections notice nothing, and afterwards
/// none of the old ones is left.
#[tokio::test(start_paused = true)]
async fn test_credential_rotation() {
    let (pool, script) = pool(1, 3);
    let mut held = take(&pool, 2).await;
    let newest = script.ids().into_iter().max();
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Permanent));
    // One in line is not turned away while returns can serve it.
    let caller = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(secs(1)).await;
    assert!(!caller.is_finished(), "{}", pool.counts());
    script.connect().works();
    pool.soft_evict();
    drop(served(caller).await);
    for guard in &mut held {
        guard.query(ms(1)).await.unwrap();
    }
    drop(held);
    settle().await;
    let old = script.ids().into_iter().filter(|id| Some(*id) <= newest);
    assert_eq!(old.count(), 0, "none of the old ones is left");
    drop(take(&pool, 3).await);
    end(pool, &script).await;
}

/// `testMinimumIdleZero`, `BasicPoolTest.testIdleTimeout`.
#[tokio::test(start_paused = true)]
async fn test_minimum_idle_zero() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 5).idle_timeout(secs(10)).build().unwrap();
    tokio::time::sleep(secs(60)).await;
    assert_eq!(script.connect().calls(), 0);
    drop(take(&pool, 5).await);
    tokio::time::sleep(ms(10_100)).await;
    check(&pool, (0, 0, 0, 0, 0, 0));
    drop(take(&pool, 1).await);
    end(pool, &script).await;
}

/// `TestConnectionCloseBlocking`: a goodbye that hangs delays nobody beyond the close timeout, and
/// nobody at all where there is room.
#[tokio::test(start_paused = true)]
async fn test_connection_close_blocking() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 2).close_timeout(secs(3)).build().unwrap();
    script.close().always(Answer::Hangs);
    let mut held = take(&pool, 2).await;
    held.pop().unwrap().evict();
    drop(held);
    let began = Instant::now();
    let mut one = take(&pool, 1).await;
    assert_eq!(began.elapsed(), ms(0), "the other one is idle");
    assert_eq!(
        denied(pool.acquire_timeout(secs(1)).await).counts().closing,
        1
    );
    assert!((secs(1)..secs(2)).contains(&began.elapsed()));
    one.extend(take(&pool, 1).await);
    assert!(began.elapsed() <= ms(3_010), "{:?}", began.elapsed());
    assert_eq!(pool.pool_metrics().counters.close_timeouts, 1);
    assert_eq!(script.peak_open(), 2, "the server never saw three");
    script.close().works();
    drop(one);
    end(pool, &script).await;
}

/// `ShutdownTest.testShutdownDuringInit`, 1 to 5.
#[tokio::test(start_paused = true)]
async fn test_shutdown_during_init() {
    for after in [0, 1, 50, 99, 100, 150, 250] {
        let (pool, script) = pool(5, 10);
        script.connect().takes(ms(100));
        tokio::time::sleep(ms(after)).await;
        let report = pool.close(secs(2)).await;
        assert!(report.clean, "after {after} ms: {report}");
        assert!(report.elapsed <= ms(100), "after {after} ms: {report}");
        check(&pool, (0, 0, 0, 0, 0, 0));
        let opened = script.opened();
        tokio::time::sleep(secs(1)).await;
        assert_eq!(script.opened(), opened, "nothing is opened after the end");
        end(pool, &script).await;
    }
}

/// `testThreadedShutdown`, `ConcurrentCloseConnectionTest`.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn test_threaded_shutdown() {
    for seed in 0..20 {
        let (builder, script) = scripted();
        let pool = builder
            .limits(0, 5)
            .time_source(pool_core::TimeSource::Hardware)
            .build()
            .unwrap();
        let tasks: Vec<_> = (0..20)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    loop {
                        match in_time("an acquire", pool.acquire()).await {
                            Ok(_guard) => tokio::task::yield_now().await,
                            Err(error) => return error.kind(),
                        }
                    }
                })
            })
            .collect();
        tokio::time::sleep(ms(seed % 4)).await;
        let report = pool.close(secs(20)).await;
        assert!(report.clean, "{report}");
        for task in tasks {
            assert_eq!(task.await.unwrap(), AcquireErrorKind::Closed);
        }
        end(pool, &script).await;
    }
}

/// `MiscTest.testLeakDetection`: told once, with the line that acquired.
#[tokio::test(start_paused = true)]
async fn test_leak_detection() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 2)
        .leak_threshold(secs(10))
        .build()
        .unwrap();
    let mut events = pool.subscribe();
    let line = line!() + 1;
    let leaked = pool.acquire().await.unwrap();
    let brief = take(&pool, 1).await;
    tokio::time::sleep(secs(9)).await;
    drop(brief);
    tokio::time::sleep(secs(60)).await;
    assert_eq!(pool.pool_metrics().counters.leaks_suspected, 1);
    let leak = loop {
        let event = in_time("the event", events.next()).await.unwrap();
        if let PoolEvent::LeakSuspected(leak) = event {
            break leak;
        }
    };
    assert_eq!((leak.caller.file(), leak.caller.line()), (file!(), line));
    assert!(
        (secs(10)..=ms(10_010)).contains(&leak.held),
        "{:?}",
        leak.held
    );
    drop(leaked);
    end(pool, &script).await;
}

/// `ExceptionTest.testLastErrorTimeout`: the last connect error stands in the timeout.
#[tokio::test(start_paused = true)]
async fn test_last_error_timeout() {
    let (pool, script) = pool(0, 1);
    script.connect().always(DOWN);
    let error = denied(pool.acquire_timeout(secs(1)).await);
    let (age, cause) = error.last_connect_error().expect("a connect has failed");
    assert!(age <= ms(502), "{age:?}");
    assert!(cause.to_string().contains("connection refused"), "{cause}");
    assert!(error.to_string().contains("connection refused"), "{error}");

    // Once a connect has worked, an old failure is no excuse.
    script.connect().works();
    let held = take(&pool, 1).await;
    let error = denied(pool.acquire_timeout(secs(1)).await);
    assert!(error.last_connect_error().is_none(), "{error}");
    drop(held);
    end(pool, &script).await;
}

/// `testPopulationSlowAcquisition`: slow connects do not make the pool miss its minimum.
#[tokio::test(start_paused = true)]
async fn test_population_slow_acquisition() {
    let (pool, script) = pool(8, 8);
    script.connect().takes(secs(1));
    tokio::time::sleep(ms(2_010)).await;
    check(&pool, (8, 0, 8, 0, 0, 0));
    assert_eq!(script.connect().peak(), 4);
    end(pool, &script).await;
}

/// Issues 1193, 1148 and 159: after an outage the pool recovers by itself, callers in line
/// included.
#[tokio::test(start_paused = true)]
async fn callers_in_line_survive_a_short_outage() {
    let (pool, script) = pool(2, 4);
    let mut held = take(&pool, 4).await;
    let callers = line_up(&pool, 6).await;
    script.connect().always(DOWN);
    held.iter_mut().for_each(|guard| guard.break_off());
    drop(held);
    tokio::time::sleep(secs(3)).await;
    assert!(callers.iter().all(|caller| !caller.is_finished()));
    script.connect().works();
    for caller in callers {
        drop(served(caller).await);
    }
    settle().await;
    end(pool, &script).await;
}

/// `testDoubleClose`: whoever closes twice, and whoever comes afterwards.
#[tokio::test(start_paused = true)]
async fn test_double_close() {
    let (pool, script) = pool(1, 1);
    let held = take(&pool, 1).await;
    let caller = line_up(&pool, 1).await.remove(0);
    let first = pool.close(ms(10)).await;
    let second = pool.close(ms(10)).await;
    assert_eq!((first.refused, second.refused), (1, 0));
    assert_eq!(refused(caller).await.kind(), AcquireErrorKind::Closed);
    let began = Instant::now();
    assert_eq!(
        denied(pool.acquire().await).kind(),
        AcquireErrorKind::Closed
    );
    assert_eq!(began.elapsed(), ms(0));
    drop(held);
    end(pool, &script).await;
}
