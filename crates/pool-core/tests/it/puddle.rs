//! puddle: everything at once on real threads, failures that must wake others, exact counters.

use std::future::{Future as _, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use pool_core::{ConnectFault, TimeSource};
use pool_testkit::{Answer, eventually, in_time, settle};

use crate::support::{check, denied, end, fill, line_up, ms, pool, scripted, secs, served, take};

/// `TestStress`: random acquire, acquire with 0 to 2 µs, try, evict, detach and looks, by twice as
/// many workers as connections; then close.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn test_stress() {
    const MAX: u32 = 10;
    let (builder, script) = scripted();
    let pool = builder
        .limits(2, MAX)
        .max_connecting(MAX)
        .time_source(TimeSource::Hardware)
        .build()
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..u64::from(MAX) * 2)
        .map(|seed| {
            let (pool, stop) = (pool.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                let mut rng = fastrand::Rng::with_seed(seed);
                while !stop.load(Ordering::Relaxed) {
                    let patience = Duration::from_nanos(rng.u64(0..2_000));
                    let guard = match rng.u32(0..10) {
                        0..4 => Some(in_time("an acquire", pool.acquire()).await.unwrap()),
                        4..7 => pool.acquire_timeout(patience).await.ok(),
                        7 => pool.try_acquire(),
                        8 => {
                            let counts = pool.counts();
                            assert!(counts.total <= MAX, "{counts}");
                            None
                        }
                        _ if rng.u32(0..20) == 0 => {
                            pool.evict_idle();
                            None
                        }
                        _ => None,
                    };
                    let Some(mut guard) = guard else { continue };
                    match rng.u32(0..20) {
                        0 => guard.evict(),
                        1 => drop(guard.detach()),
                        2 => guard.soil(),
                        3..6 => tokio::task::yield_now().await,
                        _ => {}
                    }
                }
            })
        })
        .collect();
    tokio::time::sleep(secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        in_time("a worker", worker).await.unwrap();
    }
    // A detached connection is its owner's; here it is dropped a moment after the pool let go.
    assert!(
        script.peak_open() <= MAX as usize * 3,
        "{}",
        script.peak_open()
    );
    assert!(pool.pool_metrics().counters.peak_total <= MAX);
    assert!(pool.pool_metrics().counters.acquired > 1_000);
    end(pool, &script).await;
}

/// `TestStress_AcquireAllIdle`: with everything idle being evicted all the time, a pool of one
/// never has two.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn evictions_under_load_never_make_two_of_one() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .time_source(TimeSource::Hardware)
        .build()
        .unwrap();
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (pool, script) = (pool.clone(), script.clone());
            tokio::spawn(async move {
                for _ in 0..2_000 {
                    if worker == 0 {
                        pool.evict_idle();
                        tokio::task::yield_now().await;
                    } else {
                        drop(in_time("an acquire", pool.acquire()).await.unwrap());
                    }
                    assert!(script.open() <= 1);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!(script.peak_open(), 1);
    end(pool, &script).await;
}

/// `TestSignalIsSentWhenResourceFailedToCreate`: a connect that failed must set the next caller's
/// going, not leave it to sleep.
#[tokio::test(start_paused = true)]
async fn test_signal_is_sent_when_resource_failed_to_create() {
    let (pool, script) = pool(0, 1);
    script.connect().always(Answer::Hangs);
    let callers = line_up(&pool, 2).await;
    assert_eq!(script.connect().under_way(), 1);
    script.connect().always(Answer::Works);
    // The first caller gives up, and its connect fails.
    callers[0].abort();
    script.connect().let_go();
    settle().await;
    assert!(callers[1].is_finished(), "{}", pool.counts());

    script
        .connect()
        .next(1, Answer::Fails(ConnectFault::Permanent));
    pool.soft_evict();
    drop(callers);
    settle().await;
    denied(pool.acquire().await);
    tokio::time::sleep(ms(20)).await;
    drop(take(&pool, 1).await);
    end(pool, &script).await;
}

/// `TestReleaseAfterAcquire`: a hundred thousand returns from another thread, with the next
/// acquire already in line.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn test_release_after_acquire() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .time_source(TimeSource::Hardware)
        .build()
        .unwrap();
    let (returns, to_return) = std::sync::mpsc::channel::<crate::support::Guard>();
    let returner = std::thread::spawn(move || to_return.into_iter().for_each(drop));
    let mut held = in_time("an acquire", pool.acquire_owned()).await.unwrap();
    for _ in 0..100_000 {
        let mut next = Box::pin(pool.acquire_owned());
        // In line before the return is on its way.
        let pending = poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx).is_pending())).await;
        assert!(pending, "another one was lent");
        returns.send(held).unwrap();
        held = in_time("the next acquire", next).await.unwrap();
    }
    drop((held, returns));
    returner.join().unwrap();
    assert_eq!(script.opened(), 1);
    assert_eq!(pool.pool_metrics().counters.acquired, 100_001);
    end(pool, &script).await;
}

