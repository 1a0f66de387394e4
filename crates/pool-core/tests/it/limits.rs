//! Contract 3 from outside: up at once, down oldest first, never above.

use pool_core::{Limits, PoolEvent};
use pool_testkit::{eventually, in_time, settle};
use tokio::time::Instant;

use crate::support::{check, end, fill, line_up, ms, pool, scripted, secs, served, take};

#[tokio::test(start_paused = true)]
async fn growth_serves_those_in_line_at_once() {
    let (pool, script) = pool(0, 2);
    let mut held = take(&pool, 2).await;
    let callers = line_up(&pool, 4).await;
    let began = Instant::now();
    pool.set_limits(0, 6).unwrap();
    for caller in callers {
        held.push(served(caller).await);
    }
    assert_eq!(began.elapsed(), ms(0));
    check(&pool, (6, 6, 0, 0, 0, 0));
    drop(held);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_higher_minimum_is_opened_without_a_caller() {
    let (pool, script) = pool(0, 10);
    pool.set_limits(6, 10).unwrap();
    eventually("six are idle", || pool.counts().idle == 6).await;
    pool.set_limits(1, 10).unwrap();
    tokio::time::sleep(secs(60)).await;
    check(&pool, (6, 0, 6, 0, 0, 0));
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_closes_idle_ones_at_once_the_oldest_first() {
    let (pool, script) = pool(0, 5);
    let mut held = take(&pool, 5).await;
    // They become idle in the order 5, 3, 1, 2, 4.
    for id in [5, 3, 1, 2, 4] {
        let at = held.iter().position(|guard| guard.id() == id).unwrap();
        drop(held.remove(at));
        tokio::time::sleep(ms(1)).await;
    }
    pool.set_limits(0, 3).unwrap();
    settle().await;
    assert_eq!(script.ids(), [1, 2, 4]);
    pool.set_limits(0, 1).unwrap();
    settle().await;
    assert_eq!(script.ids(), [4]);
    assert_eq!(pool.pool_metrics().counters.closed.surplus, 4);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_closes_those_in_use_as_they_come_back_and_interrupts_nobody() {
    let (pool, script) = pool(0, 5);
    let mut held = take(&pool, 5).await;
    pool.set_limits(0, 2).unwrap();
    for left in [4, 3, 2] {
        held[0].query(ms(5)).await.unwrap();
        drop(held.remove(0));
        settle().await;
        assert_eq!((script.open(), pool.counts().idle), (left, 0));
    }
    drop(held);
    settle().await;
    check(&pool, (2, 0, 2, 0, 0, 0));
    end(pool, &script).await;
}

/// Callers in line keep their places over a shrink; they are served from what remains.
#[tokio::test(start_paused = true)]
async fn callers_in_line_keep_their_places_over_a_shrink() {
    let (pool, script) = pool(0, 4);
    let held = take(&pool, 4).await;
    let callers = line_up(&pool, 6).await;
    pool.set_limits(0, 1).unwrap();
    drop(held);
    settle().await;
    check(&pool, (1, 1, 0, 0, 0, 5));
    for caller in callers {
        drop(served(caller).await);
    }
    assert_eq!(script.open(), 1);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_connect_that_lands_above_the_maximum_is_closed() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 4).max_connecting(4).build().unwrap();
    script.connect().takes(ms(100));
    let callers = line_up(&pool, 4).await;
    check(&pool, (4, 0, 0, 4, 0, 4));
    pool.set_limits(0, 1).unwrap();
    tokio::time::sleep(ms(100)).await;
    settle().await;
    check(&pool, (1, 1, 0, 0, 0, 3));
    assert_eq!((script.opened(), script.open()), (4, 1));
    for caller in callers {
        drop(served(caller).await);
    }
    assert_eq!(pool.pool_metrics().counters.closed.surplus, 3);
    end(pool, &script).await;
}

/// Connections on their way out count until they are out: no connect while they fill the room.
///
/// puddle: `TestPoolAcquireDoesNotCreatesResourceWhenItWouldExceedMaxSize`.
#[tokio::test(start_paused = true)]
async fn no_connect_starts_while_closing_ones_fill_the_room() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 3).close_timeout(secs(5)).build().unwrap();
    fill(&pool, 3).await;
    script.close().takes(secs(2));
    assert_eq!(pool.evict_idle(), 3);
    let calls = script.connect().calls();
    let callers = line_up(&pool, 3).await;
    check(&pool, (3, 0, 0, 0, 3, 3));
    tokio::time::sleep(ms(1_990)).await;
    assert_eq!(script.connect().calls(), calls);
    let began = Instant::now();
    for caller in callers {
        drop(served(caller).await);
    }
    assert!(began.elapsed() <= ms(20));
    assert_eq!(script.peak_open(), 3);
    end(pool, &script).await;
}

