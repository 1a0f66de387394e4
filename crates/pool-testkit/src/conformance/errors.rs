//! Contract 5: errors say why.

use std::time::Duration;

use pool_core::{AcquireErrorKind, Step};

use super::backend::{Backend, DEADLINE, build, denied, end, in_time, skipped, until};

/// A caller whose time is over is told what it waited for, how long, how the pool stood, which
/// line holds a connection longest, and, when the server cannot be reached, how the last connect
/// failed.
///
/// # Panics
///
/// The contract does not hold.
///
/// # Cancel safety
///
/// Dropped, it leaves its callers and its pool behind.
pub async fn an_error_says_why<B: Backend>(backend: &B) {
    let patience = Duration::from_millis(80);
    let pool = build(
        backend
            .builder()
            .name("why")
            .limits(0, 1)
            .max_waiters(1)
            .acquire_timeout(DEADLINE),
    );
    let holder_line = line!() + 1;
    let held = in_time("the first acquire", pool.acquire()).await;
    let held = held.expect("an empty pool opens a connection");

    let error = denied("it is held", pool.acquire_timeout(patience).await);
    assert_eq!(error.kind(), AcquireErrorKind::Timeout(Step::Return));
    assert!(error.waited() >= patience, "{:?}", error.waited());
    assert_eq!((error.counts().total, error.counts().active), (1, 1));
    let holder = error.oldest_holder().expect("somebody holds it");
    assert_eq!(
        (holder.caller.file(), holder.caller.line()),
        (file!(), holder_line)
    );
    assert!(holder.held >= patience, "{:?}", holder.held);
    let text = error.to_string();
    for part in ["`why`", "to be returned", "1 active", file!()] {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }

    let waiting = tokio::spawn(pool.acquire_owned());
    until(&pool, "one is in line", |counts| counts.waiting == 1).await;
    let error = denied("the line is full", pool.acquire().await);
    assert_eq!(error.kind(), AcquireErrorKind::QueueFull);
    drop(held);
    drop(
        in_time("the caller's turn", waiting)
            .await
            .expect("a caller"),
    );

    if backend.set_reachable(false).await {
        pool.evict_idle();
        until(&pool, "nothing is open", |counts| {
            counts.idle + counts.active == 0
        })
        .await;
        let error = pool.acquire_timeout(Duration::from_secs(5)).await;
        let error = denied("the server cannot be reached", error);
        let expected = [
            AcquireErrorKind::Connect,
            AcquireErrorKind::Timeout(Step::Connect),
        ];
        assert!(expected.contains(&error.kind()), "{error}");
        let (_, cause) = error.last_connect_error().expect("a connect failed");
        assert!(error.to_string().contains(&cause.to_string()), "{error}");
        assert!(backend.set_reachable(true).await);
        let served = in_time("service resumes", pool.acquire()).await;
        drop(served.expect("service resumes"));
    } else {
        skipped("it cannot be made unreachable");
    }
    pool.close(DEADLINE).await;
    let error = denied("the pool is closed", pool.acquire().await);
    assert_eq!(error.kind(), AcquireErrorKind::Closed);
    end(backend, pool).await;
}
