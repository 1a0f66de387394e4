//! Sizing that is changed while it runs: what holds, what goes on, what comes to nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pool_core::sizing::{Brake, Decision, Observation, SizingMode, SizingPolicy};
use pool_core::{
    ConnectFault, DynamicPoolConfig, DynamicSizing as _, Limits, PoolControl as _, PoolEvent,
    PoolEvents,
};
use pool_testkit::{Answer, settle};

use crate::support::{CONFIG, Pool, end, line_up, ms, pool, scripted, secs, served, take};

/// Wants as many as there are, and allows so many, if it is not zero.
#[derive(Clone, Debug, Default)]
struct Allows {
    ceiling: Arc<AtomicU32>,
    asked: Arc<AtomicU32>,
    interval: Duration,
}

impl Allows {
    fn every(interval: Duration) -> Self {
        Self {
            interval,
            ..Self::default()
        }
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl SizingPolicy for Allows {
    fn decide(&mut self, seen: &Observation) -> Decision {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let ceiling = self.ceiling.load(Ordering::Relaxed);
        Decision {
            ceiling: (ceiling > 0).then_some(ceiling),
            ..Decision::resize(seen.target, seen.size, "as many as there are".to_owned())
        }
    }

    fn interval(&self) -> Option<Duration> {
        Some(self.interval)
    }
}

fn limits(pool: &Pool) -> (u32, u32) {
    (pool.limits().min(), pool.limits().max())
}

/// What an operator has set for an incident is not undone by freezing the pool.
#[tokio::test(start_paused = true)]
async fn limits_hold_until_the_next_configuration() {
    let (pool, script) = pool(0, 1);
    pool.set_dynamic_pool_config(CONFIG).unwrap();
    pool.set_limits(3, 8).unwrap();
    pool.set_sizing_mode(SizingMode::Freeze);
    assert_eq!(limits(&pool), (3, 8));
    pool.set_sizing_policy(Allows::every(secs(1)));
    assert_eq!(limits(&pool), (3, 8));
    pool.set_sizing_mode(SizingMode::Advise);
    pool.set_sizing_mode(SizingMode::Apply);
    assert_eq!(limits(&pool), (3, 8));
    tokio::time::sleep(ms(1_100)).await;
    let seen = pool.sizing_decisions().pop().unwrap().observation;
    assert_eq!((seen.min, seen.max), (3, 8));

    // The next one counts, also if it is the same again.
    pool.set_dynamic_pool_config(CONFIG).unwrap();
    assert_eq!(limits(&pool), (2, 20));

    // While sizing only advises, sizes wait for a mode in which they count.
    pool.set_sizing_mode(SizingMode::Advise);
    let larger = DynamicPoolConfig {
        max_size: 30,
        ..CONFIG
    };
    pool.set_dynamic_pool_config(larger).unwrap();
    assert_eq!(pool.limits(), Limits::new(2, 20).unwrap());
    pool.set_sizing_mode(SizingMode::Freeze);
    assert_eq!(limits(&pool), (2, 30));
    end(pool, &script).await;
}

/// Whoever sets a configuration more often than it evaluates does not stop the evaluations.
#[tokio::test(start_paused = true)]
async fn a_configuration_that_is_set_again_and_again_is_evaluated_all_the_same() {
    let (pool, script) = pool(0, 1);
    pool.set_dynamic_pool_config(CONFIG).unwrap();
    for _ in 0..25 {
        tokio::time::sleep(ms(400)).await;
        pool.set_dynamic_pool_config(CONFIG).unwrap();
    }
    settle().await;
    assert_eq!(pool.sizing_decisions().len(), 10, "in ten seconds");

    // Nor does whoever changes sizes, thresholds or the mode, but not the pace.
    for round in 0..25_u32 {
        tokio::time::sleep(ms(400)).await;
        match round % 3 {
            0 => pool.resize(2, 10 + round).unwrap(),
            1 => pool.set_sizing_mode(SizingMode::Freeze),
            _ => pool.set_sizing_mode(SizingMode::Apply),
        }
    }
    settle().await;
    assert_eq!(pool.sizing_decisions().len(), 20);
    end(pool, &script).await;
}

/// What a policy has allowed stays in force when only the sizes are others.
#[tokio::test(start_paused = true)]
async fn a_resize_lifts_no_ceiling() {
    let (pool, script) = pool(0, 10);
    let policy = Allows::every(ms(500));
    policy.ceiling.store(3, Ordering::Relaxed);
    pool.set_dynamic_pool_config(CONFIG).unwrap();
    pool.set_sizing_policy(policy);
    tokio::time::sleep(ms(600)).await;
    assert_eq!(pool.explain().ceiling, 3);
    pool.resize(1, 15).unwrap();
    assert_eq!((limits(&pool), pool.explain().ceiling), ((1, 15), 3));
    end(pool, &script).await;
}

/// A run of evaluations that is stopped at the moment at which it is due asks nobody.
#[tokio::test(start_paused = true)]
async fn a_stopped_run_does_not_ask_the_policy_that_came_after_it() {
    let (pool, script) = pool(0, 1);
    for round in 0..64 {
        pool.set_sizing_policy(Allows::every(ms(500)));
        settle().await;
        tokio::time::sleep(ms(500)).await;
        let next = Allows::every(secs(3_600));
        pool.set_sizing_policy(next.clone());
        settle().await;
        assert_eq!(next.asked(), 0, "round {round}");
    }
    end(pool, &script).await;
}

/// What an interval has seen is not lost to a change that leaves the pace alone.
#[tokio::test(start_paused = true)]
async fn a_peak_is_not_lost_to_a_change() {
    let (pool, script) = pool(0, 1);
    pool.set_dynamic_pool_config(CONFIG).unwrap();
    settle().await;
    drop(take(&pool, 7).await);
    let larger = DynamicPoolConfig {
        max_size: 30,
        ..CONFIG
    };
    pool.set_dynamic_pool_config(larger).unwrap();
    tokio::time::sleep(ms(1_010)).await;
    let seen = pool.sizing_decisions().pop().unwrap().observation;
    assert_eq!(seen.peak_in_use, 7);
    end(pool, &script).await;
}

/// Every brake that the events told of, so far.
fn brakes(events: &mut PoolEvents) -> Vec<Option<Brake>> {
    let mut brakes = Vec::new();
    while let Some(event) = futures_util::FutureExt::now_or_never(events.next()) {
        if let Some(PoolEvent::BrakeChanged { brake, .. }) = event {
            brakes.push(brake);
        }
    }
    brakes
}

/// Advice brakes nothing, so no veto is counted and no brake told; a brake that was on is told to be
/// off when decisions are not applied any more.
#[tokio::test(start_paused = true)]
async fn nothing_is_braked_by_advice() {
    let (builder, script) = scripted();
    let pool = builder.limits(2, 20).event_capacity(4_096).build().unwrap();
    let mut events = pool.subscribe();
    pool.set_sizing_mode(SizingMode::Advise);
    pool.set_dynamic_pool_config(CONFIG).unwrap();
    let held = take(&pool, 4).await;
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Saturated));
    let caller = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(ms(3_010)).await;
    let advised = pool.sizing_decisions().pop().unwrap().decision;
    assert_eq!(advised.brake, Some(Brake::ServerFull), "{advised:?}");
    assert_eq!(pool.explain().brake(), None);
    assert_eq!(pool.pool_metrics().counters.vetoes.server_full, 0);
    assert_eq!(brakes(&mut events), []);