/// ... but not for longer than the close timeout.
#[tokio::test(start_paused = true)]
async fn a_goodbye_that_hangs_counts_until_the_close_timeout() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 1).close_timeout(secs(5)).build().unwrap();
    fill(&pool, 1).await;
    script.close().next(1, pool_testkit::Answer::Hangs);
    pool.evict_idle();
    let began = Instant::now();
    drop(take(&pool, 1).await);
    assert_eq!(began.elapsed(), secs(5));
    assert_eq!(
        script.open(),
        1,
        "the one that did not say goodbye was dropped"
    );
    end(pool, &script).await;
}

/// HikariCP: `BasicPoolTest.testIdleTimeout2`.
#[tokio::test(start_paused = true)]
async fn idle_connections_end_only_above_the_minimum() {
    let (builder, script) = scripted();
    let pool = builder.limits(3, 8).idle_timeout(secs(10)).build().unwrap();
    fill(&pool, 8).await;
    tokio::time::sleep(secs(3_600)).await;
    check(&pool, (3, 0, 3, 0, 0, 0));
    assert_eq!(script.opened(), 8, "nothing is closed and opened in turns");
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn limits_that_contradict_each_other_change_nothing() {
    let (pool, script) = pool(1, 4);
    for (min, max, text) in [
        (5, 4, "min 5 is above max 4"),
        (0, 0, "max is 0"),
        (0, 2_000_000, "above 1000000"),
    ] {
        let error = pool.set_limits(min, max).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
    }
    assert_eq!(pool.limits(), Limits::new(1, 4).unwrap());
    assert_eq!(pool.pool_metrics().counters.resizes, 0);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_change_of_limits_is_told_and_counted_once() {
    let (pool, script) = pool(0, 4);
    let mut events = pool.subscribe();
    for _ in 0..3 {
        pool.set_limits(1, 6).unwrap();
    }
    let (from, to) = loop {
        if let PoolEvent::LimitsChanged { from, to } = in_time("it", events.next()).await.unwrap() {
            break (from, to);
        }
    };
    assert_eq!(
        (from.to_string(), to.to_string()),
        ("0..=4".into(), "1..=6".into())
    );
    assert_eq!(pool.pool_metrics().counters.resizes, 1);
    end(pool, &script).await;
}

/// A target between the limits is kept warm; what is above it ends by idleness.
#[tokio::test(start_paused = true)]
async fn a_target_is_kept_warm_between_the_limits() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(1, 10)
        .idle_timeout(secs(10))
        .build()
        .unwrap();
    for (target, kept) in [
        (Some(6), 6),
        (Some(99), 10),
        (Some(0), 1),
        (Some(3), 3),
        (None, 1),
    ] {
        pool.set_target(target);
        tokio::time::sleep(secs(25)).await;
        check(&pool, (kept, 0, kept, 0, 0, 0));
        assert_eq!(pool.pool_metrics().target, kept);
    }
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn shrinking_keeps_what_is_open_and_not_what_may_never_be() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 4).build().unwrap();
    fill(&pool, 2).await;
    script.connect().always(pool_testkit::Answer::Hangs);
    pool.set_limits(4, 4).unwrap();
    eventually("two connects hang", || pool.counts().connecting == 2).await;
    pool.set_limits(0, 2).unwrap();
    check(&pool, (4, 0, 2, 2, 0, 0));
    let held = take(&pool, 2).await;
    script.connect().let_go();
    eventually("those that landed above the maximum are closed", || {
        pool.counts().total == 2
    })
    .await;
    drop(held);
    end(pool, &script).await;
}
