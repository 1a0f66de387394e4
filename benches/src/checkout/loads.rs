//! The loads that each pool is put under.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use benches::Report;
use hdrhistogram::Histogram;

use crate::peers::{BadListener, Peer, PoolCore, Resizable};

/// Opens all connections, so that no load meets a connect.
pub async fn warm<P: Peer>(max: u32) -> Arc<P> {
    let pool = Arc::new(P::build(max).await);
    let mut held = Vec::new();
    for _ in 0..max {
        held.push(pool.checkout().await);
    }
    drop(held);
    // mobc and sqlx take connections back in tasks.
    tokio::time::sleep(Duration::from_millis(5)).await;
    pool
}

/// One task, one connection, over and over.
pub async fn uncontended<P: Peer>(report: &mut Report, ops: u32) {
    let pool = warm::<P>(8).await;
    for _ in 0..ops / 10 {
        drop(pool.checkout().await);
    }
    let began = Instant::now();
    for _ in 0..ops {
        black_box(pool.checkout().await);
    }
    let each = began.elapsed().as_nanos() as f64 / f64::from(ops);
    report.add("checkout/uncontended", P::NAME, "ns_per_op", "ns", each);
}

/// Many tasks on few connections.
pub struct Contention {
    pub name: &'static str,
    pub tasks: u32,
    pub connections: u32,
    pub time: Duration,
    pub measured: Measured,
}

/// What a wait is measured in.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Measured {
    /// Time.
    Nanoseconds,
    /// Checkouts that others had meanwhile, however long they took: a queue in order of arrival gives
    /// every caller as many as there are ahead of it. Counting them costs time, so that is not reported.
    Turns,
}

/// Before a contended load counts.
const SETTLES_WITHIN: Duration = Duration::from_millis(100);

/// Each task holds its connection for one turn of the scheduler, as a query that is answered at
/// once would. What counts begins after a while: as long as all tasks begin at once, the scheduler is
/// what they wait for.
pub async fn contended<P: Peer>(report: &mut Report, load: &Contention) {
    let pool = warm::<P>(load.connections).await;
    let stop = Arc::new(AtomicBool::new(false));
    let counts = Arc::new(AtomicBool::new(false));
    let turns = Arc::new(AtomicU64::new(0));
    let measured = load.measured;
    let tasks: Vec<_> = (0..load.tasks)
        .map(|_| {
            let (pool, stop) = (Arc::clone(&pool), Arc::clone(&stop));
            let (counts, turns) = (Arc::clone(&counts), Arc::clone(&turns));
            tokio::spawn(async move {
                let mut waits = waits();
                while !stop.load(Ordering::Relaxed) {
                    let counted = counts.load(Ordering::Relaxed);
                    let asked = Instant::now();
                    let asked_at = match measured {
                        Measured::Nanoseconds => 0,
                        Measured::Turns => turns.load(Ordering::Relaxed),
                    };
                    let guard = pool.checkout().await;
                    let waited = match measured {
                        Measured::Nanoseconds => {
                            u64::try_from(asked.elapsed().as_nanos()).unwrap_or(u64::MAX)
                        }
                        Measured::Turns => turns.fetch_add(1, Ordering::Relaxed) - asked_at,
                    };
                    if counted {
                        waits.saturating_record(waited);
                    }
                    tokio::task::yield_now().await;
                    drop(guard);
                }
                waits
            })
        })
        .collect();
    tokio::time::sleep(SETTLES_WITHIN).await;
    let began = Instant::now();
    counts.store(true, Ordering::Relaxed);
    tokio::time::sleep(load.time).await;
    stop.store(true, Ordering::Relaxed);
    let elapsed = began.elapsed();
    let mut waits = waits();
    for task in tasks {
        waits
            .add(task.await.expect("no task panics"))
            .expect("the bounds are the same");
    }
    if measured == Measured::Nanoseconds {
        let per_second = waits.len() as f64 / elapsed.as_secs_f64();
        report.add(load.name, P::NAME, "ops_per_s", "1/s", per_second);
    }
    let (unit, each, metrics) = match measured {
        Measured::Nanoseconds => ("µs", 1e3, ["p50_us", "p99_us", "p999_us"]),
        Measured::Turns => ("turns", 1.0, ["p50_turns", "p99_turns", "p999_turns"]),
    };
    for (metric, quantile) in metrics.into_iter().zip([0.5, 0.99, 0.999]) {
        let wait = waits.value_at_quantile(quantile) as f64 / each;
        report.add(load.name, P::NAME, metric, unit, wait);
    }
}

