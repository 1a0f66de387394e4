//! Contract 9 and the nine fields: the numbers always add up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use pool_core::{ConnectFault, Liveness, PoolMetrics, TimeSource};
use pool_testkit::{Answer, in_time, settle};

use crate::support::{denied, end, fill, line_up, ms, pool, scripted, secs, served, take};

/// What must hold in every sample, whatever happens meanwhile.
#[track_caller]
fn check_sums(metrics: &PoolMetrics) {
    let PoolMetrics {
        total_connections: total,
        active_connections: active,
        idle_connections: idle,
        connecting,
        closing,
        ..
    } = *metrics;
    let sum = active + idle + connecting + closing;
    assert_eq!(total, sum, "{metrics:?}");
    let counters = metrics.counters;
    let open = u64::from(active + idle);
    let gone = counters.closed.total() + counters.detached;
    assert_eq!(counters.opened, open + gone, "{metrics:?}");
    assert!(
        counters.acquired <= counters.returned + counters.passed_on + u64::from(active),
        "{metrics:?}"
    );
    assert!(total <= counters.peak_total, "{metrics:?}");
    assert_eq!(metrics.wait.count, counters.acquired, "{metrics:?}");
    assert_eq!(metrics.hold.count, counters.returned, "{metrics:?}");
    assert_eq!(metrics.connect.count, counters.opened, "{metrics:?}");
    let errors = counters.connect_failures
        + counters.validation_failures
        + counters.recycle_failures
        + counters.timeouts
        + counters.rejected
        + counters.shed
        + counters.failed_fast;
    assert_eq!(metrics.errors, errors, "{metrics:?}");
}

/// Everything at once on real threads, with a task that looks all the time.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_numbers_add_up_in_every_sample_under_stress() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(1, 6)
        .time_source(TimeSource::Hardware)
        .liveness(Liveness::Always)
        .backoff(ms(1), ms(2))
        .build()
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let workers: Vec<_> = (0..12)
        .map(|seed| {
            let (pool, stop, script) = (pool.clone(), Arc::clone(&stop), script.clone());
            tokio::spawn(async move {
                let mut rng = fastrand::Rng::with_seed(seed);
                while !stop.load(Ordering::Relaxed) {
                    match rng.u32(0..100) {
                        0 => script
                            .connect()
                            .next(1, Answer::Fails(ConnectFault::Transient)),
                        1 => script.validate().next(1, Answer::Panics),
                        2 => script
                            .recycle()
                            .next(1, Answer::Fails(ConnectFault::Transient)),
                        3 => pool.set_limits(0, rng.u32(1..=8)).unwrap(),
                        4 => pool.soft_evict(),
                        5 => pool.pause(ms(1)),
                        _ => {}
                    }
                    let patience = Duration::from_micros(rng.u64(0..3_000));
                    let Ok(mut guard) = pool.acquire_timeout(patience).await else {
                        continue;
                    };
                    match rng.u32(0..10) {
                        0 => guard.soil(),
                        1 => guard.break_off(),
                        2 => drop(guard.detach()),
                        _ => tokio::task::yield_now().await,
                    }
                }
            })
        })
        .collect();
    let looker = {
        let (pool, stop) = (pool.clone(), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut samples = 0;
            while !stop.load(Ordering::Relaxed) {
                check_sums(&pool.pool_metrics());
                samples += 1;
            }
            samples
        })
    };
    tokio::time::sleep(secs(2)).await;
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        in_time("a worker", worker).await.unwrap();
    }
    let samples: u64 = looker.join().unwrap();
    assert!(samples > 100, "{samples}");
    for act in [script.connect(), script.validate(), script.recycle()] {
        act.works();
    }
    end(pool.clone(), &script).await;
    let counters = pool.pool_metrics().counters;
    assert!(counters.timeouts > 0 && counters.recycled > 0 && counters.resizes > 0);
    assert_eq!(counters.acquired, counters.returned + counters.passed_on);
}