    pool.set_sizing_mode(SizingMode::Apply);
    tokio::time::sleep(ms(1_010)).await;
    assert_eq!(pool.explain().brake(), Some(Brake::ServerFull));
    assert_eq!(pool.pool_metrics().counters.vetoes.server_full, 1);
    assert_eq!(brakes(&mut events), [Some(Brake::ServerFull)]);
    pool.set_sizing_mode(SizingMode::Advise);
    assert_eq!(pool.explain().brake(), None);
    assert_eq!(brakes(&mut events), [None]);
    script.connect().works();
    drop(held);
    drop(served(caller).await);
    end(pool, &script).await;
}

/// What a policy allows is not taken for what the server has said.
#[tokio::test(start_paused = true)]
async fn a_policys_ceiling_is_not_the_servers_room() {
    let (pool, script) = pool(0, 20);
    let policy = Allows::every(ms(500));
    pool.set_sizing_policy(policy.clone());
    let mut held = take(&pool, 6).await;
    script
        .connect()
        .always(Answer::Fails(ConnectFault::Saturated));
    let caller = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(ms(600)).await;
    let room = |pool: &Pool| {
        let last = pool.sizing_decisions().pop().unwrap();
        last.observation.server_room
    };
    assert_eq!(room(&pool), 6);
    policy.ceiling.store(3, Ordering::Relaxed);
    tokio::time::sleep(ms(1_000)).await;
    assert_eq!((pool.explain().ceiling, room(&pool)), (3, 6));
    script.connect().works();
    held.clear();
    drop(served(caller).await);
    end(pool, &script).await;
}
