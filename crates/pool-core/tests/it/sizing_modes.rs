//! Policies of one's own, modes, brakes, and what `explain` says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pool_core::sizing::{
    AdaptiveConfig, AdaptivePolicy, Brake, Decision, Direction, Observation, SizingMode,
    SizingPolicy, ThresholdPolicy,
};
use pool_core::{ConnectFault, DynamicPoolConfig, DynamicSizing as _, Limits, PoolEvent};
use pool_testkit::{Answer, in_time, settle};

use crate::support::{
    CONFIG, Pool, check, end, fill, line_up, ms, pool, refused, scripted, secs, served, take,
};

/// Wants what it is told to want.
#[derive(Clone, Debug, Default)]
struct Told {
    target: Arc<AtomicU32>,
    /// Zero for none.
    ceiling: Arc<AtomicU32>,
    asked: Arc<AtomicU32>,
}

impl SizingPolicy for Told {
    fn decide(&mut self, seen: &Observation) -> Decision {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let target = self.target.load(Ordering::Relaxed);
        assert_ne!(target, 13, "told to panic");
        let ceiling = self.ceiling.load(Ordering::Relaxed);
        Decision {
            ceiling: (ceiling > 0).then_some(ceiling),
            ..Decision::resize(seen.target, target, format!("told {target}"))
        }
    }

    fn interval(&self) -> Option<Duration> {
        Some(ms(500))
    }

    fn surplus_timeout(&self) -> Option<Duration> {
        Some(secs(3))
    }
}

impl Told {
    fn wants(&self, target: u32) {
        self.target.store(target, Ordering::Relaxed);
    }

    fn allows(&self, ceiling: u32) {
        self.ceiling.store(ceiling, Ordering::Relaxed);
    }
}