/// 64 callers queue and give up between each two checkouts.
pub async fn cancelled<P: Peer>(report: &mut Report, rounds: u32) {
    let pool = warm::<P>(1).await;
    let mut spent = Duration::ZERO;
    for _ in 0..rounds {
        let guard = pool.checkout().await;
        let began = Instant::now();
        let mut waiting: Vec<_> = (0..64).map(|_| Box::pin(pool.checkout())).collect();
        for waiter in &mut waiting {
            assert!(
                poll_once(waiter.as_mut()).await.is_none(),
                "the only connection is taken"
            );
        }
        drop(waiting);
        drop(guard);
        black_box(pool.checkout().await);
        spent += began.elapsed();
    }
    let each = spent.as_nanos() as f64 / f64::from(rounds);
    report.add("checkout/cancelled", P::NAME, "ns_per_op", "ns", each);
}

/// A full pool with a long queue: a connection comes back, the oldest caller takes it, another
/// caller joins the queue.
pub async fn scaled(report: &mut Report, connections: u32, waiters: u32) {
    let pool = warm::<PoolCore>(connections).await;
    let mut held = std::collections::VecDeque::new();
    for _ in 0..connections {
        held.push_back(pool.checkout().await);
    }
    let mut queue = std::collections::VecDeque::new();
    for _ in 0..waiters {
        let mut waiter = Box::pin(pool.checkout());
        assert!(
            poll_once(waiter.as_mut()).await.is_none(),
            "every connection is taken"
        );
        queue.push_back(waiter);
    }
    let ops = 200_000;
    let mut cycles = 0;
    let began = Instant::now();
    while cycles < ops {
        drop(held.pop_front());
        let mut oldest = queue.pop_front().expect("the queue stays as long as it is");
        let guard = poll_once(oldest.as_mut())
            .await
            .expect("the oldest caller is served");
        held.push_back(guard);
        // The same memory again, so that the allocator is not what is measured.
        oldest.set(pool.checkout());
        assert!(
            poll_once(oldest.as_mut()).await.is_none(),
            "every connection is taken"
        );
        queue.push_back(oldest);
        cycles += 1;
        if cycles % 128 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let each = began.elapsed().as_nanos() as f64 / f64::from(ops);
    let subject = format!("{connections} connections, {waiters} waiters");
    report.add("checkout/scale", &subject, "ns_per_op", "ns", each);
}

/// The size changes a thousand times a second under the load of `checkout/64x8`.
pub async fn resized<P: Peer + Resizable>(report: &mut Report, time: Duration) {
    let pool = warm::<P>(8).await;
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (pool, stop, done) = (Arc::clone(&pool), Arc::clone(&stop), Arc::clone(&done));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let guard = pool.checkout().await;
                    tokio::task::yield_now().await;
                    drop(guard);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let began = Instant::now();
    let mut resizes = 0_u32;
    let mut spent = Duration::ZERO;
    while began.elapsed() < time {
        let max = if resizes % 2 == 0 { 4 } else { 8 };
        let asked = Instant::now();
        pool.resize(max);
        spent += asked.elapsed();
        resizes += 1;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let elapsed = began.elapsed();
    pool.resize(8);
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no task panics");
    }
    let name = "checkout/resize";
    let each = spent.as_nanos() as f64 / 1e3 / f64::from(resizes);
    report.add(name, P::NAME, "us_per_resize", "µs", each);
    let per_second = done.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64();
    report.add(name, P::NAME, "ops_per_s", "1/s", per_second);
}

/// One task, one connection, which is replaced every 64 checkouts, so that there is something to
/// tell: with nobody who listens, and with each kind of bad listener.
///
/// Who goes first pays for what comes after as well, such as pages of memory, so each round begins with
/// another one, and none counts before it is warm.
pub async fn listened(report: &mut Report, ops: u32, round: usize) {
    let mut subjects = [
        ("nobody listens", None),
        ("a listener sleeps", Some(BadListener::Sleeps)),
        ("a listener fails", Some(BadListener::Fails)),
        ("a listener panics", Some(BadListener::Panics)),
    ];
    let (turn, first) = (round / subjects.len(), round % subjects.len());
    subjects.rotate_left(first);
    // Who comes after a listener that is still at work is not always the same either.
    if turn % 2 == 1 {
        subjects.reverse();
    }
    // What a panic prints is not what is measured.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    for (subject, listener) in subjects {
        let pool = PoolCore::with_listener(8, listener);
        evicting(&pool, ops / 4).await;
        let began = Instant::now();
        evicting(&pool, ops).await;
        let each = began.elapsed().as_nanos() as f64 / f64::from(ops);
        report.add("checkout/listeners", subject, "ns_per_op", "ns", each);
    }
    std::panic::set_hook(hook);
}

/// Checkouts of which one in sixty-four has its connection closed.
async fn evicting(pool: &PoolCore, ops: u32) {
    for nth in 1..=ops {
        let mut guard = pool.checkout().await;
        if nth % 64 == 0 {
            guard.evict();
        }
    }
}

/// From a nanosecond to a minute, to three significant digits.
fn waits() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are within the range")
}

/// Polls a future once, with a waker that nobody hears.
async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Option<F::Output> {
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