/// `TestPoolStat…`: what happened is counted exactly, those that gave up included.
#[tokio::test(start_paused = true)]
async fn test_pool_stat() {
    let (pool, script) = pool(0, 2);
    script.connect().takes(ms(10));

    // Cancelled before it began: nothing has happened.
    drop(pool.acquire());
    assert_eq!(pool.pool_metrics().counters.cancelled, 0);

    // Cancelled during the connect.
    assert!(tokio::time::timeout(ms(5), pool.acquire()).await.is_err());
    tokio::time::sleep(ms(10)).await;

    // One at once, one after a connect.
    let held = take(&pool, 2).await;
    // Cancelled during the wait; out of time during the wait.
    assert!(tokio::time::timeout(ms(5), pool.acquire()).await.is_err());
    assert!(denied(pool.acquire_timeout(ms(5)).await).is_timeout());
    // Served after a wait.
    let caller = line_up(&pool, 1).await.remove(0);
    drop(held);
    drop(served(caller).await);

    let metrics = pool.pool_metrics();
    let counters = metrics.counters;
    assert_eq!((counters.acquired, counters.acquired_immediately), (3, 1));
    assert_eq!((counters.cancelled, counters.timeouts), (2, 1));
    assert_eq!((counters.opened, counters.returned), (2, 3));
    assert_eq!((metrics.wait.count, metrics.hold.count), (3, 3));
    assert_eq!(metrics.connect.count, 2);
    assert_eq!(metrics.errors, 1, "the timeout");
    end(pool, &script).await;
}

/// `TestPoolCloseBlocksUntilAllResourcesReleasedAndClosed`, `...CloseIsSafeToCallMultipleTimes`.
#[tokio::test(start_paused = true)]
async fn close_blocks_until_all_are_released_and_closed() {
    let (pool, script) = pool(0, 4);
    let mut held = take(&pool, 4).await;
    let closing: Vec<_> = (0..5)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.close(secs(60)).await })
        })
        .collect();
    while let Some(guard) = held.pop() {
        tokio::time::sleep(secs(1)).await;
        assert!(closing.iter().all(|close| !close.is_finished()));
        drop(guard);
    }
    for close in closing {
        let report = in_time("a close", close).await.unwrap();
        assert!(report.clean, "{report}");
        assert_eq!(report.elapsed, secs(4));
    }
    end(pool, &script).await;
}

/// Create while closing, three ways: a connect that lands, fails or hangs after the close began.
#[tokio::test(start_paused = true)]
async fn a_connect_under_way_at_the_close_is_closed_as_it_lands() {
    for answer in [
        Answer::Works,
        Answer::Fails(ConnectFault::Transient),
        Answer::Hangs,
    ] {
        let (pool, script) = pool(0, 4);
        script.connect().takes(secs(1));
        script.connect().always(answer);
        let caller = line_up(&pool, 1).await.remove(0);
        let report = pool.close(ms(100)).await;
        assert!(!report.clean);
        assert_eq!((report.refused, report.unfinished), (1, 1), "{report}");
        crate::support::refused(caller).await;
        // At the latest the connect timeout, 5 s, is the end of it.
        let report = pool.close(secs(6)).await;
        assert!(report.clean, "{answer:?}: {report}");
        assert_eq!(script.connect().under_way(), 0);
        end(pool, &script).await;
    }
}

/// `TestPoolResetDestroysAllIdle`, `...DestroysCheckedOutResourcesOnReturn`.
#[tokio::test(start_paused = true)]
async fn a_soft_eviction_destroys_idle_ones_now_and_the_others_on_return() {
    let (pool, script) = pool(0, 4);
    let mut held = take(&pool, 4).await;
    held.truncate(2);
    pool.soft_evict();
    eventually("the idle ones are closed", || script.open() == 2).await;
    for guard in &mut held {
        guard.query(ms(1)).await.unwrap();
    }
    drop(held);
    eventually("the others are closed", || script.open() == 0).await;
    assert_eq!(pool.pool_metrics().counters.closed.evicted, 4);
    fill(&pool, 4).await;
    end(pool, &script).await;
}

/// ... and a connect that was under way belongs to the old generation as well.
#[tokio::test(start_paused = true)]
async fn a_connect_under_way_at_a_soft_eviction_is_not_lent() {
    let (pool, script) = pool(0, 1);
    script.connect().takes(ms(100));
    let caller = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(ms(50)).await;
    pool.soft_evict();
    let guard = served(caller).await;
    assert_eq!(guard.id(), 2);
    assert_eq!(script.opened(), 2);
    drop(guard);
    check(&pool, (1, 0, 1, 0, 0, 0));
    end(pool, &script).await;
}

/// `TestPoolAcquireNilContextDoesNotLeavePoolLocked`: a look at a returning connection that panics
/// costs that connection and nothing else.
#[tokio::test(start_paused = true)]
async fn a_release_check_that_panics_does_not_leave_the_pool_locked() {
    let (pool, script) = pool(0, 1);
    let held = take(&pool, 1).await;
    script.release_check_panics(true);
    drop(held);
    script.release_check_panics(false);
    eventually("it is closed", || script.open() == 0).await;
    fill(&pool, 1).await;
    end(pool, &script).await;
}
