//! The bounded queue, and controlled delay in it.

use pool_core::{AcquireErrorKind, ControlledDelay};
use pool_testkit::settle;
use tokio::time::Instant;

use crate::support::{denied, end, line_up, ms, scripted, secs, served, take};

#[tokio::test(start_paused = true)]
async fn a_full_queue_refuses_the_next_caller_at_once() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 1).max_waiters(3).build().unwrap();
    let held = take(&pool, 1).await;
    let callers = line_up(&pool, 3).await;
    let began = Instant::now();
    for _ in 0..5 {
        let error = denied(pool.acquire().await);
        assert_eq!(error.kind(), AcquireErrorKind::QueueFull);
        assert!(error.to_string().contains("full with 3 callers"), "{error}");
    }
    assert_eq!(began.elapsed(), ms(0));
    assert_eq!(pool.pool_metrics().counters.rejected, 5);

    // One leaves, one comes.
    callers[1].abort();
    settle().await;
    let late = line_up(&pool, 1).await.remove(0);
    denied(pool.acquire().await);
    drop(held);
    for (n, caller) in callers.into_iter().enumerate() {
        if n != 1 {
            drop(served(caller).await);
        }
    }
    drop(served(late).await);
    end(pool, &script).await;
}

/// A tenth of a second of work for one connection, 25 callers a second: without a valve the queue
/// grows until everybody times out.
async fn overload(delay: Option<ControlledDelay>) -> (usize, usize, Vec<u64>) {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .acquire_timeout(secs(5))
        .controlled_delay(delay)
        .build()
        .unwrap();
    let mut callers = Vec::new();
    for _ in 0..(25 * 20) {
        let pool = pool.clone();
        callers.push(tokio::spawn(async move {
            let began = Instant::now();
            let mut guard = pool.acquire().await?;
            let waited = began.elapsed();
            guard.query(ms(100)).await.unwrap();
            Ok::<_, pool_core::AcquireError>(waited)
        }));
        tokio::time::sleep(ms(40)).await;
    }
    let (mut shed, mut timeouts, mut waits) = (0, 0, Vec::new());
    for caller in callers {
        match caller.await.unwrap() {
            Ok(waited) => waits.push(u64::try_from(waited.as_millis()).unwrap()),
            Err(error) if error.kind() == AcquireErrorKind::Shed => shed += 1,
            Err(error) => {
                assert!(error.is_timeout(), "{error}");
                timeouts += 1;
            }
        }
    }
    assert_eq!(pool.pool_metrics().counters.shed, shed as u64);
    end(pool, &script).await;
    waits.sort_unstable();
    (shed, timeouts, waits)
}

#[tokio::test(start_paused = true)]
async fn controlled_delay_keeps_the_wait_of_those_served_short() {
    let (shed, timeouts, waits) = overload(None).await;
    assert_eq!(shed, 0, "off by default");
    assert!(timeouts > 100, "{timeouts}");
    assert!(waits[waits.len() / 2] > 2_000, "{}", waits[waits.len() / 2]);

    let (shed, timeouts, waits) = overload(Some(ControlledDelay::default())).await;
    assert_eq!(timeouts, 0, "turned away early instead of late");
    assert!(shed > 200, "{shed}");
    assert!(
        waits.len() >= 190,
        "the connection stays busy: {}",
        waits.len()
    );
    assert!(waits[waits.len() / 2] <= 200, "{}", waits[waits.len() / 2]);
}

/// A burst that the pool digests within the interval is not overload.
#[tokio::test(start_paused = true)]
async fn controlled_delay_lets_a_burst_pass() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 2)
        .controlled_delay(ControlledDelay::default())
        .build()
        .unwrap();
    for _ in 0..5 {
        let callers: Vec<_> = (0..20)
            .map(|_| {
                let pool = pool.clone();
                tokio::spawn(async move {
                    let mut guard = pool.acquire().await?;
                    guard.query(ms(100)).await.unwrap();
                    Ok::<_, pool_core::AcquireError>(())
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap().unwrap();
        }
        tokio::time::sleep(secs(5)).await;
    }
    assert_eq!(pool.pool_metrics().counters.shed, 0);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn callers_for_whom_there_is_room_are_not_counted_as_waiting() {
    let (builder, script) = scripted();
    let pool = builder.limits(0, 2).max_waiters(0).build().unwrap();
    let held = take(&pool, 2).await;
    let error = denied(pool.acquire().await);
    assert_eq!(error.kind(), AcquireErrorKind::QueueFull);
    drop(held);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_lonely_caller_is_not_shed_for_a_queue_of_long_ago() {
    let (builder, script) = scripted();
    let delay = ControlledDelay {
        target: ms(50),
        interval: ms(2_000),
    };
    let pool = builder
        .limits(0, 1)
        .controlled_delay(delay)
        .build()
        .unwrap();
    for wait in [60, 110] {
        let held = take(&pool, 1).await;
        let caller = line_up(&pool, 1).await.remove(0);
        tokio::time::sleep(ms(wait)).await;
        drop(held);
        drop(served(caller).await);
        tokio::time::sleep(secs(3_000)).await;
    }
    end(pool, &script).await;
}
