//! What operators see of any pool and do to it.

use std::sync::Arc;

use pool_core::sizing::SizingMode;
use pool_core::{ConnectFault, DynamicPoolConfig, DynamicSizing as _, PoolControl, PoolState};
use pool_testkit::{Answer, settle};

use crate::support::{denied, end, fill, line_up, ms, pool, secs, served, take};

/// Buckets count what the histogram holds, and never less from one bound to the next.
#[tokio::test(start_paused = true)]
async fn buckets_count_each_time_once() {
    let (pool, script) = pool(0, 1);
    script.connect().takes(ms(50));
    let held = take(&pool, 1).await;
    let caller = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(ms(300)).await;
    drop(held);
    drop(served(caller).await);
    drop(take(&pool, 1).await);

    // Waits of 0, 50 and 300 ms.
    let histograms = PoolControl::snapshot(&pool).histograms;
    let buckets = histograms.wait_buckets(&[ms(1), ms(49), ms(51), ms(250), ms(400), secs(10)]);
    assert_eq!(buckets.cumulative, [1, 1, 2, 2, 3, 3]);
    assert_eq!(buckets.count, 3);
    let sum = buckets.sum.as_secs_f64();
    assert!((sum - 0.350).abs() < 0.350 / 50.0, "{sum}");
    assert_eq!(histograms.connect_buckets(&[ms(51)]).cumulative, [1]);
    let hold = histograms.hold_buckets(&[ms(1), ms(310)]);
    assert_eq!((hold.cumulative, hold.count), (vec![2, 3], 3));
    assert!(histograms.wait_buckets(&[]).cumulative.is_empty());
    end(pool, &script).await;
}

/// The age of the oldest caller, the state and the room there is.
#[tokio::test(start_paused = true)]
async fn a_snapshot_tells_who_waits_and_why() {
    let (pool, script) = pool(0, 2);
    let held = take(&pool, 2).await;
    assert_eq!(pool.pool_metrics().oldest_wait, 0.0);
    let mut callers = line_up(&pool, 1).await;
    tokio::time::sleep(ms(400)).await;
    callers.extend(line_up(&pool, 1).await);
    let metrics = pool.pool_metrics();
    assert!(
        (400.0..410.0).contains(&metrics.oldest_wait),
        "{}",
        metrics.oldest_wait
    );
    assert_eq!((metrics.state, metrics.ceiling), (PoolState::Open, 2));
    pool.pause(secs(100));
    assert_eq!(pool.pool_metrics().state, PoolState::Paused);
    pool.resume();
    drop(held);
    for caller in callers {
        drop(served(caller).await);
    }

    // The server has no room for a third.
    pool.set_limits(0, 5).unwrap();
    script
        .connect()
        .next(1, Answer::Fails(ConnectFault::Saturated));
    let held = take(&pool, 2).await;
    let mut callers = line_up(&pool, 1).await;
    settle().await;
    let metrics = pool.pool_metrics();
    assert_eq!((metrics.max, metrics.ceiling), (5, 2));
    drop(held);
    drop(served(callers.remove(0)).await);
    end(pool.clone(), &script).await;
    assert_eq!(pool.pool_metrics().state, PoolState::Closed);
}

