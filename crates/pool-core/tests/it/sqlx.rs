//! sqlx: permits lost on release, connect storms, opaque timeouts, lifetimes that end together.

use std::collections::BTreeSet;

use pool_core::{AcquireErrorKind, ConnectFault, Step};
use pool_testkit::{Answer, eventually, in_time, settle};
use tokio::time::Instant;

use crate::support::{check, denied, end, fill, line_up, ms, pool, scripted, secs, served, take};

/// Issue 4349: a guard dropped on a silently dead socket kept its permit for ever.
#[tokio::test(start_paused = true)]
async fn issue_4349_a_cleaning_that_hangs_loses_no_room() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 2)
        .recycle_timeout(secs(2))
        .build()
        .unwrap();
    script.recycle().always(Answer::Hangs);
    for round in 1..=10 {
        let mut held = take(&pool, 2).await;
        held.iter_mut().for_each(|guard| guard.soil());
        let began = Instant::now();
        drop(held);
        assert_eq!(began.elapsed(), ms(0), "a drop never waits");
        check(&pool, (2, 2, 0, 0, 0, 0));
        // The next caller gets its connection once the cleaning has been given up.
        drop(take(&pool, 1).await);
        assert_eq!(began.elapsed(), secs(2), "round {round}");
    }
    assert_eq!(pool.pool_metrics().counters.recycle_failures, 20);
    script.recycle().works();
    fill(&pool, 2).await;
    end(pool, &script).await;
}

/// Issue 3513: a caller ran out of time while its connection was being opened, and that connection
/// was thrown away, so that the next caller met the same wait.
#[tokio::test(start_paused = true)]
async fn issue_3513_a_connect_outlives_the_caller_that_ran_out_of_time() {
    let (pool, script) = pool(0, 1);
    script.connect().takes(ms(100));
    let error = denied(pool.acquire_timeout(ms(60)).await);
    assert_eq!(error.kind(), AcquireErrorKind::Timeout(Step::Connect));
    // The next one takes over what is left of the same connect.
    let began = Instant::now();
    let guard = pool.acquire_timeout(ms(60)).await.unwrap();
    assert_eq!(began.elapsed(), ms(40));
    drop(guard);
    assert_eq!((script.opened(), script.connect().calls()), (1, 1));
    end(pool, &script).await;
}

/// Issue 3132: callers whose time was over threw half-open connections away and came
/// again, thousands of connects a second.
#[tokio::test(start_paused = true)]
async fn issue_3132_impatient_callers_cause_no_connect_storm() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 10).max_connecting(4).build().unwrap();
    script.connect().takes(ms(100));
    let stop = Instant::now() + secs(5);
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut served = 0;
                while Instant::now() < stop {
                    // Half of a connect: every caller gives up before its own could land.
                    if let Ok(guard) = pool.acquire_timeout(ms(50)).await {
                        served += 1;
                        tokio::time::sleep(ms(10)).await;
                        drop(guard);
                    }
                }
                served
            })
        })
        .collect();
    let mut total = 0;
    for caller in callers {
        total += caller.await.unwrap();
    }
    assert!(script.connect().peak() <= 4);
    assert_eq!(script.connect().calls(), 10, "each connect is kept");
    assert_eq!(script.closed(), 0);
    assert!(
        total > 4_000,
        "ten connections at 10 ms each for 5 s served {total}"
    );
    end(pool, &script).await;
}

/// Issue 2848: once it had decided to connect, a caller never looked at the idle queue again.
#[tokio::test(start_paused = true)]
async fn issue_2848_a_return_reaches_a_caller_whose_connect_is_under_way() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 2)
        .connect_timeout(secs(30))
        .build()
        .unwrap();
    let held = take(&pool, 1).await;
    script.connect().takes(secs(10));
    let began = Instant::now();
    let caller = line_up(&pool, 1).await.remove(0);
    assert_eq!(script.connect().under_way(), 1);
    tokio::time::sleep(secs(1)).await;
    drop(held);
    let guard = served(caller).await;
    assert_eq!(began.elapsed(), secs(1));
    eventually("the connect lands all the same", || pool.counts().idle == 1).await;
    drop(guard);
    end(pool, &script).await;
}

/// Issue 2848, second half: "too many connections" was looped on.
#[tokio::test(start_paused = true)]
async fn issue_2848_a_server_without_room_lowers_the_ceiling() {
    let (pool, script) = pool(0, 10);
    let held = take(&pool, 3).await;
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Saturated));
    let callers = line_up(&pool, 5).await;
    let calls = script.connect().calls();
    tokio::time::sleep(secs(5)).await;
    assert_eq!(script.connect().calls(), calls, "the server is left alone");
    check(&pool, (3, 3, 0, 0, 0, 5));
    drop(held);
    for caller in callers {
        drop(served(caller).await);
    }

    // After a while the server is asked again.
    script.connect().works();
    tokio::time::sleep(secs(10)).await;
    fill(&pool, 10).await;
    end(pool, &script).await;
}

