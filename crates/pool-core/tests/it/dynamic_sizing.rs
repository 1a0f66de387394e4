//! Dynamic sizing with the seed's own settings, evaluation by evaluation.

use pool_core::sizing::{Decision, Direction, SizingProblem};
use pool_core::{DynamicPoolConfig, DynamicSizing as _, Limits, PoolEvent};
use pool_testkit::{in_time, settle};

use crate::support::{Guard, Pool, check, end, line_up, ms, pool, scripted, secs, served, take};

/// minSize 5, maxSize 100, 70 % up by 10, 30 % down by 5, every 10 s.
fn seed() -> DynamicPoolConfig {
    serde_json::from_str(
        r#"{
            "enabled": true, "minSize": 5, "maxSize": 100,
            "scaleUpThreshold": 70, "scaleDownThreshold": 30,
            "scaleUpIncrement": 10, "scaleDownIncrement": 5,
            "evaluationInterval": 10000
        }"#,
    )
    .unwrap()
}

/// Holds `in_use` connections over one interval; what was decided at its end.
async fn evaluate(pool: &Pool, held: &mut Vec<Guard>, in_use: usize) -> Decision {
    held.truncate(in_use);
    let more = in_use - held.len();
    held.extend(take(pool, more).await);
    let before = pool.sizing_decisions().len();
    tokio::time::sleep(secs(10)).await;
    settle().await;
    let decisions = pool.sizing_decisions();
    assert_eq!(
        decisions.len(),
        (before + 1).min(128),
        "one decision an interval"
    );
    decisions.last().unwrap().decision.clone()
}

