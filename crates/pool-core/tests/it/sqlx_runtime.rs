//! sqlx 1395, and Gitlawb/node 285: guards and pools that outlive their runtime.

use std::time::Duration;

use futures_util::FutureExt as _;
use pool_core::{AcquireErrorKind, TimeSource};
use pool_testkit::{Answer, Script, eventually, in_time};
use tokio::runtime::Runtime;

use crate::support::{Guard, Pool, check, denied, end, ms, scripted, secs, take};

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// A pool on the hardware's clock: without a runtime there is no other.
fn pool_on(runtime: &Runtime, min: u32, max: u32) -> (Pool, Script) {
    let (builder, script) = scripted();
    let pool = builder
        .limits(min, max)
        .time_source(TimeSource::Hardware)
        .runtime(runtime.handle().clone())
        .build()
        .unwrap();
    (pool, script)
}

#[track_caller]
fn soon(what: &str, condition: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !condition() {
        assert!(began.elapsed() < secs(20), "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn issue_1395_a_guard_is_dropped_where_there_is_no_runtime() {
    let runtime = runtime();
    let (pool, script) = pool_on(&runtime, 0, 4);
    let held: Vec<Guard> = runtime.block_on(take(&pool, 4));
    let [clean, mut dirty, mut broken, mut evicted] = <[Guard; 4]>::try_from(held).unwrap();
    let caller = runtime.spawn(pool.acquire_owned());
    soon("the caller is in line", || pool.counts().waiting == 1);

    // This thread is not a runtime's.
    drop(clean);
    dirty.soil();
    drop(dirty);
    broken.break_off();
    drop(broken);
    evicted.evict();
    drop(evicted);

    let handed = runtime.block_on(in_time("the hand-off", caller));
    drop(handed.unwrap().unwrap());
    soon("two are idle, two are closed", || {
        (pool.counts().idle, pool.counts().total) == (2, 2)
    });
    assert_eq!(script.recycle().calls(), 1);
    assert_eq!(script.open(), 2);
    runtime.block_on(end(pool, &script));
}

/// A pool without its runtime is closed: nobody could keep its callers' time.
#[test]
fn issue_1395_a_guard_is_dropped_after_the_runtime_ended() {
    let runtime = runtime();
    let (pool, script) = pool_on(&runtime, 2, 4);
    let held: Vec<Guard> = runtime.block_on(take(&pool, 4));
    let [clean, mut dirty, mut broken, last] = <[Guard; 4]>::try_from(held).unwrap();
    drop(runtime);

    // What would need a task is done on the spot.
    drop(clean);
    check(&pool, (3, 3, 0, 0, 0, 0));
    dirty.soil();
    drop(dirty);
    check(&pool, (2, 2, 0, 0, 0, 0));
    broken.break_off();
    drop(broken);
    check(&pool, (1, 1, 0, 0, 0, 0));
    assert_eq!(script.open(), 1);

    drop(pool);
    assert_eq!(script.open(), 1, "a holder is never interrupted");
    drop(last);
    assert_eq!(script.open(), 0, "the last one went with its guard");
}

#[test]
fn issue_1395_operations_after_the_runtime_ended_do_no_harm() {
    let runtime = runtime();
    let (pool, script) = pool_on(&runtime, 2, 4);
    drop(runtime.block_on(take(&pool, 4)));
    drop(runtime);
    check(&pool, (0, 0, 0, 0, 0, 0));
    assert_eq!(script.open(), 0);

    pool.pause(secs(1));
    pool.resume();
    pool.set_limits(1, 3).unwrap();
    pool.soft_evict();
    assert_eq!(pool.evict_idle(), 0);
    assert!(pool.try_acquire().is_none());
    let acquired = pool.acquire_owned().now_or_never();
    let error = denied(acquired.expect("an answer at once"));
    assert_eq!(error.kind(), AcquireErrorKind::Closed);
    assert_eq!(pool.pool_metrics().total_connections, 0);
    assert_eq!(script.open(), 0);
}

/// A caller on a runtime that goes on is told when the pool's ends.
#[test]
fn a_caller_in_line_is_told_when_the_pools_runtime_ends() {
    let home = runtime();
    let (pool, _script) = pool_on(&home, 0, 1);
    let held = home.block_on(take(&pool, 1));
    let away = runtime();
    let caller = away.spawn(pool.acquire_owned());
    soon("the caller is in line", || pool.counts().waiting == 1);
    drop(home);
    let error = denied(away.block_on(in_time("an answer", caller)).unwrap());
    assert_eq!(error.kind(), AcquireErrorKind::Closed);
    drop(held);
}

#[test]
fn a_runtime_that_ends_under_work_loses_no_connection() {
    let runtime = runtime();
    let (pool, script) = pool_on(&runtime, 0, 4);
    let mut held: Vec<Guard> = runtime.block_on(take(&pool, 3));
    // One being cleaned, one being closed, one being opened.
    script.recycle().always(Answer::Hangs);
    script.close().always(Answer::Hangs);
    let mut dirty = held.pop().unwrap();
    dirty.soil();
    drop(dirty);
    let mut broken = held.pop().unwrap();
    broken.break_off();
    drop(broken);
    script.connect().always(Answer::Hangs);
    let caller = runtime.spawn(pool.acquire_owned());
    soon("one each", || {
        (
            script.recycle().under_way(),
            script.close().under_way(),
            script.connect().under_way(),
        ) == (1, 1, 1)
    });

    runtime.shutdown_timeout(secs(10));
    soon("nothing is under way", || {
        (
            script.recycle().under_way(),
            script.close().under_way(),
            script.connect().under_way(),
        ) == (0, 0, 0)
    });
    drop(caller);
    soon("only the holder's is left", || pool.counts().total == 1);
    check(&pool, (1, 1, 0, 0, 0, 0));
    drop(held);
    drop(pool);
    assert_eq!(script.open(), 0);
}

/// The pool's tasks run where it was built, wherever its callers are.
#[test]
fn callers_of_another_runtime_are_served_by_the_pools_own() {
    let home = runtime();
    let (pool, script) = pool_on(&home, 0, 2);
    script.connect().takes(ms(5));
    let away = runtime();
    let guard = away.block_on(async {
        let guard = in_time("an acquire", pool.acquire_owned()).await.unwrap();
        let second = tokio::spawn(pool.acquire_owned());
        drop(in_time("another", second).await.unwrap().unwrap());
        guard
    });
    drop(away);
    drop(guard);
    home.block_on(async {
        eventually("both are idle", || pool.counts().idle == 2).await;
        end(pool, &script).await;
    });
}

#[test]
fn a_pool_whose_runtime_ends_before_its_first_turn_is_closed() {
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (manager, _script) = pool_testkit::ScriptedManager::new();
    let pool = ended.block_on(async { pool_core::Pool::builder(manager).build().unwrap() });
    drop(ended);
    assert!(
        pool.is_closed(),
        "nobody would ever be told that its time is over"
    );
    let error = runtime().block_on(pool.acquire()).map(drop).unwrap_err();
    assert_eq!(error.kind(), AcquireErrorKind::Closed);
}
