use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use pool_core::{Pool, TimeSource};
use pool_testkit::{ScriptedManager, eventually, settle};
use tokio::time::sleep;

use super::*;

type Scripted = Pool<ScriptedManager>;

impl Shares for Scripted {
    fn counts(&self) -> PoolCounts {
        self.counts()
    }

    fn limits(&self) -> Limits {
        self.limits()
    }

    fn lent(&self) -> u32 {
        0
    }

    fn allow(&self, connections: u32) {
        self.set_allowance((connections != u32::MAX).then_some(connections));
    }

    fn watch(&self, changes: Arc<Notify>) {
        self.watch(changes);
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }
}

const BUDGET: &str = "server";

fn budget(max: u32) -> Arc<Budgets> {
    let budgets = Budgets::new();
    budgets.set(&BTreeMap::from([(BUDGET.to_owned(), max)]));
    budgets
}

fn pool(budgets: &Arc<Budgets>, label: &str, min: u32, max: u32) -> Scripted {
    let (manager, _) = ScriptedManager::new();
    let pool = Pool::builder(manager)
        .time_source(TimeSource::Tokio)
        .limits(min, max)
        .allowance(0)
        .build()
        .unwrap();
    budgets.join(BUDGET, label.to_owned(), Arc::new(pool.clone()));
    pool
}

fn allowed(budgets: &Budgets) -> Vec<u32> {
    let metrics = budgets.metrics().remove(0);
    metrics.pools.iter().map(|part| part.allowed).collect()
}

/// Callers that come back for more until it stops.
struct Load {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU32>,
}

