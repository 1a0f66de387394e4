//! Contract 3: resize while running.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::backend::{
    Backend, DEADLINE, Sight, build, end, in_time, server_has, server_has_at_most, until,
};

/// Growth serves those in line at once; shrinking closes what is idle now and the rest on return;
/// shrinking below what is in use and growing again gives exactly the last maximum; and the
/// server never counts more than the largest maximum of the moment.
///
/// # Panics
///
/// The contract does not hold.
///
/// # Cancel safety
///
/// Dropped, it leaves its callers and its pool behind.
pub async fn a_pool_is_resized_while_it_runs<B: Backend>(backend: &B) {
    let pool = build(backend.builder().limits(0, 2).acquire_timeout(DEADLINE));
    let mut held = Vec::new();
    for _ in 0..2 {
        let acquired = in_time("an acquire", pool.acquire_owned()).await;
        held.push(acquired.expect("there is room"));
    }

    // Up: six more in line are served without a return.
    let callers: Vec<_> = (0..6).map(|_| tokio::spawn(pool.acquire_owned())).collect();
    until(&pool, "six are in line", |counts| counts.waiting == 6).await;
    pool.set_limits(0, 8).expect("valid limits");
    for caller in callers {
        let served = in_time("growth serves the line", caller)
            .await
            .expect("a caller");
        held.push(served.expect("growth serves the line"));
    }
    assert_eq!(pool.counts().total, 8);
    for connection in &mut held {
        backend.ping(connection).await.expect("what is lent works");
    }
    server_has(backend, 8).await;

    // Down below what is in use: nobody is interrupted; what comes back is closed.
    pool.set_limits(0, 3).expect("valid limits");
    for connection in &mut held {
        backend
            .ping(connection)
            .await
            .expect("a holder is never interrupted");
    }
    held.truncate(5);
    until(&pool, "what came back is closed", |counts| {
        counts.total == 5
    })
    .await;

    // Up again while five are out: exactly two more, not five.
    pool.set_limits(0, 7).expect("valid limits");
    let callers: Vec<_> = (0..6).map(|_| tokio::spawn(pool.acquire_owned())).collect();
    until(&pool, "two of six were served", |counts| counts.active == 7).await;
    until(&pool, "four are in line", |counts| counts.waiting == 4).await;
    assert_eq!(pool.counts().total, 7);
    held.clear();
    for caller in callers {
        let served = in_time("returns serve the line", caller)
            .await
            .expect("a caller");
        held.push(served.expect("returns serve the line"));
    }
    held.clear();

    // Down with all idle: closed now.
    until(&pool, "all are idle", |counts| counts.active == 0).await;
    pool.set_limits(1, 2).expect("valid limits");
    until(&pool, "the surplus is closed", |counts| counts.total == 2).await;
    server_has(backend, 2).await;

    resized_at_random(backend, &pool).await;
    end(backend, pool).await;
}

/// Load and resizes together: after each the server's count comes within that maximum, while the
/// load goes on. Where sockets outlive leases, it stays within the largest.
async fn resized_at_random<B: Backend>(backend: &B, pool: &pool_core::Pool<B::Manager>) {
    const LARGEST: u32 = 10;
    let stop = Arc::new(AtomicBool::new(false));
    let users: Vec<_> = (0..16)
        .map(|_| {
            let (pool, stop) = (pool.clone(), Arc::clone(&stop));
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let connection = pool.acquire().await.expect("the load is served");
                    tokio::task::yield_now().await;
                    drop(connection);
                }
            })
        })
        .collect();
    let mut rng = fastrand::Rng::with_seed(3);
    for _ in 0..60 {
        let max = rng.u32(1..=LARGEST);
        pool.set_limits(0, max).expect("valid limits");
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        let most = match backend.sight() {
            Sight::Exact => max,
            Sight::AtMost => LARGEST,
        };
        // What was being opened when the limit fell is closed when it lands, and the server learns
        // of a closed connection a moment later.
        server_has_at_most(backend, most).await;
    }
    pool.set_limits(0, 4).expect("valid limits");
    until(pool, "the pool is within its last maximum", |counts| {
        counts.total <= 4
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    for user in users {
        in_time("a user", user).await.expect("a user");
    }
    let all: Vec<_> = (0..6).map(|_| tokio::spawn(pool.acquire_owned())).collect();
    until(pool, "four of six are served, two wait", |counts| {
        (counts.active, counts.waiting) == (4, 2)
    })
    .await;
    if backend.sight() == Sight::Exact {
        server_has(backend, 4).await;
    }
    // The handles keep the guards of those that were served.
    drop(all);
    until(pool, "everybody was served", |counts| {
        (counts.active, counts.waiting) == (0, 0)
    })
    .await;
}
