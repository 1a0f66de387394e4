//! HikariCP under load: spikes, saturation, more threads than work, evictions in a race.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use pool_core::TimeSource;
use pool_testkit::{Script, eventually, in_time, settle};
use tokio::time::Instant;

use crate::support::{Pool, check, end, line_up, ms, pool, scripted, secs, served, take};

/// "Welcome to the Jungle": 50 requests at once on 5 idle connections, a connect takes 150 ms and
/// a query 2 ms. `HikariCP` ended with 6 connections, its peers with 45 to 50.
#[tokio::test(start_paused = true)]
async fn a_spike_is_served_by_returns_and_not_by_forty_connects() {
    let (pool, script) = spike_pool().await;
    // Somebody has used the pool before: it knows how long connections are held.
    for guard in take(&pool, 5).await {
        tokio::time::sleep(ms(2)).await;
        drop(guard);
    }
    let took = spike(&pool, 50, ms(2)).await;
    assert!(
        took <= ms(40),
        "fifty queries of 2 ms on five connections: {took:?}"
    );
    tokio::time::sleep(secs(1)).await;
    assert!(pool.counts().total <= 8, "{}", pool.counts());
    assert!(script.opened() <= 8);
    end(pool, &script).await;
}

/// The same with a pool that nobody has used yet, which knows nothing of its callers.
#[tokio::test(start_paused = true)]
async fn a_spike_on_a_new_pool_is_served_by_returns_as_well() {
    let (pool, script) = spike_pool().await;
    let took = spike(&pool, 50, ms(2)).await;
    assert!(took <= ms(40), "{took:?}");
    tokio::time::sleep(secs(1)).await;
    assert!(pool.counts().total <= 8, "{}", pool.counts());
    end(pool, &script).await;
}

async fn spike_pool() -> (Pool, Script) {
    let (builder, script) = scripted();
    let pool = builder.limits(5, 50).build().unwrap();
    script.connect().takes(ms(150));
    pool.warmup_pool().await.unwrap();
    check(&pool, (5, 0, 5, 0, 0, 0));
    (pool, script)
}

/// `n` callers at once, one query each; how long until all are served.
async fn spike(pool: &Pool, n: usize, query: Duration) -> Duration {
    let began = Instant::now();
    let callers: Vec<_> = (0..n)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut guard = pool.acquire().await.unwrap();
                guard.query(query).await.unwrap();
            })
        })
        .collect();
    for caller in callers {
        in_time("a query", caller).await.unwrap();
    }
    began.elapsed()
}

/// What the elision must not do: starve callers whose holders do not come back. Quick queries
/// so far, then every holder stays: the pool grows at the full rate of connects.
#[tokio::test(start_paused = true)]
async fn a_wrong_guess_about_returns_costs_one_connect_time() {
    let (pool, script) = spike_pool().await;
    for _ in 0..20 {
        spike(&pool, 5, ms(2)).await;
    }
    let mut held = take(&pool, 5).await;
    let began = Instant::now();
    for caller in line_up(&pool, 8).await {
        held.push(served(caller).await);
    }
    // Insurance, then two rounds of four.
    assert!(began.elapsed() <= ms(460), "{:?}", began.elapsed());
    drop(held);
    end(pool, &script).await;
}

/// ... also when the one connect that was meant as insurance hangs (issues 2274, 2161, 1474,
/// 1386 and 452: a single adder stuck in a connect emptied the pool).
#[tokio::test(start_paused = true)]
async fn a_connect_that_hangs_does_not_block_growth() {
    let (pool, script) = spike_pool().await;
    for _ in 0..20 {
        spike(&pool, 5, ms(2)).await;
    }
    let mut held = take(&pool, 5).await;
    script.connect().next(1, pool_testkit::Answer::Hangs);
    let began = Instant::now();
    let callers = line_up(&pool, 5).await;
    tokio::time::sleep_until(began + ms(460)).await;
    // A connect's time until the guess is known to be wrong, and two connects: all but the one whose
    // connect hangs, which waits for a return or for the connect timeout.
    check(&pool, (10, 9, 0, 1, 0, 1));
    for caller in callers {
        held.push(served(caller).await);
    }
    assert!(began.elapsed() <= ms(5_310), "{:?}", began.elapsed());
    drop(held);
    script.connect().let_go();
    end(pool, &script).await;
}

