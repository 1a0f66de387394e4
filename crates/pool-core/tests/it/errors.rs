//! Contract 5: errors say why, each in its own words.

use std::error::Error as _;

use pool_core::{
    AcquireErrorKind, BuildProblem, ConnectFault, ConnectionManager, Liveness, Pool, Step,
};
use pool_testkit::{Answer, ScriptedManager, eventually};

use crate::support::{check, denied, end, fill, line_up, ms, pool, scripted, secs, served, take};

/// A caller that runs out of time is told which of the five things it was waiting for.
#[tokio::test(start_paused = true)]
async fn a_timeout_names_its_step() {
    for step in [
        Step::Close,
        Step::Connect,
        Step::Paused,
        Step::Return,
        Step::Validate,
    ] {
        let (builder, script) = scripted();
        let pool = builder
            .limits(0, 1)
            .liveness(Liveness::Always)
            .close_timeout(secs(10))
            .build()
            .unwrap();
        let mut held = Vec::new();
        match step {
            Step::Close => {
                script.close().always(Answer::Hangs);
                take(&pool, 1).await.pop().unwrap().evict();
            }
            Step::Connect => script.connect().always(Answer::Hangs),
            Step::Paused => pool.pause(secs(60)),
            Step::Return => held = take(&pool, 1).await,
            _ => {
                fill(&pool, 1).await;
                script.validate().always(Answer::Hangs);
            }
        }
        for own_time in [true, false] {
            let acquired = if own_time {
                pool.acquire_timeout(ms(500)).await
            } else {
                pool.acquire_timeout(secs(1)).await
            };
            let error = denied(acquired);
            assert_eq!(error.kind(), AcquireErrorKind::Timeout(step), "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("waiting for {step} (")), "{text}");
            assert!(
                !text.ends_with('.') && text.starts_with("pool `default`: timed out"),
                "{text}"
            );
        }
        script.close().works();
        script.connect().works();
        script.validate().works();
        drop(held);
        end(pool, &script).await;
    }
}

/// The pool's own time and a caller's own time are told alike.
#[tokio::test(start_paused = true)]
async fn both_kinds_of_timeout_are_exact() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .acquire_timeout(ms(700))
        .build()
        .unwrap();
    let held = take(&pool, 1).await;
    for _ in 0..5 {
        let error = denied(pool.acquire().await);
        assert!(
            (ms(700)..=ms(702)).contains(&error.waited()),
            "{:?}",
            error.waited()
        );
        let error = denied(pool.acquire_timeout(ms(300)).await);
        assert!(
            (ms(300)..=ms(302)).contains(&error.waited()),
            "{:?}",
            error.waited()
        );
    }
    assert_eq!(pool.pool_metrics().counters.timeouts, 10);
    drop(held);
    end(pool, &script).await;
}

/// Callers with a time of their own run out of it in their own order, and the others are served
/// in theirs.
#[tokio::test(start_paused = true)]
async fn callers_with_short_and_long_patience_wait_in_one_line() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .acquire_timeout(secs(10))
        .build()
        .unwrap();
    let held = take(&pool, 1).await;
    let first = line_up(&pool, 1).await.remove(0);
    let hasty = tokio::spawn({
        let pool = pool.clone();
        async move { denied(pool.acquire_timeout(secs(1)).await).waited() }
    });
    tokio::task::yield_now().await;
    let last = line_up(&pool, 1).await.remove(0);
    check(&pool, (1, 1, 0, 0, 0, 3));
    tokio::time::sleep(secs(2)).await;
    assert_eq!(hasty.await.unwrap(), secs(1));
    drop(held);
    let guard = served(first).await;
    assert!(!last.is_finished());
    drop(guard);
    drop(served(last).await);
    end(pool, &script).await;
}

/// The line in an error is the caller's own, whichever way it acquired.
#[tokio::test(start_paused = true)]
async fn the_holders_line_is_that_of_the_acquire_call() {
    let (pool, script) = pool(0, 1);
    fill(&pool, 1).await;
    let oldest = |pool: &crate::support::Pool| {
        let pool = pool.clone();
        async move {
            let error = denied(pool.acquire_timeout(ms(1)).await);
            let holder = error.oldest_holder().unwrap();
            (holder.caller.file(), holder.caller.line())
        }
    };
    {
        let _held = pool.acquire().await.unwrap();
        assert_eq!(oldest(&pool).await, (file!(), line!() - 1));
    }
    {
        let _held = pool.acquire_timeout(secs(1)).await.unwrap();
        assert_eq!(oldest(&pool).await, (file!(), line!() - 1));
    }
    {
        let _held = pool.acquire_owned().await.unwrap();
        assert_eq!(oldest(&pool).await, (file!(), line!() - 1));
    }
    {
        let _held = pool.try_acquire().unwrap();
        assert_eq!(oldest(&pool).await, (file!(), line!() - 1));
    }
    end(pool, &script).await;
}

