//! What a service does to connections as they pass.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::FutureExt as _;
use pool_core::{ReleaseCheck, SharedError};
use pool_testkit::{ScriptedError, eventually};
use tokio::time::Instant;

use crate::support::{check, denied, end, fill, ms, scripted, secs, take};

fn refusal() -> SharedError {
    Arc::new(std::io::Error::other("the hook says no"))
}

#[tokio::test(start_paused = true)]
async fn after_connect_runs_once_on_each_new_connection_and_before_anybody_has_it() {
    let (builder, script) = scripted();
    let ran = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&ran);
    let pool = builder
        .limits(0, 2)
        .after_connect(move |connection, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                connection
                    .query(ms(10))
                    .await
                    .map_err(|error| Arc::new(error) as _)
            }
            .boxed()
        })
        .build()
        .unwrap();
    let began = Instant::now();
    for _ in 0..3 {
        drop(take(&pool, 2).await);
    }
    assert_eq!(began.elapsed(), ms(20), "ten milliseconds for each of two");
    assert_eq!(ran.load(Ordering::SeqCst), 2);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn after_connect_that_fails_is_a_failed_connect() {
    let (builder, script) = scripted();
    let fails = Arc::new(AtomicBool::new(true));
    let hook_fails = Arc::clone(&fails);
    let pool = builder
        .limits(0, 1)
        .after_connect(move |_, _| {
            let outcome = if hook_fails.load(Ordering::SeqCst) {
                Err(refusal())
            } else {
                Ok(())
            };
            std::future::ready(outcome).boxed()
        })
        .build()
        .unwrap();
    let error = denied(pool.acquire_timeout(secs(1)).await);
    assert!(error.to_string().contains("the hook says no"), "{error}");
    assert_eq!(script.open(), 0, "what the hook turned down is closed");
    assert!(pool.pool_metrics().counters.connect_failures > 1);
    fails.store(false, Ordering::SeqCst);
    fill(&pool, 1).await;
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn after_connect_runs_within_the_connects_time() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .connect_timeout(secs(2))
        .after_connect(|_, _| std::future::pending().boxed())
        .build()
        .unwrap();
    let error = denied(pool.acquire_timeout(ms(2_005)).await);
    assert!(
        error.to_string().contains("connect timed out after 2s"),
        "{error}"
    );
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn before_acquire_sees_each_idle_connection_before_it_is_lent() {
    let (builder, script) = scripted();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let pool = builder
        .limits(0, 1)
        .before_acquire(move |_, info| {
            sees.lock().unwrap().push((info.id, info.age, info.idle));
            std::future::ready(Ok(())).boxed()
        })
        .build()
        .unwrap();
    let mut guard = take(&pool, 1).await.remove(0);
    guard.query(secs(3)).await.unwrap();
    drop(guard);
    tokio::time::sleep(secs(2)).await;
    drop(take(&pool, 1).await);
    drop(take(&pool, 1).await);
    let seen = seen.lock().unwrap().clone();
    assert_eq!(seen, [(1, secs(5), secs(2)), (1, secs(5), secs(0))]);
    assert_eq!(
        script.validate().calls(),
        1,
        "the manager's check comes first, where it is due: after two seconds, not after none"
    );
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn before_acquire_sees_a_connection_that_goes_from_hand_to_hand() {
    let (builder, script) = scripted();
    let seen = Arc::new(AtomicUsize::new(0));
    let sees = Arc::clone(&seen);
    let pool = builder
        .limits(0, 1)
        .before_acquire(move |_, _| {
            sees.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok(())).boxed()
        })
        .build()
        .unwrap();
    let callers: Vec<_> = (0..5)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut guard = pool.acquire().await.unwrap();
                guard.query(ms(10)).await.unwrap();
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    // The first one had a new connection.
    assert_eq!(seen.load(Ordering::Relaxed), 4);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn before_acquire_that_refuses_costs_the_connection_and_not_the_caller() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 2)
        .before_acquire(|_, info| {
            let outcome = if info.id == 1 { Err(refusal()) } else { Ok(()) };
            std::future::ready(outcome).boxed()
        })
        .build()
        .unwrap();
    fill(&pool, 1).await;
    let guard = take(&pool, 1).await;
    assert_eq!(guard[0].id(), 2);
    let metrics = pool.pool_metrics();
    assert_eq!(metrics.counters.closed.refused, 1);
    assert_eq!(metrics.last_error.as_deref(), Some("the hook says no"));
    drop(guard);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn before_acquire_that_panics_or_hangs_costs_the_connection_and_not_the_caller() {
    for panics in [true, false] {
        let (builder, script) = scripted();
        let pool = builder
            .limits(0, 1)
            .validate_timeout(secs(1))
            .before_acquire(move |_, _| {
                assert!(!panics, "the hook panics");
                std::future::pending().boxed()
            })
            .build()
            .unwrap();
        fill(&pool, 1).await;
        let began = Instant::now();
        let guard = take(&pool, 1).await;
        assert_eq!(guard[0].id(), 2);
        assert!(began.elapsed() <= ms(1_020), "{:?}", began.elapsed());
        drop(guard);
        end(pool, &script).await;
    }
}

#[tokio::test(start_paused = true)]
async fn on_release_decides_what_becomes_of_a_clean_connection() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 3)
        .on_release(|_, info| match info.id {
            1 => ReleaseCheck::Clean,
            2 => ReleaseCheck::Dirty,
            _ => ReleaseCheck::Broken,
        })
        .build()
        .unwrap();
    drop(take(&pool, 3).await);
    eventually("two are idle", || pool.counts().idle == 2).await;
    assert_eq!(script.ids(), [1, 2]);
    assert_eq!(script.recycle().calls(), 1);
    assert_eq!(pool.pool_metrics().counters.closed.broken, 1);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn on_release_is_not_asked_about_what_the_manager_called_unclean() {
    let (builder, script) = scripted();
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    let pool = builder
        .limits(0, 2)
        .on_release(move |_, _| {
            counts.fetch_add(1, Ordering::SeqCst);
            ReleaseCheck::Clean
        })
        .build()
        .unwrap();
    let mut held = take(&pool, 2).await;
    held[0].soil();
    held[1].break_off();
    drop(held);
    eventually("one is idle", || pool.counts().idle == 1).await;
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn on_release_that_panics_costs_its_connection_only() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .on_release(|_, info| {
            assert!(info.id > 1, "the hook panics");
            ReleaseCheck::Clean
        })
        .build()
        .unwrap();
    drop(take(&pool, 1).await);
    eventually("it is closed", || script.open() == 0).await;
    fill(&pool, 1).await;
    check(&pool, (1, 0, 1, 0, 0, 0));
    end(pool, &script).await;
}

/// The error of a hook keeps its own source.
#[tokio::test(start_paused = true)]
async fn the_cause_of_a_refused_connect_is_kept() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .after_connect(|_, _| {
            std::future::ready(Err(Arc::new(ScriptedError::Cut) as SharedError)).boxed()
        })
        .build()
        .unwrap();
    let error = denied(pool.acquire_timeout(ms(100)).await);
    let (_, cause) = error.last_connect_error().unwrap();
    assert!(cause.downcast_ref::<ScriptedError>() == Some(&ScriptedError::Cut));
    end(pool, &script).await;
}