/// `TestSaturatedPool830`: 50 tasks, 10 connections, queries of a second: exactly ten a second.
#[tokio::test(start_paused = true)]
async fn test_saturated_pool_830() {
    let (pool, script) = pool(0, 10);
    let done = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (pool, done) = (pool.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                loop {
                    let mut guard = pool.acquire().await.unwrap();
                    guard.query(secs(1)).await.unwrap();
                    drop(guard);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    tokio::time::sleep(ms(500)).await;
    for second in 0..60 {
        assert_eq!(done.load(Ordering::SeqCst), second * 10);
        check(&pool, (10, 10, 0, 0, 0, 40));
        tokio::time::sleep(secs(1)).await;
    }
    for task in tasks {
        task.abort();
    }
    settle().await;
    end(pool, &script).await;
}

/// `ConnectionPoolSizeVsThreadsTest`: 50 threads and a maximum of 100 need at most 50; with slow
/// connects and work in bursts, far fewer.
#[tokio::test(start_paused = true)]
async fn the_pool_does_not_outgrow_its_callers() {
    for (connect, work, rest, most) in [
        (ms(0), ms(1), ms(0), 50),
        (ms(250), ms(1), ms(20), 12),
        (ms(250), ms(0), ms(20), 12),
    ] {
        let (pool, script) = pool(2, 100);
        script.connect().takes(connect);
        let tasks: Vec<_> = (0..50)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    for _ in 0..200 {
                        let mut guard = pool.acquire().await.unwrap();
                        guard.query(work).await.unwrap();
                        drop(guard);
                        tokio::time::sleep(rest).await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let peak = script.peak_open();
        assert!(
            peak <= most,
            "{peak} for connects of {connect:?}, work {work:?}, rest {rest:?}"
        );
        end(pool, &script).await;
    }
}

/// `RampUpDown`: 5, then 60 under load, then 5.
#[tokio::test(start_paused = true)]
async fn ramp_up_down() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(5, 60)
        .idle_timeout(secs(10))
        .build()
        .unwrap();
    script.connect().takes(ms(5));
    eventually("the minimum is there", || pool.counts().idle == 5).await;
    let held = take(&pool, 60).await;
    check(&pool, (60, 60, 0, 0, 0, 0));
    drop(held);
    check(&pool, (60, 0, 60, 0, 0, 0));
    tokio::time::sleep(secs(11)).await;
    check(&pool, (5, 0, 5, 0, 0, 0));
    assert_eq!(script.peak_open(), 60);
    end(pool, &script).await;
}

/// `ConnectionRaceConditionTest`: ten thousand acquires, each evicted.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connection_race_condition() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 10)
        .max_connecting(10)
        .time_source(TimeSource::Hardware)
        .build()
        .unwrap();
    let left = Arc::new(AtomicUsize::new(10_000));
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let (pool, left) = (pool.clone(), Arc::clone(&left));
            tokio::spawn(async move {
                let one = |left| usize::checked_sub(left, 1);
                while left
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, one)
                    .is_ok()
                {
                    let mut guard = in_time("an acquire", pool.acquire()).await.unwrap();
                    guard.evict();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    // The last ones to come were not needed any more.
    assert!(
        (10_000..10_020).contains(&script.opened()),
        "{}",
        script.opened()
    );
    assert!(script.peak_open() <= 10);
    assert_eq!(pool.pool_metrics().counters.closed.broken, 10_000);
    end(pool, &script).await;
}

/// `TestConnections.testMaximumPoolLimit`: twenty threads, a maximum of four: four connects.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn test_maximum_pool_limit() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 4)
        .time_source(TimeSource::Hardware)
        .build()
        .unwrap();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                for _ in 0..100 {
                    let mut guard = in_time("an acquire", pool.acquire()).await.unwrap();
                    guard.query(Duration::ZERO).await.unwrap();
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert!(script.opened() <= 4, "{}", script.opened());
    end(pool, &script).await;
}