/// Two readings say how well the connections between them were used.
#[tokio::test(start_paused = true)]
async fn utilisation_is_the_quotient_of_two_integrals() {
    let (pool, script) = pool(0, 4);
    fill(&pool, 4).await;
    let before = pool.pool_metrics();
    let held = take(&pool, 1).await;
    tokio::time::sleep(secs(10)).await;
    let after = pool.pool_metrics();
    drop(held);
    let used = after.in_use_time - before.in_use_time;
    let open = after.open_time - before.open_time;
    assert!((used - 10_000.0).abs() < 10.0, "{used}");
    assert!((open - 40_000.0).abs() < 40.0, "{open}");
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn failed_connects_are_counted_by_code() {
    let (pool, script) = pool(0, 4);
    for fault in [ConnectFault::Permanent, ConnectFault::Permanent] {
        script.connect().next(1, Answer::Fails(fault));
        denied(pool.acquire().await);
        tokio::time::sleep(secs(1)).await;
    }
    script.connect().next(1, Answer::Panics);
    drop(take(&pool, 1).await);
    let codes = pool.pool_metrics().connect_failure_codes;
    assert_eq!(codes["password"], 2, "{codes:?}");
    assert_eq!(codes["panic"], 1, "{codes:?}");
    end(pool, &script).await;
}

/// What holds a policy back is counted by its name.
#[tokio::test(start_paused = true)]
async fn vetoes_are_counted_by_what_held_growth_back() {
    let (pool, script) = pool(0, 4);
    pool.set_dynamic_pool_config(DynamicPoolConfig {
        enabled: true,
        min_size: 1,
        max_size: 8,
        evaluation_interval: 1_000,
        ..DynamicPoolConfig::default()
    })
    .unwrap();
    let held = take(&pool, 1).await;
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Saturated));
    let callers = line_up(&pool, 1).await;
    tokio::time::sleep(ms(1_500)).await;
    let vetoes = pool.pool_metrics().counters.vetoes;
    assert!(vetoes.server_full >= 1, "{vetoes:?}");
    assert_eq!((vetoes.elasticity, vetoes.slow_database), (0, 0));
    drop(held);
    for caller in callers {
        drop(served(caller).await);
    }
    script.connect().works();
    end(pool, &script).await;
}

/// Operators hold pools of every kind the same way; what they do reaches the pool.
#[tokio::test(start_paused = true)]
async fn any_pool_can_be_operated_through_one_trait() {
    let (pool, script) = pool(1, 4);
    let any: Arc<dyn PoolControl> = Arc::new(pool.clone());
    assert_eq!((any.name(), any.system()), (pool.name(), "other"));

    any.resize(2, 8).unwrap();
    assert_eq!((pool.limits().min(), pool.limits().max()), (2, 8));
    any.resize(2, 6).unwrap();
    let resized = pool.pool_metrics().counters.resized;
    assert_eq!((resized.limits_up, resized.limits_down), (1, 1));
    let refused = any.resize(9, 3).unwrap_err().to_string();
    assert!(refused.contains("min 9 is above max 3"), "{refused}");
    assert_eq!(pool.limits().max(), 6);

    // With dynamic sizing the policy keeps to what the operator wants.
    let config = DynamicPoolConfig {
        enabled: true,
        min_size: 1,
        max_size: 10,
        ..DynamicPoolConfig::default()
    };
    pool.set_dynamic_pool_config(config).unwrap();
    any.resize(3, 5).unwrap();
    let sizes = pool.dynamic_pool_config().unwrap();
    assert_eq!(
        (sizes.min_size, sizes.max_size, sizes.enabled),
        (3, 5, true)
    );
    assert_eq!((pool.limits().min(), pool.limits().max()), (3, 5));
    assert_eq!(any.resize(9, 3).unwrap_err().to_string(), refused);

    // Where the policy only advises, the operator's word still counts.
    pool.set_sizing_mode(SizingMode::Advise);
    any.resize(2, 7).unwrap();
    assert_eq!((pool.limits().min(), pool.limits().max()), (2, 7));
    let sizes = pool.dynamic_pool_config().unwrap();
    assert_eq!((sizes.min_size, sizes.max_size), (2, 7));
    any.resize(3, 5).unwrap();
    pool.set_sizing_mode(SizingMode::Apply);

    settle().await;
    assert_eq!(any.evict_idle(), 3);
    any.pause(secs(5));
    assert_eq!(any.snapshot().metrics.state, PoolState::Paused);
    any.resume();
    any.soft_evict();
    settle().await;
    assert!(any.snapshot().metrics.counters.closed.evicted >= 3);
    end(pool, &script).await;
}