/// A caller that was handed its connection after a wait holds it from the hand-off on, under its
/// own line.
#[tokio::test(start_paused = true)]
async fn a_hand_off_carries_the_line_of_the_one_who_waited() {
    let (pool, script) = pool(0, 1);
    let held = take(&pool, 1).await;
    let line = line!() + 1;
    let acquire = pool.acquire_owned();
    let caller = tokio::spawn(acquire);
    eventually("the caller is in line", || pool.counts().waiting == 1).await;
    tokio::time::sleep(secs(5)).await;
    drop(held);
    let guard = served(caller).await;
    tokio::time::sleep(secs(1)).await;
    let error = denied(pool.acquire_timeout(ms(10)).await);
    let holder = error.oldest_holder().unwrap();
    assert_eq!(holder.caller.line(), line);
    assert_eq!(holder.held, ms(1_010), "not from when it began to wait");
    drop(guard);
    end(pool, &script).await;
}

/// A driver's message one level down is shown, and the chain is kept.
#[tokio::test(start_paused = true)]
async fn the_chain_of_causes_is_shown_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot connect")]
    struct Outer(#[source] std::io::Error);

    struct Chained;
    impl ConnectionManager for Chained {
        type Connection = ();
        type Error = Outer;
        async fn connect(&self) -> Result<(), Outer> {
            Err(Outer(std::io::Error::other("certificate expired")))
        }
        async fn validate(&self, _connection: &mut ()) -> Result<(), Outer> {
            Ok(())
        }
        fn classify(&self, _error: &Outer) -> ConnectFault {
            ConnectFault::Permanent
        }
    }
    let pool = Pool::builder(Chained).build().unwrap();
    let error = denied(pool.acquire().await);
    assert_eq!(error.kind(), AcquireErrorKind::Connect);
    let text = error.to_string();
    assert!(
        text.contains("cannot connect: certificate expired"),
        "{text}"
    );
    assert_eq!(text.matches("certificate expired").count(), 1, "{text}");
    let source = error.source().unwrap();
    assert_eq!(source.source().unwrap().to_string(), "certificate expired");
}

/// All problems of a configuration together, each with what to do.
#[tokio::test]
async fn a_build_error_names_every_problem() {
    let (manager, _script) = ScriptedManager::new();
    let error = Pool::builder(manager)
        .name("orders")
        .limits(9, 3)
        .acquire_timeout(ms(0))
        .connect_timeout(ms(0))
        .validate_timeout(ms(0))
        .recycle_timeout(ms(0))
        .backoff(ms(0), ms(1))
        .event_capacity(0)
        .idle_timeout(ms(0))
        .max_lifetime(ms(0))
        .keepalive(ms(0))
        .leak_threshold(ms(0))
        .max_connecting(0)
        .build()
        .unwrap_err();
    assert_eq!(error.problems.len(), 12, "{error}");
    let text = error.to_string();
    for part in [
        "`orders`",
        "min 9 is above max 3",
        "acquire_timeout is zero",
        "connect_timeout is zero",
        "validate_timeout is zero",
        "recycle_timeout is zero",
        "backoff is zero",
        "event_capacity is zero",
        "idle_timeout is zero: use None for never",
        "max_lifetime is zero",
        "keepalive is zero",
        "leak_threshold is zero",
        "max_connecting is zero",
    ] {
        assert!(text.contains(part), "`{part}` is missing: {text}");
    }
}

#[test]
fn a_pool_without_a_runtime_says_what_to_do() {
    let (manager, _script) = ScriptedManager::new();
    let error = Pool::builder(manager).build().unwrap_err();
    assert!(
        matches!(error.problems[..], [BuildProblem::NoRuntime]),
        "{error}"
    );
    assert!(
        error.to_string().contains("build the pool inside one"),
        "{error}"
    );
}
