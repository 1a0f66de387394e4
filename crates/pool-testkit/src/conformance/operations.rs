//! Contract 8: operations while the pool runs.

use std::time::Duration;

use pool_core::{AcquireErrorKind, Step};

use super::backend::{Backend, DEADLINE, build, denied, end, in_time, server_has, until};

/// Warm-up, pause and resume, evictions, and a soft eviction that interrupts nobody.
///
/// # Panics
///
/// The contract does not hold.
///
/// # Cancel safety
///
/// Dropped, it leaves its callers and its pool behind.
pub async fn a_pool_is_operated_while_it_runs<B: Backend>(backend: &B) {
    let pool = build(
        backend
            .builder()
            .limits(3, 5)
            .acquire_timeout(DEADLINE)
            .liveness(pool_core::Liveness::Never),
    );
    assert!(!pool.ready(), "a pool is not ready before its warm-up");
    let report = in_time("the warm-up", pool.warmup_pool())
        .await
        .expect("the warm-up");
    assert!(pool.ready());
    assert_eq!((report.wanted, report.open), (3, 3), "{report:?}");
    assert!(report.validated >= 3, "{report:?}");
    server_has(backend, 3).await;

    // Pause: callers wait within their own time.
    pool.pause(DEADLINE);
    let error = pool.acquire_timeout(Duration::from_millis(50)).await;
    let error = denied("the pool is paused", error);
    assert_eq!(error.kind(), AcquireErrorKind::Timeout(Step::Paused));
    let waiting = tokio::spawn(pool.acquire_owned());
    until(&pool, "one is in line", |counts| counts.waiting == 1).await;
    pool.resume();
    let held = in_time("resume serves the line", waiting)
        .await
        .expect("a caller");
    let mut held = held.expect("resume serves the line");

    // Pause ends by itself at its deadline.
    pool.pause(Duration::from_millis(50));
    drop(
        in_time("the pause ends", pool.acquire())
            .await
            .expect("the pause ends"),
    );

    // Soft eviction: the holder goes on, the connection is not lent again.
    let old = held.id();
    pool.soft_evict();
    backend
        .ping(&mut held)
        .await
        .expect("a holder is never interrupted");
    drop(held);
    until(&pool, "the minimum is open anew", |counts| {
        (counts.idle, counts.closing, counts.connecting) == (3, 0, 0)
    })
    .await;
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut connection = in_time("an acquire", pool.acquire())
            .await
            .expect("an acquire");
        assert!(
            connection.id() > old,
            "{} is not newer than {old}",
            connection.id()
        );
        backend
            .ping(&mut connection)
            .await
            .expect("what is lent works");
        all.push(connection);
    }
    drop(all);

    assert_eq!(pool.evict_idle(), 3);
    until(&pool, "the minimum is open anew", |counts| {
        (counts.idle, counts.closing, counts.connecting) == (3, 0, 0)
    })
    .await;

    // Detached: the caller's own from now on, and not counted.
    let kept = in_time("an acquire", pool.acquire())
        .await
        .expect("an acquire")
        .detach();
    until(&pool, "the minimum is open anew", |counts| counts.idle == 3).await;
    drop(kept);
    end(backend, pool).await;
}

/// Closing refuses those in line, waits for holders until its deadline, names them, and leaves
/// nothing at the server once they are done.
///
/// # Panics
///
/// The contract does not hold.
///
/// # Cancel safety
///
/// Dropped, it leaves its callers and its pool behind.
pub async fn a_pool_drains<B: Backend>(backend: &B) {
    let pool = build(backend.builder().limits(1, 2).acquire_timeout(DEADLINE));
    let first = in_time("an acquire", pool.acquire())
        .await
        .expect("an acquire");
    let second = in_time("an acquire", pool.acquire())
        .await
        .expect("an acquire");
    let waiting = tokio::spawn(pool.acquire_owned());
    until(&pool, "one is in line", |counts| counts.waiting == 1).await;

    let report = pool.close(Duration::from_millis(50)).await;
    assert!(!report.clean, "{report}");
    assert_eq!((report.refused, report.in_use.len()), (1, 2), "{report}");
    assert_eq!(report.in_use[0].caller.file(), file!());
    let refused = in_time("the caller in line", waiting)
        .await
        .expect("a caller");
    let error = denied("the pool is closed", refused);
    assert_eq!(error.kind(), AcquireErrorKind::Closed);
    assert!(!pool.ready() && pool.is_closed());

    drop((first, second));
    end(backend, pool).await;
}