#[track_caller]
fn decided(decision: &Decision, target: u32, direction: Direction, reason: &str) {
    assert_eq!(
        (decision.target, decision.direction),
        (target, direction),
        "{decision:?}"
    );
    assert!(
        decision.reason.contains(reason),
        "`{reason}` is missing: {decision:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_seeds_settings_evaluation_by_evaluation() {
    use Direction::{Down, Stay, Up};
    let (pool, script) = pool(0, 1);
    pool.set_dynamic_pool_config(seed()).unwrap();
    assert_eq!(pool.limits(), Limits::new(5, 100).unwrap());
    settle().await;
    check(&pool, (5, 0, 5, 0, 0, 0));
    let mut held = Vec::new();

    // Four of five in use: 80 % is above 70 %.
    let decision = evaluate(&pool, &mut held, 4).await;
    decided(&decision, 15, Up, "utilisation 80 %");
    assert_eq!(pool.counts().total, 15);

    // Four of fifteen: 27 % is below 30 %. The surplus ends after an interval of idleness.
    let decision = evaluate(&pool, &mut held, 4).await;
    decided(&decision, 10, Down, "utilisation 27 %");
    tokio::time::sleep(ms(5)).await;
    assert_eq!(pool.counts().total, 10);

    // Four of ten: between the two.
    let decision = evaluate(&pool, &mut held, 4).await;
    decided(&decision, 10, Stay, "between 30 % and 70 %");

    // Nine, then six of ten and more: up to where both thresholds are met from either side.
    let decision = evaluate(&pool, &mut held, 9).await;
    decided(&decision, 20, Up, "at or above 70 %");
    assert_eq!(pool.counts().total, 20);
    let decision = evaluate(&pool, &mut held, 5).await;
    decided(&decision, 15, Down, "utilisation 25 %");

    // A burst within the interval: on average nothing, but twelve were in use at once.
    held.clear();
    drop(take(&pool, 12).await);
    let decision = evaluate(&pool, &mut held, 0).await;
    decided(&decision, 12, Down, "15 → 12");

    // Nothing at all: down to the minimum, and there it stays.
    let decision = evaluate(&pool, &mut held, 0).await;
    decided(&decision, 7, Down, "12 → 7");
    let decision = evaluate(&pool, &mut held, 0).await;
    decided(&decision, 5, Down, "7 → 5");
    let decision = evaluate(&pool, &mut held, 0).await;
    decided(&decision, 5, Stay, "5 is the minimum");
    tokio::time::sleep(secs(10)).await;
    check(&pool, (5, 0, 5, 0, 0, 0));
    end(pool, &script).await;
}

/// Demand has opened more than the target: what is decided is told against the target, which is what
/// changes.
#[tokio::test(start_paused = true)]
async fn after_a_burst_the_target_is_what_has_moved() {
    use Direction::{Down, Stay, Up};
    let (pool, script) = pool(0, 1);
    pool.set_dynamic_pool_config(seed()).unwrap();
    settle().await;
    let mut events = pool.subscribe();
    let mut held = take(&pool, 40).await;
    tokio::time::sleep(ms(5)).await;
    held.truncate(20);
    assert_eq!((pool.target(), pool.counts().total), (5, 40));

    // Twenty of forty: the size stays, and the target follows it.
    let decision = evaluate(&pool, &mut held, 20).await;
    decided(&decision, 40, Up, "70 %: 40 stays (target 5 → 40)");
    let told = loop {
        if let PoolEvent::TargetChanged { from, to, .. } =
            in_time("a change", events.next()).await.unwrap()
        {
            break (from, to);
        }
    };
    assert_eq!((told, pool.target()), ((5, 40), 40));
    assert_eq!(pool.explain().changed.unwrap().decision, decision);

    let decision = evaluate(&pool, &mut held, 20).await;
    decided(&decision, 40, Stay, "70 %: 40 stays");
    assert!(!decision.reason.contains("target"), "{decision:?}");
    let decision = evaluate(&pool, &mut held, 2).await;
    decided(&decision, 35, Down, "40 → 35");
    held.clear();
    end(pool, &script).await;
}

/// Thresholds are inclusive: exactly 70 % grows, exactly 30 % shrinks.
#[tokio::test(start_paused = true)]
async fn the_thresholds_are_inclusive() {
    let (pool, script) = pool(0, 1);
    let config = DynamicPoolConfig {
        min_size: 10,
        ..seed()
    };
    pool.set_dynamic_pool_config(config).unwrap();
    settle().await;
    let mut held = Vec::new();
    let decision = evaluate(&pool, &mut held, 7).await;
    decided(
        &decision,
        20,
        Direction::Up,
        "utilisation 70 % (7.0 of 10 in use)",
    );
    let decision = evaluate(&pool, &mut held, 6).await;
    decided(
        &decision,
        15,
        Direction::Down,
        "utilisation 30 % (6.0 of 20 in use)",
    );
    held.clear();
    end(pool, &script).await;
}

/// Full load for minutes: ten more each time, to the maximum and not beyond.
#[tokio::test(start_paused = true)]
async fn a_full_pool_grows_by_its_increment_to_the_maximum() {
    let (pool, script) = pool(0, 1);
    pool.set_dynamic_pool_config(seed()).unwrap();
    settle().await;
    let mut held = Vec::new();
    let mut size = 5;
    while size < 100 {
        let decision = evaluate(&pool, &mut held, size as usize).await;
        let next = (size + 10).min(100);
        decided(&decision, next, Direction::Up, &format!("{size} → {next}"));
        assert_eq!(pool.counts().total, next, "opened before anybody asks");
        size = next;
    }
    let decision = evaluate(&pool, &mut held, 100).await;
    decided(&decision, 100, Direction::Stay, "100 is the maximum");
    assert_eq!(script.peak_open(), 100);
    held.clear();
    end(pool, &script).await;
}

/// A burst does not wait for an evaluation: the engine grows for those in line at once.
#[tokio::test(start_paused = true)]
async fn a_burst_does_not_wait_for_an_evaluation() {
    let (pool, script) = pool(0, 1);
    pool.set_dynamic_pool_config(seed()).unwrap();
    settle().await;
    let began = tokio::time::Instant::now();
    let mut held = Vec::new();
    for caller in line_up_all(&pool, 40).await {
        held.push(served(caller).await);
    }
    assert_eq!(began.elapsed(), ms(0));
    assert_eq!(pool.counts().active, 40);
    drop(held);
    end(pool, &script).await;
}

async fn line_up_all(pool: &Pool, n: usize) -> Vec<crate::support::Caller> {
    let callers = (0..n).map(|_| tokio::spawn(pool.acquire_owned())).collect();
    settle().await;
    callers
}

/// Never down while callers wait, however low the average was.
#[tokio::test(start_paused = true)]
async fn the_pool_does_not_shrink_while_callers_wait() {
    let (pool, script) = pool(0, 1);
    let config = DynamicPoolConfig {
        min_size: 2,
        max_size: 10,
        ..seed()
    };
    pool.set_dynamic_pool_config(config).unwrap();
    pool.set_target(Some(10));
    settle().await;
    tokio::time::sleep(ms(9_900)).await;
    let mut held = take(&pool, 10).await;
    let caller = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(ms(100)).await;
    settle().await;
    let decision = pool.sizing_decisions().pop().unwrap().decision;
    decided(&decision, 10, Direction::Stay, "1 callers wait");
    held.clear();
    drop(served(caller).await);
    end(pool, &script).await;
}

/// Nor after an interval in which somebody had to wait, whether they were served or gave up. Waiting
/// for the check of an idle connection is another matter: more of them would not help.
#[tokio::test(start_paused = true)]
async fn the_pool_does_not_shrink_after_callers_had_to_wait() {
    let (pool, script) = pool(0, 1);
    let config = DynamicPoolConfig {
        min_size: 2,
        max_size: 10,
        ..seed()
    };
    pool.set_dynamic_pool_config(config).unwrap();
    pool.set_target(Some(10));
    settle().await;
    let mut held = take(&pool, 10).await;
    let late = line_up(&pool, 1).await.remove(0);
    tokio::time::sleep(ms(5)).await;
    held.clear();
    drop(served(late).await);
    let decision = evaluate(&pool, &mut held, 1).await;
    decided(&decision, 10, Direction::Stay, "1 callers waited: 10 stays");

    // The nine that were idle for ten seconds are checked before they are lent.
    let checks = script.validate().calls();
    held.extend(take(&pool, 9).await);
    assert_eq!(script.validate().calls(), checks + 9);
    let gives_up = tokio::spawn(pool.acquire_owned_timeout(ms(5)));
    tokio::time::sleep(ms(10)).await;
    assert!(gives_up.await.unwrap().is_err());
    let decision = evaluate(&pool, &mut held, 1).await;
    decided(&decision, 10, Direction::Stay, "1 callers waited: 10 stays");

    // Nobody was short in this one, though there are checks in it.
    let checks = script.validate().calls();
    held.extend(take(&pool, 4).await);
    assert_eq!(script.validate().calls(), checks + 4);
    let decision = evaluate(&pool, &mut held, 1).await;
    decided(&decision, 5, Direction::Down, "10 → 5");
    held.clear();
    end(pool, &script).await;
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_contradicts_itself_changes_nothing() {
    let (pool, script) = pool(1, 3);
    let good = DynamicPoolConfig {
        min_size: 2,
        max_size: 4,
        ..seed()
    };
    pool.set_dynamic_pool_config(good).unwrap();
    let bad = DynamicPoolConfig {
        min_size: 9,
        max_size: 4,
        scale_up_threshold: 20.0,
        evaluation_interval: 0,
        ..good
    };
    let error = pool.set_dynamic_pool_config(bad).unwrap_err();
    assert_eq!(error.problems.len(), 3, "{error}");
    assert!(
        error
            .problems
            .contains(&SizingProblem::Sizes { min: 9, max: 4 })
    );
    assert_eq!(pool.dynamic_pool_config(), Some(good));
    assert_eq!(pool.limits(), Limits::new(2, 4).unwrap());
    tokio::time::sleep(secs(25)).await;
    assert_eq!(pool.sizing_decisions().len(), 2, "the evaluations go on");
    end(pool, &script).await;
}

/// Switched off at run time: no more decisions; the sizes hold.
#[tokio::test(start_paused = true)]
async fn a_disabled_configuration_stops_the_evaluations_and_keeps_its_sizes() {
    let (pool, script) = pool(0, 1);
    pool.set_dynamic_pool_config(seed()).unwrap();
    tokio::time::sleep(secs(25)).await;
    assert_eq!(pool.sizing_decisions().len(), 2);
    let off = DynamicPoolConfig {
        enabled: false,
        min_size: 3,
        max_size: 7,
        ..seed()
    };
    pool.set_dynamic_pool_config(off).unwrap();
    tokio::time::sleep(secs(100)).await;
    assert_eq!(pool.sizing_decisions().len(), 2);
    assert_eq!(pool.limits(), Limits::new(3, 7).unwrap());
    assert_eq!(pool.pool_metrics().target, 3);
    end(pool, &script).await;
}

/// Another interval at run time restarts the evaluations; there is never more than one loop.
#[tokio::test(start_paused = true)]
async fn a_new_configuration_replaces_the_evaluations_of_the_old_one() {
    let (pool, script) = pool(0, 1);
    for interval in [10_000, 5_000, 1_000] {
        let config = DynamicPoolConfig {
            evaluation_interval: interval,
            ..seed()
        };
        pool.set_dynamic_pool_config(config).unwrap();
    }
    tokio::time::sleep(ms(10_500)).await;
    assert_eq!(pool.sizing_decisions().len(), 10);
    pool.close(secs(1)).await;
    tokio::time::sleep(secs(60)).await;
    assert_eq!(pool.sizing_decisions().len(), 10, "none after the end");
    end(pool, &script).await;
}

/// Changes are told with their reasons, and the latest decisions are kept with what led to them.
#[tokio::test(start_paused = true)]
async fn decisions_are_told_and_kept_with_what_led_to_them() {
    let (builder, script) = scripted();
    let pool = builder.event_capacity(4_096).build().unwrap();
    let mut events = pool.subscribe();
    pool.set_dynamic_pool_config(seed()).unwrap();
    settle().await;
    let mut held = Vec::new();
    evaluate(&pool, &mut held, 4).await;
    let (from, to, reason) = loop {
        if let PoolEvent::TargetChanged { from, to, reason } =
            in_time("it", events.next()).await.unwrap()
        {
            break (from, to, reason);
        }
    };
    assert_eq!((from, to), (5, 15));
    assert!(reason.contains("80 %"), "{reason}");

    let record = pool.sizing_decisions().remove(0);
    assert_eq!(record.observation.interval, secs(10));
    assert_eq!(
        (
            record.observation.average_in_use,
            record.observation.average_size
        ),
        (4.0, 5.0)
    );
    assert_eq!(
        (record.observation.peak_in_use, record.observation.waiting),
        (4, 0)
    );
    let json = serde_json::to_value(&record).unwrap();
    assert_eq!(json["decision"]["direction"], "up");
    assert_eq!(json["observation"]["averageInUse"], 4.0);

    for _ in 0..200 {
        evaluate(&pool, &mut held, 4).await;
    }
    assert_eq!(pool.sizing_decisions().len(), 128);
    held.clear();
    end(pool, &script).await;
}
