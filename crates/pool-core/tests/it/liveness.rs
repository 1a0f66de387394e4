//! Contract 6: checked only when in doubt, replaced without losing the caller's place.

use futures_util::FutureExt as _;
use pool_core::{Liveness, TimeSource};
use pool_testkit::{Answer, in_time, settle};
use tokio::time::Instant;

use crate::support::{check, end, fill, line_up, ms, pool, scripted, secs, served, take};

#[tokio::test(start_paused = true)]
async fn a_connection_is_checked_only_after_half_a_second_of_idleness() {
    let (pool, script) = pool(0, 1);
    for _ in 0..20 {
        drop(take(&pool, 1).await);
        tokio::time::sleep(ms(499)).await;
    }
    assert_eq!(script.validate().calls(), 0);
    tokio::time::sleep(ms(2)).await;
    drop(take(&pool, 1).await);
    assert_eq!(script.validate().calls(), 1);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn always_and_never_mean_what_they_say() {
    for (liveness, checks) in [(Liveness::Always, 10), (Liveness::Never, 0)] {
        let (builder, script) = scripted();
        let pool = builder.limits(0, 1).liveness(liveness).build().unwrap();
        fill(&pool, 1).await;
        for _ in 0..10 {
            tokio::time::sleep(secs(10)).await;
            drop(take(&pool, 1).await);
        }
        assert_eq!(script.validate().calls(), checks, "{liveness:?}");
        end(pool, &script).await;
    }
}

/// The check fails; the caller keeps its place in front of those that came after it.
#[tokio::test(start_paused = true)]
async fn a_failed_check_does_not_cost_the_caller_its_place() {
    let (pool, script) = pool(0, 1);
    fill(&pool, 1).await;
    script.cut_all();
    script.connect().takes(ms(100));
    script.validate().takes(ms(50));
    tokio::time::sleep(secs(1)).await;
    let mut callers = line_up(&pool, 3).await;
    let first = served(callers.remove(0)).await;
    assert_eq!(first.id(), 2);
    assert!(callers.iter().all(|later| !later.is_finished()));
    drop(first);
    for caller in callers {
        assert_eq!(served(caller).await.id(), 2);
    }
    end(pool, &script).await;
}

/// deadpool issue 191: 62 dead connections were tried one after the other by one caller. Here the
/// first bad one casts doubt on the others, and a connect runs beside the next check.
#[tokio::test(start_paused = true)]
async fn a_pool_full_of_dead_connections_costs_a_caller_one_check_and_a_connect() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 10)
        .validate_timeout(secs(2))
        .build()
        .unwrap();
    fill(&pool, 10).await;
    script.connect().takes(ms(50));
    script.validate().always(Answer::Hangs);
    tokio::time::sleep(secs(1)).await;
    let began = Instant::now();
    let guard = take(&pool, 1).await;
    assert!(began.elapsed() <= ms(2_060), "{:?}", began.elapsed());
    assert_eq!(guard[0].id(), 11);
    assert!(script.peak_open() <= 10);
    script.validate().works();
    drop(guard);
    end(pool, &script).await;
}

/// A caller gets what comes first: a return, or the connection that is being checked for it.
#[tokio::test(start_paused = true)]
async fn a_return_reaches_a_caller_whose_check_is_under_way() {
    let (pool, script) = pool(0, 2);
    let mut held = take(&pool, 2).await;
    held.pop();
    script.validate().always(Answer::Hangs);
    tokio::time::sleep(secs(1)).await;
    let began = Instant::now();
    let caller = line_up(&pool, 1).await.remove(0);
    assert_eq!(script.validate().under_way(), 1);
    tokio::time::sleep(ms(20)).await;
    drop(held);
    drop(served(caller).await);
    assert_eq!(began.elapsed(), ms(20));
    script.validate().works();
    settle().await;
    check(&pool, (2, 0, 2, 0, 0, 0));
    end(pool, &script).await;
}

/// A check that panics costs its connection and nothing else.
#[tokio::test(start_paused = true)]
async fn a_check_that_panics_is_a_failed_check() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .liveness(Liveness::Always)
        .build()
        .unwrap();
    fill(&pool, 1).await;
    script.validate().next(1, Answer::Panics);
    let guard = take(&pool, 1).await;
    assert_eq!(guard[0].id(), 2);
    assert_eq!(pool.pool_metrics().counters.validation_failures, 1);
    drop(guard);
    end(pool, &script).await;
}

/// The warmest connection is lent, so that the coldest can end: last in, first out.
#[tokio::test(start_paused = true)]
async fn the_warmest_connection_is_lent_and_the_coldest_ends() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 5).idle_timeout(secs(30)).build().unwrap();
    fill(&pool, 5).await;
    for _ in 0..60 {
        tokio::time::sleep(ms(900)).await;
        drop(take(&pool, 1).await);
    }
    check(&pool, (1, 0, 1, 0, 0, 0));
    assert_eq!(script.opened(), 5, "the warm one served all");
    end(pool, &script).await;
}

/// The hardware's clock and `tokio`'s agree about what is in doubt.
#[tokio::test]
async fn the_hardwares_clock_sees_idleness_as_well() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .time_source(TimeSource::Hardware)
        .liveness(Liveness::IdleFor(ms(30)))
        .build()
        .unwrap();
    fill(&pool, 1).await;
    tokio::time::sleep(ms(60)).await;
    drop(take(&pool, 1).await);
    assert_eq!(script.validate().calls(), 1);
    end(pool, &script).await;
}

/// A check without use has proven a connection below the top of the stack. A caller for which nothing else
/// is fit gets that one at once, without a turn of the scheduler.
#[tokio::test(start_paused = true)]
async fn a_caller_is_served_at_once_with_what_a_check_without_use_has_proven() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 2)
        .keepalive(secs(30))
        .liveness(Liveness::IdleFor(secs(10)))
        .build()
        .unwrap();
    fill(&pool, 2).await;
    tokio::time::sleep(secs(20)).await;
    // The top is proven by this checkout, and the other one ten seconds later by upkeep.
    let used = in_time("an acquire", pool.acquire()).await.unwrap().id();
    tokio::time::sleep(secs(15)).await;
    assert_eq!(script.validate().calls(), 2);
    let guard = pool.acquire().now_or_never();
    let guard = guard.expect("it is ready at its first poll").unwrap();
    assert_ne!(guard.id(), used);
    assert_eq!(script.validate().calls(), 2);
    drop(guard);
    end(pool, &script).await;
}
