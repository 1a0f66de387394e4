//! Contract 8: pause and resume, with a deadline.

use pool_core::{AcquireErrorKind, PoolEvent, Step};
use pool_testkit::{in_time, settle};
use tokio::time::Instant;

use crate::support::{
    check, denied, end, fill, line_up, ms, pool, refused, scripted, secs, served, take,
};

/// HikariCP: `TestConnections.testSuspendResumeWithThrow`; here they have their own time.
#[tokio::test(start_paused = true)]
async fn a_paused_pool_lends_nothing_and_its_callers_wait_within_their_own_time() {
    let (pool, script) = pool(0, 2);
    fill(&pool, 2).await;
    pool.pause(secs(60));
    assert!(pool.try_acquire().is_none());
    let began = Instant::now();
    let error = denied(pool.acquire_timeout(secs(2)).await);
    assert_eq!(began.elapsed(), secs(2));
    assert_eq!(error.kind(), AcquireErrorKind::Timeout(Step::Paused));
    assert!(
        error.to_string().contains("the pool to be resumed"),
        "{error}"
    );
    check(&pool, (2, 0, 2, 0, 0, 0));
    end(pool, &script).await;
}

/// HikariCP: `TestConnections.testSuspendResume`.
#[tokio::test(start_paused = true)]
async fn resume_serves_those_in_line_in_their_order() {
    let (pool, script) = pool(0, 1);
    fill(&pool, 1).await;
    pool.pause(secs(60));
    let mut callers = line_up(&pool, 3).await;
    pool.resume();
    settle().await;
    while !callers.is_empty() {
        assert!(callers[1..].iter().all(|later| !later.is_finished()));
        drop(served(callers.remove(0)).await);
        settle().await;
    }
    assert_eq!(script.opened(), 1);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_pause_ends_by_itself_at_its_deadline() {
    let (pool, script) = pool(0, 1);
    fill(&pool, 1).await;
    let began = Instant::now();
    pool.pause(secs(3));
    drop(take(&pool, 1).await);
    let took = began.elapsed();
    assert!((secs(3)..=ms(3_002)).contains(&took), "{took:?}");
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn the_last_pause_sets_the_deadline() {
    let (pool, script) = pool(0, 1);
    fill(&pool, 1).await;
    let began = Instant::now();
    pool.pause(secs(3_600));
    pool.pause(secs(2));
    drop(take(&pool, 1).await);
    assert!(began.elapsed() <= ms(2_002), "{:?}", began.elapsed());

    let began = Instant::now();
    pool.pause(secs(1));
    pool.pause(secs(5));
    drop(take(&pool, 1).await);
    assert!(
        (secs(5)..=ms(5_002)).contains(&began.elapsed()),
        "{:?}",
        began.elapsed()
    );
    end(pool, &script).await;
}

/// Holders go on, what they return stays open, and what was being opened lands; nothing new is
/// begun.
#[tokio::test(start_paused = true)]
async fn a_pause_interrupts_nobody_and_begins_nothing() {
    let (pool, script) = pool(0, 3);
    let mut held = take(&pool, 1).await;
    script.connect().takes(ms(100));
    let caller = line_up(&pool, 1).await.remove(0);
    pool.pause(secs(60));
    let more = line_up(&pool, 4).await;
    held[0].query(ms(50)).await.unwrap();
    drop(held);
    tokio::time::sleep(secs(1)).await;
    check(&pool, (2, 0, 2, 0, 0, 5));
    assert_eq!(script.connect().calls(), 2);
    pool.resume();
    drop(served(caller).await);
    for caller in more {
        drop(served(caller).await);
    }
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn limits_and_evictions_work_while_paused() {
    let (pool, script) = pool(0, 4);
    fill(&pool, 4).await;
    pool.pause(secs(60));
    pool.set_limits(0, 2).unwrap();
    settle().await;
    check(&pool, (2, 0, 2, 0, 0, 0));
    pool.set_limits(3, 6).unwrap();
    assert_eq!(pool.evict_idle(), 2);
    tokio::time::sleep(secs(1)).await;
    check(&pool, (0, 0, 0, 0, 0, 0));
    pool.resume();
    settle().await;
    check(&pool, (3, 0, 3, 0, 0, 0));
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_close_ends_a_pause_for_good() {
    let (pool, script) = pool(0, 1);
    pool.pause(secs(60));
    let caller = line_up(&pool, 1).await.remove(0);
    assert!(pool.close(secs(1)).await.clean);
    assert_eq!(refused(caller).await.kind(), AcquireErrorKind::Closed);
    pool.pause(secs(1));
    pool.resume();
    assert_eq!(
        denied(pool.acquire().await).kind(),
        AcquireErrorKind::Closed
    );
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn pauses_are_told() {
    let (pool, script) = pool(0, 1);
    let mut events = pool.subscribe();
    pool.resume();
    pool.pause(secs(1));
    tokio::time::sleep(secs(2)).await;
    let mut told = Vec::new();
    while told.len() < 2 {
        match in_time("an event", events.next()).await.unwrap() {
            PoolEvent::Paused => told.push("paused"),
            PoolEvent::Resumed => told.push("resumed"),
            _ => {}
        }
    }
    assert_eq!(
        told,
        ["paused", "resumed"],
        "a resume without a pause is nothing"
    );
    end(pool, &script).await;
}

/// A lifetime that ends during a pause is not lent after it.
#[tokio::test(start_paused = true)]
async fn what_expires_during_a_pause_is_not_lent_after_it() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 1).max_lifetime(secs(10)).build().unwrap();
    fill(&pool, 1).await;
    pool.pause(secs(30));
    let guard = take_owned_after_the_pause(&pool).await;
    assert_eq!(guard.id(), 2);
    drop(guard);
    end(pool, &script).await;
}

async fn take_owned_after_the_pause(pool: &crate::support::Pool) -> crate::support::Guard {
    tokio::time::sleep(secs(31)).await;
    take(pool, 1).await.remove(0)
}
