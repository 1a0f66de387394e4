//! deadpool: the two resizes that admit too many, cancellation at every gate, unreliable managers.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt as _;
use pool_core::{ConnectFault, Liveness};
use pool_testkit::{Answer, Script, eventually, in_time, settle};

use crate::support::{Pool, check, end, fill, line_up, ms, pool, scripted, secs, served, take};

/// `managed_resize.rs`, first missing case: unused permits outlived the shrink.
#[tokio::test(start_paused = true)]
async fn a_part_filled_pool_that_shrinks_keeps_to_its_new_maximum() {
    let (pool, script) = pool(0, 10);
    pool.set_limits(0, 2).unwrap();
    let mut callers: Vec<_> = (0..10)
        .map(|_| tokio::spawn(pool.acquire_owned()))
        .collect();
    eventually("two are served, eight wait", || {
        (pool.counts().active, pool.counts().waiting) == (2, 8)
    })
    .await;
    tokio::time::sleep(secs(5)).await;
    check(&pool, (2, 2, 0, 0, 0, 8));
    while !callers.is_empty() {
        drop(served(callers.remove(0)).await);
    }
    assert_eq!(script.peak_open(), 2);
    end(pool, &script).await;
}

/// `managed_resize.rs`, second missing case: growth added permits that returns added once more.
#[tokio::test(start_paused = true)]
async fn a_shrink_below_what_is_in_use_and_growth_give_the_last_maximum() {
    let (pool, script) = pool(0, 10);
    let held = take(&pool, 10).await;
    pool.set_limits(0, 5).unwrap();
    pool.set_limits(0, 10).unwrap();
    let callers = line_up(&pool, 10).await;
    check(&pool, (10, 10, 0, 0, 0, 10));

    drop(held);
    settle().await;
    check(&pool, (10, 10, 0, 0, 0, 0));
    let more = line_up(&pool, 5).await;
    tokio::time::sleep(secs(5)).await;
    check(&pool, (10, 10, 0, 0, 0, 5));
    assert_eq!(script.peak_open(), 10);
    for caller in callers.into_iter().chain(more) {
        drop(served(caller).await);
    }
    end(pool, &script).await;
}

/// The same with the returns between the shrink and the growth: what came back above the maximum
/// is closed, and its room is there again once the maximum is.
#[tokio::test(start_paused = true)]
async fn returns_between_a_shrink_and_growth_close_exactly_the_surplus() {
    let (pool, script) = pool(0, 10);
    let mut held = take(&pool, 10).await;
    pool.set_limits(0, 5).unwrap();
    held.truncate(7);
    settle().await;
    check(&pool, (7, 7, 0, 0, 0, 0));
    pool.set_limits(0, 10).unwrap();
    let callers = line_up_at_most(&pool, 10, 3).await;
    check(&pool, (10, 10, 0, 0, 0, 7));
    held.clear();
    for caller in callers {
        drop(served(caller).await);
    }
    assert_eq!(script.peak_open(), 10);
    end(pool, &script).await;
}

/// Ten callers of whom `room` find room.
async fn line_up_at_most(pool: &Pool, n: usize, room: usize) -> Vec<crate::support::Caller> {
    let callers: Vec<_> = (0..n).map(|_| tokio::spawn(pool.acquire_owned())).collect();
    settle().await;
    assert_eq!(
        pool.counts().waiting as usize,
        n - room,
        "{}",
        pool.counts()
    );
    callers
}