/// The nine names of the TypeScript layer, and the types that they had.
#[tokio::test(start_paused = true)]
async fn metrics_serialise_with_the_nine_names_of_the_typescript_layer() {
    let before = SystemTime::now();
    let (pool, script) = pool(0, 4);
    let fresh = serde_json::to_value(pool.pool_metrics()).unwrap();
    assert!(fresh["lastError"].is_null() && fresh["lastUsed"].is_null());
    assert_eq!(fresh["avgResponseTime"], 0.0);

    script
        .connect()
        .next(1, Answer::Fails(ConnectFault::Permanent));
    denied(pool.acquire().await);
    tokio::time::sleep(ms(20)).await;
    let mut held = take(&pool, 3).await;
    tokio::time::sleep(ms(200)).await;
    held.truncate(2);
    settle().await;

    let json = serde_json::to_value(pool.pool_metrics()).unwrap();
    for (name, value) in [
        ("totalConnections", 3),
        ("activeConnections", 2),
        ("idleConnections", 1),
        ("waitingRequests", 0),
        ("errors", 2),
    ] {
        assert_eq!(json[name], value, "{name}");
    }
    assert_eq!(json["lastError"], "wrong password, says the script");
    assert_eq!(
        json["avgResponseTime"], 200.0,
        "milliseconds from checkout to return"
    );
    let millis = |name: &str| Duration::from_millis(json[name].as_u64().unwrap());
    let created = SystemTime::UNIX_EPOCH + millis("created");
    assert!(created + ms(1) >= before && created <= SystemTime::now());
    assert!(millis("lastUsed") >= millis("created"));

    for name in [
        "connecting",
        "closing",
        "min",
        "max",
        "target",
        "ready",
        "counters",
    ] {
        assert!(!json[name].is_null(), "{name}");
    }
    for histogram in ["wait", "hold", "connect"] {
        for quantile in ["count", "p50", "p90", "p99", "max"] {
            assert!(
                json[histogram][quantile].is_number(),
                "{histogram}.{quantile}"
            );
        }
    }
    drop(held);
    end(pool, &script).await;
}

/// Waits, holds and connects are measured by what callers saw, to two digits.
#[tokio::test(start_paused = true)]
async fn the_histograms_hold_what_callers_saw() {
    let (pool, script) = pool(0, 1);
    script.connect().takes(ms(50));
    let held = take(&pool, 1).await;
    let caller = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(ms(300)).await;
    let before = pool.histograms();
    drop(held);
    drop(served(caller).await);
    drop(take(&pool, 1).await);

    let metrics = pool.pool_metrics();
    let close_to = |value: f64, wanted: f64| (value - wanted).abs() <= wanted / 50.0;
    assert_eq!(metrics.wait.count, 3);
    assert!(close_to(metrics.wait.max, 300.0), "{:?}", metrics.wait);
    assert!(close_to(metrics.wait.p50, 50.0), "{:?}", metrics.wait);
    assert!(close_to(metrics.hold.max, 300.0), "{:?}", metrics.hold);
    assert!(close_to(metrics.connect.max, 50.0), "{:?}", metrics.connect);

    // What came after a reading, on its own.
    let since = pool.histograms().since(&before);
    assert_eq!(
        (
            since.wait().count,
            since.hold().count,
            since.connect().count
        ),
        (2, 3, 0)
    );
    end(pool, &script).await;
}

/// Each counter moves at the moment that its documentation names.
///
/// HikariCP: `MetricsTrackerTest.connectionTimeoutIsRecorded` among them.
#[tokio::test(start_paused = true)]
async fn each_way_out_of_the_pool_has_its_own_counter() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 8)
        .idle_timeout(secs(100))
        .max_lifetime(secs(1_000))
        .build()
        .unwrap();
    fill(&pool, 8).await;
    take(&pool, 1).await[0].break_off(); // broken
    take(&pool, 1).await[0].evict(); // broken
    drop(take(&pool, 1).await.remove(0).detach()); // detached
    pool.set_limits(0, 4).unwrap(); // surplus
    settle().await;
    script.cut_all();
    tokio::time::sleep(secs(1)).await;
    let held = take(&pool, 1).await; // invalid, and a new one
    settle().await;
    pool.evict_idle(); // evicted
    tokio::time::sleep(secs(1_101)).await;
    drop(held); // lifetime
    settle().await;
    fill(&pool, 2).await;
    tokio::time::sleep(secs(101)).await; // idle
    fill(&pool, 1).await;
    pool.close(secs(1)).await; // closed

    let metrics = pool.pool_metrics();
    check_sums(&metrics);
    let closed = metrics.counters.closed;
    assert_eq!(
        (closed.broken, metrics.counters.detached, closed.surplus),
        (2, 1, 1)
    );
    assert!(closed.invalid >= 1 && closed.evicted >= 1, "{closed:?}");
    assert_eq!(
        (closed.lifetime, closed.idle, closed.closed),
        (1, 2, 1),
        "{closed:?}"
    );
    assert_eq!(closed.refused, 0);
    end(pool, &script).await;
}

/// A caller that was told that its time is over, and is dropped before it looks, counts once.
#[tokio::test(start_paused = true)]
async fn a_caller_that_does_not_live_to_hear_of_its_timeout_counts_once() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .acquire_timeout(ms(100))
        .build()
        .unwrap();
    let held = take(&pool, 1).await;
    let mut caller = Box::pin(pool.acquire());
    assert!(futures_util::poll!(caller.as_mut()).is_pending());
    tokio::time::sleep(ms(200)).await;
    drop(caller);
    let counters = pool.pool_metrics().counters;
    assert_eq!((counters.timeouts, counters.cancelled), (1, 0));
    drop(held);
    end(pool, &script).await;
}
