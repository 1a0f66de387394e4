//! Contract 8: the end of a pool, by `close` or with its last handle.

use pool_core::{AcquireErrorKind, PoolEvent};
use pool_testkit::{Answer, eventually, in_time, settle};
use tokio::time::Instant;

use crate::support::{check, denied, end, fill, ms, pool, secs, take};

#[tokio::test(start_paused = true)]
async fn the_last_handle_closes_what_is_idle_and_guards_close_what_they_hold() {
    let (pool, script) = pool(0, 3);
    let other = pool.clone();
    let mut held = take(&pool, 3).await;
    held.pop();
    drop(pool);
    settle().await;
    assert_eq!(script.open(), 3, "another handle is left");
    drop(other);
    settle().await;
    assert_eq!(script.open(), 2, "the idle one is closed");
    for guard in &mut held {
        guard.query(ms(1)).await.unwrap();
    }
    drop(held);
    eventually("all are closed", || script.open() == 0).await;
}

#[tokio::test(start_paused = true)]
async fn what_was_begun_when_the_pool_was_closed_is_finished_and_closed() {
    let (pool, script) = pool(0, 4);
    script.recycle().takes(ms(100));
    script.close().takes(ms(100));
    let mut held = take(&pool, 4).await;
    held[0].soil();
    held[1].soil();
    held.drain(..2);
    held[0].evict();
    drop(held.remove(0));
    // Two are being cleaned, one is being closed, one is in use.
    check(&pool, (4, 3, 0, 0, 1, 0));
    let report = pool.close(ms(10)).await;
    assert_eq!((report.in_use.len(), report.unfinished), (1, 3), "{report}");
    drop(held);
    let report = pool.close(secs(1)).await;
    assert!(report.clean, "{report}");
    assert_eq!(report.elapsed, ms(190));
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_that_hangs_holds_a_close_up_for_the_close_timeout_only() {
    let (pool, script) = pool(0, 2);
    fill(&pool, 2).await;
    script.close().always(Answer::Hangs);
    let report = pool.close(secs(60)).await;
    assert!(report.clean, "{report}");
    assert_eq!(report.elapsed, secs(5), "the default close timeout");
    assert_eq!(script.open(), 0);
    assert_eq!(pool.pool_metrics().counters.close_timeouts, 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_close_closes_all_the_same() {
    let (pool, script) = pool(0, 2);
    let held = take(&pool, 2).await;
    assert!(
        tokio::time::timeout(ms(10), pool.close(secs(60)))
            .await
            .is_err()
    );
    assert!(pool.is_closed());
    drop(held);
    eventually("all are closed", || script.open() == 0).await;
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_report_names_the_holders_longest_first() {
    let (pool, script) = pool(0, 3);
    let mut lines = Vec::new();
    lines.push(line!() + 1);
    let first = pool.acquire_owned().await.unwrap();
    tokio::time::sleep(secs(2)).await;
    lines.push(line!() + 1);
    let second = pool.acquire_owned().await.unwrap();
    let report = pool.close(secs(1)).await;
    assert!(!report.clean);
    let held: Vec<_> = report
        .in_use
        .iter()
        .map(|holder| (holder.caller.line(), holder.held))
        .collect();
    assert_eq!(held, [(lines[0], secs(3)), (lines[1], secs(1))]);
    let text = report.to_string();
    for part in ["2 still in use", "close.rs", "for 3.0s", "for 1.0s"] {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
    drop((first, second));
    end(pool, &script).await;
}

/// A detached connection is no more of the pool's concern.
#[tokio::test(start_paused = true)]
async fn a_detached_connection_neither_counts_nor_holds_a_close_up() {
    let (pool, script) = pool(0, 2);
    let mut held = take(&pool, 2).await;
    let kept = held.pop().unwrap().detach();
    check(&pool, (1, 1, 0, 0, 0, 0));
    drop(held);
    assert!(pool.close(secs(1)).await.clean);
    assert_eq!(script.open(), 1);
    drop(kept);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_close_is_told_and_the_events_end_with_the_pool() {
    let (pool, _script) = pool(0, 2);
    fill(&pool, 2).await;
    let mut events = pool.subscribe();
    pool.close(secs(1)).await;
    drop(pool);
    let mut told = Vec::new();
    while let Some(event) = in_time("an event", events.next()).await {
        match event {
            PoolEvent::Closed => told.push("closed"),
            PoolEvent::Disconnected { .. } => told.push("disconnected"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(told, ["closed", "disconnected", "disconnected"]);
    assert_eq!(events.missed(), 0);
}

/// Callers that come after the close are told at once, without a wait.
#[tokio::test(start_paused = true)]
async fn a_closed_pool_turns_callers_away_at_once() {
    let (pool, script) = pool(1, 2);
    pool.close(secs(1)).await;
    let began = Instant::now();
    for _ in 0..100 {
        assert_eq!(
            denied(pool.acquire().await).kind(),
            AcquireErrorKind::Closed
        );
        assert!(pool.try_acquire().is_none());
    }
    assert_eq!(began.elapsed(), ms(0));
    let calls = script.connect().calls();
    pool.set_limits(2, 4).unwrap();
    pool.set_target(Some(3));
    tokio::time::sleep(secs(60)).await;
    assert_eq!(
        script.connect().calls(),
        calls,
        "nothing is opened after the end"
    );
    end(pool, &script).await;
}
