//! Bad configuration: each field out of range alone and in pairs; what runs goes on.

use pool_core::{DynamicPoolConfig, DynamicSizing as _, Limits};
use pool_testkit::settle;

use crate::support::{Pool, end, ms, pool, secs};

/// What is wrong, the change of one field, and the name that the answer must say.
type Bad = (&'static str, Change, &'static str);
type Change = fn(&mut DynamicPoolConfig);

/// Each field out of range. `enabled` has no range.
const BAD: &[Bad] = &[
    ("min above max", |c| c.min_size = 101, "minSize"),
    ("no room", |c| c.max_size = 0, "maxSize"),
    ("max below min", |c| c.max_size = 4, "maxSize"),
    (
        "max beyond all pools",
        |c| c.max_size = 1_000_001,
        "maxSize",
    ),
    (
        "up at zero",
        |c| c.scale_up_threshold = 0.0,
        "scaleUpThreshold",
    ),
    (
        "up above 100",
        |c| c.scale_up_threshold = 100.5,
        "scaleUpThreshold",
    ),
    (
        "up below down",
        |c| c.scale_up_threshold = 20.0,
        "scaleUpThreshold",
    ),
    (
        "up is no number",
        |c| c.scale_up_threshold = f64::NAN,
        "scaleUpThreshold",
    ),
    (
        "down at zero",
        |c| c.scale_down_threshold = 0.0,
        "scaleDownThreshold",
    ),
    (
        "down below zero",
        |c| c.scale_down_threshold = -1.0,
        "scaleDownThreshold",
    ),
    (
        "down above up",
        |c| c.scale_down_threshold = 80.0,
        "scaleDownThreshold",
    ),
    (
        "down is no number",
        |c| c.scale_down_threshold = f64::NAN,
        "scaleDownThreshold",
    ),
    (
        "no step up",
        |c| c.scale_up_increment = 0,
        "scaleUpIncrement",
    ),
    (
        "a step up that flaps",
        |c| c.scale_up_increment = 90,
        "scaleUpIncrement",
    ),
    (
        "no step down",
        |c| c.scale_down_increment = 0,
        "scaleDownIncrement",
    ),
    (
        "a step down that flaps",
        |c| c.scale_down_increment = 90,
        "scaleDownIncrement",
    ),
    (
        "no interval",
        |c| c.evaluation_interval = 0,
        "evaluationInterval",
    ),
    (
        "an interval of years",
        |c| c.evaluation_interval = u64::MAX,
        "evaluationInterval",
    ),
    (
        "a slow climb",
        |c| c.evaluation_interval = 60_000,
        "evaluationInterval",
    ),
];

/// Nothing to complain of.
const fn good() -> DynamicPoolConfig {
    DynamicPoolConfig {
        enabled: true,
        min_size: 5,
        max_size: 100,
        scale_up_threshold: 70.0,
        scale_down_threshold: 30.0,
        scale_up_increment: 6,
        scale_down_increment: 5,
        evaluation_interval: 1_000,
    }
}

/// Puts a configuration in force and says what was said of it.
fn put(pool: &Pool, config: DynamicPoolConfig) -> String {
    match pool.set_dynamic_pool_config(config) {
        Ok(()) => pool
            .explain()
            .warnings
            .iter()
            .map(ToString::to_string)
            .collect(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(start_paused = true)]
async fn each_field_out_of_range_is_named_alone_and_in_pairs() {
    let (pool, script) = pool(0, 1);
    assert_eq!(put(&pool, good()), "", "there is nothing to say of it");
    for (first, change_first, named_first) in BAD {
        for (second, change_second, named_second) in BAD {
            let mut config = good();
            change_first(&mut config);
            change_second(&mut config);
            let before = pool.dynamic_pool_config();
            let said = put(&pool, config);
            let refused = config.validate().is_err();
            if refused {
                assert_eq!(pool.dynamic_pool_config(), before, "{first}, {second}");
            }
            let (one, other) = (said.contains(named_first), said.contains(named_second));
            let told = match (is_error(*change_first), is_error(*change_second)) {
                // The second change may have mended the first.
                _ if group(named_first) == group(named_second) => one || other,
                // A configuration that is refused is not warned of as well.
                (true, false) => one,
                (false, true) => other,
                (true, true) | (false, false) => one && other,
            };
            assert!(told, "{first}, {second}: `{said}`");
        }
    }
    end(pool, &script).await;
}

/// Fields that are checked against each other.
fn group(field: &str) -> &str {
    match field {
        "minSize" | "maxSize" => "sizes",
        "scaleUpThreshold" | "scaleDownThreshold" => "thresholds",
        own => own,
    }
}

fn is_error(change: fn(&mut DynamicPoolConfig)) -> bool {
    let mut config = good();
    change(&mut config);
    config.validate().is_err()
}

#[tokio::test(start_paused = true)]
async fn what_runs_goes_on_after_each_refusal() {
    let (pool, script) = pool(0, 1);
    pool.set_dynamic_pool_config(good()).unwrap();
    settle().await;
    // Between two evaluations.
    tokio::time::sleep(ms(500)).await;
    for (name, change, _) in BAD {
        let mut config = good();
        change(&mut config);
        if config.validate().is_ok() {
            continue;
        }
        let before = pool.sizing_decisions().len();
        pool.set_dynamic_pool_config(config).unwrap_err();
        tokio::time::sleep(secs(3)).await;
        assert_eq!(pool.sizing_decisions().len(), before + 3, "{name}");
        assert_eq!(pool.dynamic_pool_config(), Some(good()), "{name}");
        assert_eq!(pool.limits(), Limits::new(5, 100).unwrap(), "{name}");
        assert_eq!(pool.target(), 5, "{name}");
    }
    end(pool, &script).await;
}
