//! Contract 4: connects belong to the pool, so many at once; contract 9: the numbers add up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::backend::{Backend, DEADLINE, build, end, in_time, until};

/// Callers come in crowds, give up, and come again, over a pool that may open two connections at
/// once. In every snapshot there are no more than two connects under way, the total is the sum of
/// its parts and within the maximum, and at the end everybody who asked is counted, once.
///
/// # Panics
///
/// The contract does not hold.
///
/// # Cancel safety
///
/// Dropped, it leaves its callers behind.
pub async fn connects_are_bounded_and_the_numbers_add_up<B: Backend>(backend: &B) {
    const MAX: u32 = 6;
    const AT_ONCE: u32 = 2;
    const CALLERS: u64 = 200;
    let pool = build(
        backend
            .builder()
            .limits(0, MAX)
            .max_connecting(AT_ONCE)
            .acquire_timeout(DEADLINE),
    );
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = {
        let (pool, stop) = (pool.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut seen = 0;
            while !stop.load(Ordering::SeqCst) {
                let counts = pool.counts();
                let sum = counts.active + counts.idle + counts.connecting + counts.closing;
                assert_eq!(counts.total, sum, "{counts}");
                assert!(counts.total <= MAX, "{counts}");
                assert!(counts.connecting <= AT_ONCE, "{counts}");
                seen = seen.max(counts.connecting);
                tokio::task::yield_now().await;
            }
            seen
        })
    };
    let mut rng = fastrand::Rng::with_seed(4);
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let pool = pool.clone();
            let patience = std::time::Duration::from_micros(rng.u64(0..5_000));
            tokio::spawn(async move {
                let served = match n % 4 {
                    0 => tokio::time::timeout(patience, pool.acquire()).await.ok(),
                    1 => Some(pool.acquire_timeout(patience).await),
                    _ => Some(pool.acquire().await),
                };
                if let Some(Ok(mut connection)) = served {
                    tokio::task::yield_now().await;
                    if n % 5 == 0 {
                        connection.evict();
                    }
                }
            })
        })
        .collect();
    for caller in callers {
        in_time("a caller", caller).await.expect("a caller");
    }
    until(&pool, "nothing is under way", |counts| {
        counts.total == counts.idle && counts.waiting == 0
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    let seen = in_time("the watcher", watcher).await;
    assert!(seen.expect("what the watcher saw adds up") > 0);

    let counters = pool.pool_metrics().counters;
    let served = counters.acquired - counters.passed_on;
    let ended = served + counters.timeouts + counters.cancelled;
    assert_eq!(ended, CALLERS, "{counters:?}");
    assert_eq!(counters.returned, served, "{counters:?}");
    let gone = counters.opened - u64::from(pool.counts().total);
    assert_eq!(counters.closed.total(), gone, "{counters:?}");
    end(backend, pool).await;
}