impl Load {
    fn new(pool: &Scripted, callers: u32) -> Self {
        let load = Self {
            stop: Arc::default(),
            served: Arc::default(),
        };
        for _ in 0..callers {
            let (stop, served) = (Arc::clone(&load.stop), Arc::clone(&load.served));
            let pool = pool.clone();
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let held = pool.acquire().await.unwrap();
                    sleep(Duration::from_millis(10)).await;
                    drop(held);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load
    }

    /// Served since the last look.
    fn served(&self) -> u32 {
        self.served.swap(0, Ordering::Relaxed)
    }

    fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Lets time pass, and sees that there are never more than `max`.
async fn pass(budgets: &Budgets, max: u32, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        let metrics = budgets.metrics().remove(0);
        assert!(metrics.total <= max, "{metrics:?}");
        sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_gets_its_share_and_no_more_and_an_idle_pool_keeps_its_minimum() {
    let budgets = budget(12);
    let kept = pool(&budgets, "kept", 3, 10);
    let first = pool(&budgets, "first", 0, 10);
    let second = pool(&budgets, "second", 0, 10);
    eventually("the minimum is open", || kept.counts().idle == 3).await;

    // Alone, a pool has all that nobody has a use for.
    let flood = Load::new(&first, 100);
    pass(&budgets, 12, Duration::from_secs(1)).await;
    assert_eq!(allowed(&budgets), [3, 9, 0]);
    assert_eq!(kept.counts().idle, 3);

    // A modest second one has what it needs, at the cost of the flood.
    let modest = Load::new(&second, 2);
    pass(&budgets, 12, Duration::from_secs(1)).await;
    assert_eq!(allowed(&budgets), [3, 7, 2]);
    // And half of the rest when it is greedy as well.
    let greedy = Load::new(&second, 500);
    pass(&budgets, 12, Duration::from_secs(1)).await;
    let parts = allowed(&budgets);
    assert_eq!((parts[0], parts[1] + parts[2]), (3, 9));
    assert!(parts[1].abs_diff(parts[2]) == 1, "{parts:?}");
    flood.served();
    let before = modest.served() + greedy.served();
    assert!(before > 0);
    pass(&budgets, 12, Duration::from_secs(2)).await;
    let (one, other) = (flood.served(), modest.served() + greedy.served());
    assert!(one.abs_diff(other) < (one + other) / 4, "{one} and {other}");

    // When the others have gone, what is left is everybody's again.
    modest.stop();
    greedy.stop();
    pass(&budgets, 12, Duration::from_secs(8)).await;
    assert_eq!(allowed(&budgets), [3, 9, 0]);
    flood.stop();
    pass(&budgets, 12, Duration::from_secs(1)).await;
    assert_eq!(kept.counts().idle, 3);
    assert_eq!(
        kept.pool_metrics().counters.opened,
        3,
        "they were never closed"
    );
}

#[tokio::test(start_paused = true)]
async fn with_fewer_connections_than_pools_everybody_has_a_turn() {
    let budgets = budget(1);
    let pools: Vec<_> = (0..3)
        .map(|at| pool(&budgets, &at.to_string(), 0, 4))
        .collect();
    let loads: Vec<_> = pools.iter().map(|pool| Load::new(pool, 5)).collect();
    pass(&budgets, 1, Duration::from_secs(6)).await;
    for load in &loads {
        assert!(load.served() > 50, "a pool was starved");
        load.stop();
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_pause_between_two_requests_costs_nobody_a_connection() {
    let budgets = budget(4);
    let steady = pool(&budgets, "steady", 0, 4);
    let flood = pool(&budgets, "flood", 0, 4);
    let load = Load::new(&flood, 20);
    let bursts = tokio::spawn({
        let steady = steady.clone();
        async move {
            for _ in 0..100 {
                let held = (
                    steady.acquire().await.unwrap(),
                    steady.acquire().await.unwrap(),
                );
                sleep(Duration::from_millis(30)).await;
                drop(held);
                sleep(Duration::from_millis(10)).await;
            }
        }
    });
    pass(&budgets, 4, Duration::from_secs(3)).await;
    let opened = steady.pool_metrics().counters.opened;
    assert!(opened < 20, "{opened} connects for two connections");
    load.stop();
    bursts.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn limits_that_change_meanwhile_hold_within_the_budget() {
    let budgets = budget(10);
    let one = pool(&budgets, "one", 0, 4);
    let other = pool(&budgets, "other", 0, 4);
    let loads = [Load::new(&one, 50), Load::new(&other, 50)];
    pass(&budgets, 10, Duration::from_secs(1)).await;
    assert_eq!(allowed(&budgets), [4, 4]);
    one.set_limits(2, 20).unwrap();
    pass(&budgets, 10, Duration::from_secs(1)).await;
    assert_eq!(allowed(&budgets), [6, 4]);
    other.set_limits(0, 20).unwrap();
    pass(&budgets, 10, Duration::from_secs(1)).await;
    assert_eq!(allowed(&budgets), [5, 5]);
    // A smaller budget is reached as connections come back.
    budgets.set(&BTreeMap::from([(BUDGET.to_owned(), 6)]));
    sleep(Duration::from_secs(1)).await;
    pass(&budgets, 6, Duration::from_secs(1)).await;
    assert_eq!(allowed(&budgets), [3, 3]);
    // A pool that is closed leaves its part to the others.
    loads[1].stop();
    other.close(Duration::from_secs(5)).await;
    pass(&budgets, 6, Duration::from_secs(1)).await;
    assert_eq!(allowed(&budgets), [6]);
    loads[0].stop();
}

#[tokio::test(start_paused = true)]
async fn without_its_budget_a_pool_has_its_own_limits() {
    let budgets = budget(1);
    let one = pool(&budgets, "one", 0, 4);
    assert_eq!(one.counts().max, 1);
    budgets.set(&BTreeMap::new());
    assert_eq!(one.allowance(), None);
    budgets.set(&BTreeMap::from([(BUDGET.to_owned(), 3)]));
    budgets.join(BUDGET, "one".to_owned(), Arc::new(one.clone()));
    assert_eq!(one.counts().max, 3);
    budgets.leave("one");
    assert_eq!(one.allowance(), None);
    budgets.join(BUDGET, "one".to_owned(), Arc::new(one.clone()));
    drop(budgets);
    settle().await;
    assert_eq!(one.allowance(), None);
}