#[tokio::test(start_paused = true)]
async fn an_installed_policy_decides_at_its_own_pace() {
    let (pool, script) = pool(1, 10);
    let told = Told::default();
    told.wants(4);
    pool.set_sizing_policy(told.clone());
    tokio::time::sleep(ms(550)).await;
    assert_eq!((pool.target(), pool.counts().total), (4, 4));
    tokio::time::sleep(ms(4_500)).await;
    assert_eq!(pool.sizing_decisions().len(), 10, "every 500 ms");

    // Beyond the limits it is held within them.
    told.wants(400);
    tokio::time::sleep(ms(500)).await;
    assert_eq!(pool.target(), 10);
    // Surplus ends after the policy's own time.
    told.wants(2);
    tokio::time::sleep(ms(2_000)).await;
    // Four had been idle for longer than that.
    assert_eq!((pool.target(), pool.counts().total), (2, 6));
    tokio::time::sleep(ms(1_600)).await;
    assert_eq!(pool.counts().total, 2);

    // Another configuration changes its limits and lets it go on; a disabled one stops it.
    pool.set_dynamic_pool_config(CONFIG).unwrap();
    told.wants(400);
    tokio::time::sleep(ms(600)).await;
    assert_eq!(pool.target(), 20);
    let off = DynamicPoolConfig {
        enabled: false,
        ..CONFIG
    };
    pool.set_dynamic_pool_config(off).unwrap();
    let asked = told.asked.load(Ordering::Relaxed);
    tokio::time::sleep(secs(5)).await;
    assert_eq!(told.asked.load(Ordering::Relaxed), asked);
    assert_eq!(pool.target(), 2);

    // The thresholds again, as a policy like any other.
    pool.set_dynamic_pool_config(CONFIG).unwrap();
    pool.set_sizing_policy(ThresholdPolicy::new(CONFIG).unwrap());
    tokio::time::sleep(ms(5_500)).await;
    assert_eq!(told.asked.load(Ordering::Relaxed), asked);
    let last = pool.sizing_decisions().pop().unwrap();
    assert!(last.decision.reason.contains("utilisation"), "{last:?}");
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_policy_that_panics_decides_nothing_and_is_asked_again() {
    let (pool, script) = pool(1, 20);
    let told = Told::default();
    told.wants(4);
    pool.set_sizing_policy(told.clone());
    tokio::time::sleep(ms(550)).await;
    told.wants(13);
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!((pool.target(), pool.sizing_decisions().len()), (4, 1));
    assert_eq!(told.asked.load(Ordering::Relaxed), 3);
    told.wants(6);
    tokio::time::sleep(ms(500)).await;
    assert_eq!(pool.target(), 6);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn advice_is_told_and_changes_nothing() {
    let (builder, script) = scripted();
    let pool = builder.limits(1, 4).build().unwrap();
    let mut events = pool.subscribe();
    pool.set_sizing_mode(SizingMode::Advise);
    pool.set_dynamic_pool_config(CONFIG).unwrap();
    let held = take(&pool, 4).await;
    tokio::time::sleep(ms(1_100)).await;
    assert_eq!(pool.limits(), Limits::new(1, 4).unwrap());
    assert_eq!((pool.target(), pool.counts().total), (1, 4));
    let record = pool.sizing_decisions().pop().unwrap();
    assert_eq!(record.mode, SizingMode::Advise);
    assert_eq!((record.observation.min, record.observation.max), (2, 20));
    assert_eq!(record.decision.direction, Direction::Up);
    let advised = loop {
        if let PoolEvent::TargetAdvised { from, to, .. } =
            in_time("advice", events.next()).await.unwrap()
        {
            break (from, to);
        }
    };
    assert_eq!(advised, (1, 6));
    let said = pool.explain().to_string();
    assert!(said.contains("It only advises"), "{said}");
    // The limits go on to bind: a fifth caller waits.
    let caller = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(secs(3)).await;
    assert_eq!(pool.counts().total, 4);

    // From now on it counts, with the configuration's sizes.
    pool.set_sizing_mode(SizingMode::Apply);
    assert_eq!(pool.limits(), Limits::new(2, 20).unwrap());
    drop(served(caller).await);
    tokio::time::sleep(ms(1_100)).await;
    assert_eq!(pool.target(), 7);
    drop(held);
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_frozen_pool_keeps_its_target_and_serves_demand() {
    let (pool, script) = pool(1, 10);
    let told = Told::default();
    told.wants(6);
    pool.set_sizing_policy(told.clone());
    tokio::time::sleep(ms(600)).await;
    pool.set_sizing_mode(SizingMode::Freeze);
    told.wants(2);
    tokio::time::sleep(secs(30)).await;
    assert_eq!((pool.target(), pool.counts().total), (6, 6));
    let last = pool.sizing_decisions().pop().unwrap();
    assert_eq!((last.mode, last.decision.target), (SizingMode::Freeze, 2));
    drop(take(&pool, 9).await);
    assert_eq!(pool.counts().total, 9);
    let said = pool.explain().to_string();
    assert!(
        said.contains("frozen") && said.contains("keeps 6"),
        "{said}"
    );
    pool.set_sizing_mode(SizingMode::Apply);
    tokio::time::sleep(secs(5)).await;
    assert_eq!((pool.target(), pool.counts().total), (2, 2));
    end(pool, &script).await;
}

/// What a policy had allowed a moment before does not outlast its power to decide.
#[tokio::test(start_paused = true)]
async fn a_frozen_pool_serves_demand_up_to_its_maximum() {
    let (pool, script) = pool(0, 10);
    let told = Told::default();
    told.allows(3);
    pool.set_sizing_policy(told.clone());
    tokio::time::sleep(ms(600)).await;
    assert_eq!(pool.explain().ceiling, 3);
    pool.set_sizing_mode(SizingMode::Freeze);
    assert_eq!(pool.explain().ceiling, 10);
    drop(take(&pool, 10).await);
    tokio::time::sleep(secs(5)).await;
    assert_eq!(pool.explain().ceiling, 10, "nor does it decide again");
    end(pool, &script).await;
}

/// A ceiling holds demand as well, and what is in use above it ends when it comes back.
#[tokio::test(start_paused = true)]
async fn a_ceiling_holds_bursts_and_interrupts_nobody() {
    let (pool, script) = pool(0, 10);
    let told = Told::default();
    pool.set_sizing_policy(told.clone());
    let mut held = take(&pool, 8).await;
    told.allows(3);
    tokio::time::sleep(ms(600)).await;
    assert_eq!(pool.counts().active, 8, "a holder is not interrupted");
    let callers = line_up(&pool, 2).await;
    held.truncate(3);
    settle().await;
    check(&pool, (3, 3, 0, 0, 0, 2));
    drop(held);
    for caller in callers {
        drop(served(caller).await);
    }
    settle().await;
    assert!(pool.counts().total <= 3);
    assert_eq!(pool.explain().ceiling, 3);
    told.allows(0);
    tokio::time::sleep(ms(600)).await;
    fill(&pool, 10).await;
    end(pool, &script).await;
}

fn adaptive() -> AdaptivePolicy {
    AdaptivePolicy::new(AdaptiveConfig::default()).unwrap()
}

/// `clients` that ask again as soon as they are done, each holding for `hold(in use)` ms.
fn clients(pool: &Pool, clients: usize, hold: fn(u32) -> u64) -> tokio::task::JoinSet<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients {
        let pool = pool.clone();
        tasks.spawn(async move {
            while let Ok(mut guard) = pool.acquire_owned().await {
                let busy = pool.counts().active;
                let _ = guard.query(ms(hold(busy))).await;
            }
        });
    }
    tasks
}

/// What `explain` says of a pool that grew and of one that shrank, now and an interval ago.
#[tokio::test(start_paused = true)]
async fn explain_says_why_the_pool_grew_and_shrank() {
    let (pool, script) = pool(0, 1);
    pool.set_dynamic_pool_config(CONFIG).unwrap();
    settle().await;
    let said = pool.explain().to_string();
    assert!(said.contains("Nothing has been decided yet"), "{said}");
    let held = take(&pool, 2).await;
    tokio::time::sleep(ms(1_010)).await;
    assert_eq!(
        pool.explain().to_string(),
        "pool default has 4 connections (2 active, 2 idle) and keeps 4 of 2 to 20 warm; 0 callers \
         wait. Latest, just now: utilisation 100 % (2.0 of 2 in use) is at or above 70 %: 2 → 4."
    );
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(
        pool.explain().to_string(),
        "pool default has 4 connections (2 active, 2 idle) and keeps 4 of 2 to 20 warm; 0 callers \
         wait. The target last rose just now: utilisation 100 % (2.0 of 2 in use) is at or above \
         70 %: 2 → 4. Latest, just now: utilisation 50 % (2.0 of 4 in use) is between 30 % and \
         70 %: 4 stays."
    );
    drop(held);
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(
        pool.explain().to_string(),
        "pool default has 2 connections (0 active, 2 idle) and keeps 2 of 2 to 20 warm; 0 callers \
         wait. Latest, just now: utilisation 0 % (0.0 of 4 in use) is at or below 30 %: 4 → 2."
    );
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!(
        pool.explain().to_string(),
        "pool default has 2 connections (0 active, 2 idle) and keeps 2 of 2 to 20 warm; 0 callers \
         wait. The target last fell just now: utilisation 0 % (0.0 of 4 in use) is at or below \
         30 %: 4 → 2. Latest, just now: utilisation 0 % (0.0 of 2 in use) is at or below 30 %, but \
         2 is the minimum."
    );
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn explain_says_that_the_pool_is_at_its_ceiling() {
    let (pool, script) = pool(0, 1);
    let config = DynamicPoolConfig {
        max_size: 3,
        ..CONFIG
    };
    pool.set_dynamic_pool_config(config).unwrap();
    let held = take(&pool, 3).await;
    let callers = line_up(&pool, 2).await;
    tokio::time::sleep(ms(2_010)).await;
    assert_eq!(
        pool.explain().to_string(),
        "pool default has 3 connections (3 active, 0 idle) and keeps 3 of 2 to 3 warm; 2 callers \
         wait. The target last rose just now: utilisation 100 % (3.0 of 3 in use) is \
             at or above 70 %, but 3 is the maximum (target 2 → 3). Latest, just now: utilisation \
             100 % (3.0 of 3 in use) is at or above 70 %, but 3 is the maximum."
    );
    drop(held);
    for caller in callers {
        drop(served(caller).await);
    }
    end(pool, &script).await;
}

/// A database that is slower by as much as more connections use it: the pool finds the size at
/// which growth ends to be worth it, holds it, and says so.
#[tokio::test(start_paused = true)]
async fn explain_says_that_growth_was_vetoed() {
    let (builder, script) = scripted();
    let pool = builder.limits(2, 60).build().unwrap();
    let mut events = pool.subscribe();
    pool.set_sizing_policy(adaptive());
    // Quick below ten, and from there on slower with the square of it.
    let hold = |busy: u32| 10 + u64::from(busy * busy) / 10;
    let mut load = clients(&pool, 6, hold);
    tokio::time::sleep(secs(5)).await;
    assert_eq!(pool.explain().brake(), None);
    let more = clients(&pool, 80, hold);
    tokio::time::sleep(secs(20)).await;
    let explained = pool.explain();
    assert_eq!(explained.brake(), Some(Brake::Elasticity), "{explained}");
    // n/(10 + n²/10) is greatest at 10.
    assert!((6..=14).contains(&explained.ceiling), "{explained}");
    assert!(explained.counts.total <= explained.ceiling, "{explained}");
    let said = explained.to_string();
    for part in ["growth is held at", "operations take", "buy no throughput"] {
        assert!(said.contains(part), "`{part}` is missing: {said}");
    }
    let braked = loop {
        if let PoolEvent::BrakeChanged { brake, .. } =
            in_time("a brake", events.next()).await.unwrap()
        {
            break brake;
        }
    };
    assert_eq!(braked, Some(Brake::Elasticity));
    load.shutdown().await;
    drop(more);
    end(pool, &script).await;
}

/// The server has no room: no policy grows against it, and the adaptive one gives a part back.
#[tokio::test(start_paused = true)]
async fn growth_never_fights_a_server_that_is_full() {
    let (pool, script) = pool(2, 20);
    pool.set_dynamic_pool_config(CONFIG).unwrap();
    settle().await;
    let held = take(&pool, 4).await;
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Saturated));
    let caller = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(ms(3_010)).await;
    let explained = pool.explain();
    assert_eq!(explained.brake(), Some(Brake::ServerFull), "{explained}");
    assert_eq!((explained.target, explained.ceiling), (4, 4), "{explained}");
    assert_eq!(
        explained.to_string(),
        "pool default has 4 connections (4 active, 0 idle) and keeps 4 of 2 to 20 warm; 1 callers \
         wait. Demand may open 4 at the most. The target last rose just now: \
         utilisation 100 % (4.0 of 4 in use) is at or above 70 %: 4 → 6 (target 2 → 6); but the \
         server has no room for more than 4: 4 instead of 6. Latest, just now: utilisation 100 % \
         (4.0 of 4 in use) is at or above 70 %: 4 → 6; but the server has no room for more than 4: \
         4 instead of 6 [the server has no room]."
    );
    let attempts = script.connect().calls();
    assert!(attempts < 10, "{attempts} attempts in three seconds");

    // The engine asks again after ten seconds, and is refused again.
    pool.set_sizing_policy(adaptive());
    tokio::time::sleep(ms(8_000)).await;
    let explained = pool.explain();
    assert_eq!(explained.brake(), Some(Brake::ServerFull), "{explained}");
    assert!(explained.ceiling <= 6, "{explained}");
    script.connect().works();
    drop(held);
    drop(served(caller).await);
    end(pool, &script).await;
}

/// Connects fail: the target does not run away from what exists.
#[tokio::test(start_paused = true)]
async fn the_target_waits_while_connects_fail() {
    let (builder, script) = scripted();
    let pool = builder.acquire_timeout(secs(5)).build().unwrap();
    pool.set_dynamic_pool_config(CONFIG).unwrap();
    settle().await;
    let held = take(&pool, 2).await;
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Transient));
    let caller = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(ms(4_010)).await;
    let explained = pool.explain();
    assert_eq!(explained.brake(), Some(Brake::ConnectFailures));
    assert_eq!(pool.target(), 2, "{explained}");
    refused(caller).await;
    script.connect().works();
    drop(held);
    end(pool, &script).await;
}

