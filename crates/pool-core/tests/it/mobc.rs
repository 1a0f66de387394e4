//! mobc: requests are served in order, those that are gone are skipped, and a database that has
//! gone is a timeout and no more.

use pool_core::{AcquireErrorKind, ConnectFault, Step};
use pool_testkit::{Answer, settle};
use tokio::time::Instant;

use crate::support::{check, denied, end, fill, line_up, pool, scripted, secs, served, take};

#[tokio::test(start_paused = true)]
async fn test_requests_fifo() {
    let (pool, script) = pool(0, 1);
    let mut held = take(&pool, 1).await;
    let mut callers = line_up(&pool, 10).await;
    while !callers.is_empty() {
        held.clear();
        settle().await;
        assert!(callers[0].is_finished());
        assert!(callers[1..].iter().all(|later| !later.is_finished()));
        held.push(served(callers.remove(0)).await);
    }
    drop(held);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn test_requests_skip_canceled() {
    let (pool, script) = pool(0, 1);
    let held = take(&pool, 1).await;
    let callers = line_up(&pool, 6).await;
    for gone in [0, 2, 5] {
        callers[gone].abort();
    }
    settle().await;
    assert_eq!(pool.counts().waiting, 3);
    drop(held);
    for (n, caller) in callers.into_iter().enumerate() {
        if [1, 3, 4].contains(&n) {
            drop(served(caller).await);
        }
    }
    assert_eq!(pool.pool_metrics().counters.cancelled, 3);
    check(&pool, (1, 0, 1, 0, 0, 0));
    end(pool, &script).await;
}

/// A hand-off on its way to a caller that is gone goes to the next one, without a second wait.
#[tokio::test(start_paused = true)]
async fn a_hand_off_to_a_caller_that_is_gone_goes_to_the_next() {
    let (pool, script) = pool(0, 1);
    let held = take(&pool, 1).await;
    let mut callers = line_up(&pool, 3).await;
    drop(held);
    // It has been handed the connection and has not run since.
    callers.remove(0).abort();
    let second = served(callers.remove(0)).await;
    assert!(!callers[0].is_finished());
    drop(second);
    drop(served(callers.remove(0)).await);
    assert_eq!(script.opened(), 1);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn test_timeout_when_db_has_gone() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 2)
        .acquire_timeout(secs(1))
        .build()
        .unwrap();
    drop(take(&pool, 2).await);
    script.cut_all();
    script.connect().always(Answer::Hangs);
    script.validate().always(Answer::Hangs);
    tokio::time::sleep(secs(1)).await;
    let mut steps = Vec::new();
    for _ in 0..6 {
        let began = Instant::now();
        let error = denied(pool.acquire().await);
        assert_eq!(began.elapsed(), secs(1));
        let AcquireErrorKind::Timeout(step) = error.kind() else {
            panic!("{error}");
        };
        steps.push(step);
    }
    // First the idle ones are in doubt; once they are gone, connects are what it takes.
    assert_eq!(
        (steps[0], steps[5]),
        (Step::Validate, Step::Connect),
        "{steps:?}"
    );
    script.connect().works();
    script.validate().works();
    fill(&pool, 2).await;
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn test_timeout_when_db_has_gone2() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 2)
        .acquire_timeout(secs(1))
        .build()
        .unwrap();
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Transient));
    for _ in 0..3 {
        let began = Instant::now();
        let error = denied(pool.acquire().await);
        assert_eq!(began.elapsed(), secs(1), "neither too short nor too long");
        assert!(error.to_string().contains("connection refused"), "{error}");
    }
    script.connect().works();
    fill(&pool, 2).await;
    end(pool, &script).await;
}
