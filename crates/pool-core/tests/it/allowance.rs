//! An allowance from outside: within it everything is as ever.

use std::sync::Arc;

use pool_testkit::{eventually, in_time, settle};
use tokio::sync::Notify;

use crate::support::{check, end, fill, line_up, pool, scripted, served, take};

#[tokio::test(start_paused = true)]
async fn an_allowance_bounds_the_pool_and_takes_nothing_from_its_limits() {
    let (pool, script) = pool(2, 8);
    pool.set_allowance(Some(3));
    assert_eq!((pool.limits().max(), pool.counts().max), (8, 3));
    assert_eq!(pool.allowance(), Some(3));
    let held = take(&pool, 3).await;
    let callers = line_up(&pool, 2).await;
    check(&pool, (3, 3, 0, 0, 0, 2));

    // Limits that change meanwhile hold within it.
    pool.set_limits(0, 5).unwrap();
    settle().await;
    check(&pool, (3, 3, 0, 0, 0, 2));
    pool.set_allowance(None);
    let mut more = Vec::new();
    for caller in callers {
        more.push(served(caller).await);
    }
    check(&pool, (5, 5, 0, 0, 0, 0));

    // What is above a smaller one is closed when it comes back.
    pool.set_allowance(Some(1));
    drop((held, more));
    eventually("one is left", || pool.counts().total == 1).await;
    assert_eq!(pool.pool_metrics().counters.closed.surplus, 4);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn without_an_allowance_callers_wait_and_a_smaller_minimum_is_kept() {
    let (builder, script) = scripted();
    let pool = builder.limits(4, 8).allowance(0).build().unwrap();
    let warm = in_time("a warm-up of what is allowed", pool.warmup_pool()).await;
    assert_eq!(warm.unwrap().wanted, 0);
    let caller = line_up(&pool, 1).await.remove(0);
    check(&pool, (0, 0, 0, 0, 0, 1));
    pool.set_allowance(Some(1));
    drop(served(caller).await);
    pool.set_allowance(Some(6));
    eventually("the minimum is open", || pool.counts().idle == 4).await;
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_watches_hears_of_want_and_of_change() {
    let (pool, script) = pool(0, 4);
    let changes = Arc::new(Notify::new());
    assert!(pool.watch(Arc::clone(&changes)));
    assert!(!pool.watch(Arc::default()), "one for each pool");
    pool.set_allowance(Some(1));
    let heard = |what| in_time(what, changes.notified());
    heard("the allowance").await;
    let held = take(&pool, 1).await;
    heard("a new connection").await;
    let callers = line_up(&pool, 1).await;
    heard("a caller whom the allowance keeps waiting").await;
    pool.set_allowance(Some(0));
    heard("the allowance").await;
    drop(held);
    heard("a connection that is gone").await;
    pool.set_allowance(None);
    for caller in callers {
        drop(served(caller).await);
    }
    fill(&pool, 1).await;
    end(pool, &script).await;
}