/// `managed_cancellation.rs`: whatever the caller was waiting for when it gave up, nothing is
/// lost.
#[tokio::test(start_paused = true)]
async fn a_caller_may_give_up_at_every_gate() {
    for gate in [
        Gate::BeforeTheFirstLook,
        Gate::Line,
        Gate::Connect,
        Gate::AfterConnect,
        Gate::Validate,
        Gate::BeforeAcquire,
        Gate::Recycle,
        Gate::HandedOver,
    ] {
        give_up_at(gate).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    AfterConnect,
    BeforeAcquire,
    BeforeTheFirstLook,
    Connect,
    HandedOver,
    Line,
    Recycle,
    Validate,
}

async fn give_up_at(gate: Gate) {
    let (builder, script) = scripted();
    let liveness = match gate {
        // Where each checkout is checked, a hand-off waits for that.
        Gate::HandedOver => Liveness::Never,
        _ => Liveness::Always,
    };
    let mut builder = builder.limits(0, 1).liveness(liveness);
    let gatekeeper = Arc::new(tokio::sync::Notify::new());
    let opened = Arc::clone(&gatekeeper);
    builder = match gate {
        Gate::AfterConnect => builder.after_connect(move |_, _| {
            let opened = Arc::clone(&opened);
            async move {
                opened.notified().await;
                Ok(())
            }
            .boxed()
        }),
        Gate::BeforeAcquire => builder.before_acquire(move |_, _| {
            let opened = Arc::clone(&opened);
            async move {
                opened.notified().await;
                Ok(())
            }
            .boxed()
        }),
        _ => builder,
    };
    let pool = builder.build().unwrap();
    let mut holder = None;
    match gate {
        Gate::BeforeTheFirstLook => {}
        Gate::Line | Gate::HandedOver => holder = take(&pool, 1).await.pop(),
        Gate::Connect => script.connect().always(Answer::Hangs),
        Gate::AfterConnect => {}
        Gate::BeforeAcquire => fill(&pool, 1).await,
        Gate::Validate => {
            fill(&pool, 1).await;
            script.validate().always(Answer::Hangs);
        }
        Gate::Recycle => {
            let mut guard = take(&pool, 1).await.remove(0);
            guard.soil();
            script.recycle().always(Answer::Hangs);
            drop(guard);
        }
    }
    let mut acquire = Box::pin(pool.acquire());
    if gate != Gate::BeforeTheFirstLook {
        assert!(poll_once(acquire.as_mut()).is_pending(), "{gate:?}");
        settle().await;
        assert!(poll_once(acquire.as_mut()).is_pending(), "{gate:?}");
        assert_eq!(pool.counts().waiting, 1, "{gate:?}");
    }
    if gate == Gate::HandedOver {
        drop(holder.take());
        assert_eq!((pool.counts().waiting, pool.counts().active), (0, 1));
    }
    drop(acquire);
    assert_eq!(pool.counts().waiting, 0, "{gate:?}");

    open_the_gate(&script, &gatekeeper);
    drop(holder);
    eventually("the pool is at rest", || {
        let counts = pool.counts();
        (counts.active, counts.connecting) == (0, 0)
    })
    .await;
    gatekeeper.notify_one();
    let guard = in_time("all of the room is there", pool.acquire())
        .await
        .unwrap();
    drop(guard);
    settle().await;
    check(&pool, (1, 0, 1, 0, 0, 0));
    assert_eq!(script.opened(), 1, "{gate:?}: what was under way is kept");
    end(pool, &script).await;
}

fn open_the_gate(script: &Script, gatekeeper: &tokio::sync::Notify) {
    gatekeeper.notify_one();
    for act in [script.connect(), script.validate(), script.recycle()] {
        act.works();
    }
}

fn poll_once<T>(future: Pin<&mut impl Future<Output = T>>) -> Poll<T> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// `managed_unreliable_manager.rs` and issue 18: a connect that fails leaves its room.
#[tokio::test(start_paused = true)]
async fn connects_that_fail_leave_their_room() {
    let (builder, script) = scripted();
    let builder = builder.limits(0, 1).backoff(ms(1), ms(2));
    let pool = builder.build().unwrap();
    script
        .connect()
        .next(100, Answer::Fails(ConnectFault::Transient));
    let caller = tokio::spawn(pool.acquire_owned());
    let guard = served(caller).await;
    assert_eq!(script.connect().calls(), 101);
    drop(guard);
    check(&pool, (1, 0, 1, 0, 0, 0));
    end(pool, &script).await;
}

/// `managed_deadlock.rs`: with room for one, the failure of one caller's connect lets the next
/// one connect.
#[tokio::test(start_paused = true)]
async fn a_connect_that_panics_or_hangs_does_not_deadlock_the_next_caller() {
    for answer in [Answer::Panics, Answer::Hangs] {
        let (builder, script) = scripted();
        let pool = builder
            .limits(0, 1)
            .connect_timeout(ms(300))
            .build()
            .unwrap();
        script.connect().next(1, answer);
        let callers = line_up(&pool, 2).await;
        for caller in callers {
            drop(served(caller).await);
        }
        assert_eq!(script.connect().calls(), 2, "{answer:?}");
        end(pool, &script).await;
    }
}

/// Everything fails now and then, on real threads: at the end all of the room is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreliable_manager_costs_no_room() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 4)
        .time_source(pool_core::TimeSource::Hardware)
        .liveness(Liveness::Always)
        .backoff(ms(1), ms(2))
        .build()
        .unwrap();
    let mut tasks = Vec::new();
    for seed in 0..8 {
        let (pool, script) = (pool.clone(), script.clone());
        tasks.push(tokio::spawn(async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            for _ in 0..300 {
                let failure = Answer::Fails(ConnectFault::Transient);
                let answer = [Answer::Panics, failure, failure][rng.usize(0..3)];
                match rng.u32(0..6) {
                    0 => script.connect().next(1, answer),
                    1 => script.validate().next(1, answer),
                    2 => script.recycle().next(1, answer),
                    _ => {}
                }
                let mut guard = in_time("an acquire", pool.acquire()).await.unwrap();
                match rng.u32(0..4) {
                    0 => guard.soil(),
                    1 => guard.break_off(),
                    2 => tokio::task::yield_now().await,
                    _ => {}
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for act in [script.connect(), script.validate(), script.recycle()] {
        act.works();
    }
    let held = take(&pool, 4).await;
    assert_eq!(pool.counts().total, 4);
    assert!(script.peak_open() <= 4);
    drop(held);
    end(pool, &script).await;
}