/// The same operations take five times as long at the same concurrency: the pool goes on at a
/// measured pace, and reaches what is needed because growth does help.
#[tokio::test(start_paused = true)]
async fn a_database_that_has_become_slower_is_followed_at_a_measured_pace() {
    let (builder, script) = scripted();
    let pool = builder.limits(2, 60).build().unwrap();
    pool.set_sizing_policy(adaptive());
    let mut load = clients(&pool, 10, |_| 20);
    tokio::time::sleep(secs(5)).await;
    assert_eq!(pool.explain().brake(), None, "{}", pool.explain());
    load.shutdown().await;
    let slow = clients(&pool, 10, |_| 100);
    tokio::time::sleep(secs(1)).await;
    let more = clients(&pool, 30, |_| 100);
    let mut held_at = Vec::new();
    for _ in 0..16 {
        tokio::time::sleep(ms(250)).await;
        let explained = pool.explain();
        if explained.brake() == Some(Brake::SlowDatabase) {
            assert!(explained.to_string().contains("at the same load it was"));
            held_at.push(explained.ceiling);
        }
    }
    assert!(held_at.len() > 2 && held_at.is_sorted(), "{held_at:?}");
    assert!(held_at[0] < 20, "{held_at:?}");
    let explained = pool.explain();
    assert_eq!(explained.counts.active, 40, "{explained}");
    drop((slow, more));
    end(pool, &script).await;
}