/// Issues 2276, 3241, 865 and 622: `PoolTimedOut` and nothing else.
#[tokio::test(start_paused = true)]
async fn issue_2276_a_timeout_says_how_the_pool_stands() {
    let (pool, script) = pool(0, 2);
    let held = take(&pool, 2).await;
    let error = denied(pool.acquire_timeout(secs(3)).await);
    assert_eq!(error.kind(), AcquireErrorKind::Timeout(Step::Return));
    let text = error.to_string();
    for part in [
        "3.0s",
        "2 of at most 2",
        "2 active",
        "longest held for 3.0s",
        file!(),
    ] {
        // The holder is `take`'s line.
        let part = if part == file!() { "support.rs" } else { part };
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
    drop(held);
    end(pool, &script).await;
}

/// Issue 3808: a server that is down for good was reported as a timeout, half a minute later.
#[tokio::test(start_paused = true)]
async fn issue_3808_a_permanent_fault_fails_fast_with_its_cause() {
    let (pool, script) = pool(0, 4);
    script.connect().takes(ms(20));
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Permanent));
    let began = Instant::now();
    let error = denied(pool.acquire().await);
    assert_eq!(began.elapsed(), ms(20), "one connect attempt");
    assert_eq!(error.kind(), AcquireErrorKind::Connect);
    assert!(error.to_string().contains("wrong password"), "{error}");
    let source = std::error::Error::source(&error).expect("the cause is kept");
    assert!(source.to_string().contains("wrong password"), "{source}");
    end(pool, &script).await;
}

/// Issue 3645: a count that wrapped made the reaper spin through 2^64 turns.
#[tokio::test(start_paused = true)]
async fn issue_3645_upkeep_rests_and_the_idle_count_is_exact() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(2, 8)
        .idle_timeout(secs(60))
        .max_lifetime(secs(3_600))
        .keepalive(secs(30))
        .leak_threshold(secs(10))
        .build()
        .unwrap();
    drop(take(&pool, 8).await);
    // Paused time moves only while every task rests. Half a day, in a moment.
    let began = std::time::Instant::now();
    let mut checked = 0;
    for _ in 0..(12 * 60) {
        tokio::time::sleep(secs(60)).await;
        let counts = pool.counts();
        assert!(counts.total >= 2 && counts.total <= 8, "{counts}");
        assert_eq!(
            counts.idle + counts.active + counts.connecting + counts.closing,
            counts.total
        );
        checked += 1;
    }
    assert_eq!(checked, 720);
    assert!(
        began.elapsed() < secs(60),
        "upkeep spins: {:?}",
        began.elapsed()
    );
    let looks = script.validate().calls();
    assert!(
        looks < 2 * 12 * 120 + 100,
        "two connections, a check each 30 s: {looks}"
    );
    end(pool, &script).await;
}

/// Issues 2854, 3051 and 3292: connections that were opened together ended together.
#[tokio::test(start_paused = true)]
async fn issue_2854_connections_opened_together_do_not_end_together() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 100)
        .max_connecting(100)
        .max_lifetime(secs(1_000))
        .build()
        .unwrap();
    fill(&pool, 100).await;
    let mut ends = BTreeSet::new();
    let mut most = 0;
    for second in 0..1_200 {
        let before = script.closed();
        tokio::time::sleep(secs(1)).await;
        let gone = script.closed() - before;
        if gone > 0 {
            assert!(
                (900..=1_100).contains(&second),
                "ten per cent more or less: {second}"
            );
            ends.insert(second);
            most = most.max(gone);
        }
    }
    assert_eq!(script.closed(), 100);
    assert!(ends.len() > 50, "spread over {} seconds only", ends.len());
    assert!(most <= 6, "{most} in one second");
    end(pool, &script).await;
}

/// Issues 3217 and 3952: close came back before the connections were closed. 1773: it never came
/// back.
#[tokio::test(start_paused = true)]
async fn issue_3217_close_waits_for_every_connection_but_not_for_ever() {
    let (pool, script) = pool(0, 3);
    let mut held = take(&pool, 3).await;
    held.pop();
    script.close().takes(ms(300));
    let began = Instant::now();
    let report = pool.close(secs(1)).await;
    assert_eq!(began.elapsed(), secs(1));
    assert!(!report.clean);
    assert_eq!(
        (report.in_use.len(), report.closed, report.unfinished),
        (2, 1, 0),
        "{report}"
    );

    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close(secs(10)).await }
    });
    settle().await;
    drop(held);
    let report = in_time("the second close", closing).await.unwrap();
    assert!(report.clean, "{report}");
    assert_eq!(report.elapsed, ms(300), "as long as the goodbyes take");
    assert_eq!(script.open(), 0);
}

/// Issue 2375: a pool that was dropped right after it was built lived on in its upkeep.
#[tokio::test(start_paused = true)]
async fn issue_2375_a_pool_dropped_at_once_leaves_nothing() {
    for connects_take in [ms(0), ms(100)] {
        let (pool, script) = pool(3, 5);
        script.connect().takes(connects_take);
        let mut events = pool.subscribe();
        drop(pool);
        let over = async { while events.next().await.is_some() {} };
        in_time("the events end with the pool", over).await;
        assert_eq!(script.open(), 0, "{connects_take:?}");
        assert_eq!(script.opened(), script.closed());
    }
}
