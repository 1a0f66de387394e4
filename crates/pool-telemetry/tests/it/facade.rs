//! The table through the facade, to a recorder of the test's own.

use std::collections::BTreeMap;
use std::time::Duration;

use metrics::Unit;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use pool_core::Pool;
use pool_telemetry::{BUCKETS, Kind, METRICS, MetricsBridge, POOL_NAME, Registry, Value};
use pool_testkit::ScriptedManager;

use crate::lived::lived;

/// Each series with its labels: unit, help, value.
type Told = BTreeMap<(String, Vec<(String, String)>), (Option<Unit>, String, DebugValue)>;

fn told(snapshotter: &Snapshotter) -> Told {
    let snapshot = snapshotter.snapshot().into_vec().into_iter();
    snapshot
        .map(|(key, unit, help, value)| {
            let labels = key.key().labels();
            let labels = labels.map(|label| (label.key().to_owned(), label.value().to_owned()));
            let series = (key.key().name().to_owned(), labels.collect());
            (series, (unit, help.unwrap_or_default().to_string(), value))
        })
        .collect()
}

/// Publishes to the recorder, and says what it was told.
fn publish(bridge: &mut MetricsBridge, recorder: &DebuggingRecorder) -> Told {
    metrics::with_local_recorder(recorder, || bridge.publish());
    told(&recorder.snapshotter())
}

fn series(metric: &str, pool: &str) -> (String, Vec<(String, String)>) {
    let name = (POOL_NAME.to_owned(), pool.to_owned());
    (metric.to_owned(), vec![name])
}

#[track_caller]
fn counter(told: &Told, metric: &str) -> u64 {
    match &told[&series(metric, "orders")].2 {
        DebugValue::Counter(value) => *value,
        other => panic!("{metric}: {other:?}"),
    }
}

fn pool(name: &str) -> Pool<ScriptedManager> {
    let (manager, _script) = ScriptedManager::new();
    Pool::builder(manager)
        .name(name)
        .limits(0, 2)
        .build()
        .unwrap()
}

#[tokio::test]
async fn every_metric_is_told_with_its_kind_unit_help_and_values() {
    let recorder = DebuggingRecorder::new();
    let empty = Registry::new();
    let mut bridge = MetricsBridge::new(empty.clone());
    let (pool, _) = lived().await;
    empty.register(pool.clone()).unwrap();
    let told = publish(&mut bridge, &recorder);
    let readings = empty.read();
    let [reading] = &readings[..] else {
        panic!("one pool");
    };
    let mut expected = 0;
    for metric in METRICS {
        let name = metric.name;
        for point in metric.points(reading) {
            expected += 1;
            let (_, mut labels) = series(name, reading.name());
            let own = point.attributes.into_iter();
            labels.extend(own.map(|(name, value)| (name.to_owned(), value.into_owned())));
            let (unit, help, value) = &told[&(name.to_owned(), labels)];
            assert_eq!(help, metric.help);
            let seconds = metric.unit == pool_telemetry::Unit::Seconds;
            let known = match metric.kind {
                _ if metric.unit == pool_telemetry::Unit::Ratio => None,
                Kind::Counter if seconds => Some(Unit::Milliseconds),
                _ if seconds => Some(Unit::Seconds),
                _ => Some(Unit::Count),
            };
            assert_eq!(unit, &known, "{name}");
            match (metric.kind, value, point.value) {
                (Kind::Counter, DebugValue::Counter(value), Value::Count(count)) => {
                    assert_eq!(*value, count, "{name}");
                }
                (Kind::Counter, DebugValue::Counter(millis), Value::Number(seconds)) => {
                    let (millis, ours) = (*millis as f64, seconds * 1e3);
                    assert!(
                        millis <= ours && ours - millis < 5e3,
                        "{name}: {millis} {ours}"
                    );
                    assert!(millis > 0.0, "{name}");
                }
                (Kind::UpDownCounter | Kind::Gauge, DebugValue::Gauge(value), number) => {
                    let Value::Number(number) = number else {
                        panic!("{name}: {number:?}");
                    };
                    if name != "pool.utilisation" {
                        assert_eq!(value.into_inner(), number, "{name}");
                    }
                }
                (Kind::Histogram, DebugValue::Histogram(values), Value::Times(times)) => {
                    assert!(times.count > 0, "{name}");
                    assert_eq!(values.len() as u64, times.count, "{name}");
                    for (bound, below) in BUCKETS.iter().zip(&times.cumulative) {
                        let bound = bound.as_secs_f64();
                        let told = values
                            .iter()
                            .filter(|one| one.into_inner() <= bound)
                            .count();
                        assert_eq!(told as u64, *below, "{name} at {bound}");
                    }
                    let sum: f64 = values.iter().map(|one| one.into_inner()).sum();
                    let ours = times.sum.as_secs_f64();
                    assert!(
                        (sum - ours).abs() <= 0.03 * ours + 1e-6,
                        "{name}: {sum} {ours}"
                    );
                }
                other => panic!("{name}: {other:?}"),
            }
        }
    }
    assert_eq!(told.len(), expected);
}

#[tokio::test]
async fn each_time_is_told_once() {
    let recorder = DebuggingRecorder::new();
    let registry = Registry::new();
    let pool = pool("orders");
    registry.register(pool.clone()).unwrap();
    drop(pool.acquire().await.unwrap());
    // This one had ended before there was a bridge.
    let mut bridge = MetricsBridge::new(registry);
    let times = |told: &Told| match told.get(&series("db.client.connection.use_time", "orders")) {
        Some((_, _, DebugValue::Histogram(values))) => values.len(),
        _ => 0,
    };
    assert_eq!(times(&publish(&mut bridge, &recorder)), 0);
    drop(pool.acquire().await.unwrap());
    drop(pool.acquire().await.unwrap());
    // The recorder hands out values of histograms once.
    assert_eq!(times(&publish(&mut bridge, &recorder)), 2);
    let told = publish(&mut bridge, &recorder);
    assert_eq!(times(&told), 0);
    assert_eq!(counter(&told, "pool.acquire.immediate"), 2);
}

#[tokio::test]
async fn counters_go_on_where_another_pool_takes_over() {
    let recorder = DebuggingRecorder::new();
    let registry = Registry::new();
    let mut bridge = MetricsBridge::new(registry.clone());
    let first = pool("orders");
    registry.register(first.clone()).unwrap();
    for _ in 0..3 {
        drop(first.acquire().await.unwrap());
    }
    let told = publish(&mut bridge, &recorder);
    assert_eq!(counter(&told, "pool.acquire.immediate"), 2);
    registry.unregister("orders");
    let told = publish(&mut bridge, &recorder);
    let DebugValue::Gauge(most) = told[&series("db.client.connection.max", "orders")].2 else {
        panic!("a gauge");
    };
    assert_eq!(most.into_inner(), 0.0, "nobody watches that pool");
    // The same one again, then another one.
    registry.register(first.clone()).unwrap();
    let told = publish(&mut bridge, &recorder);
    assert_eq!(counter(&told, "pool.acquire.immediate"), 2);
    first.close(Duration::from_secs(1)).await;
    let second = pool("orders");
    registry.register(second.clone()).unwrap();
    for _ in 0..2 {
        drop(second.acquire().await.unwrap());
    }
    let told = publish(&mut bridge, &recorder);
    assert_eq!(counter(&told, "pool.acquire.immediate"), 3);
    assert_eq!(counter(&told, "pool.connections.opened"), 2);
}

/// The only test of this program with a global recorder.
#[tokio::test]
async fn it_publishes_by_itself_to_the_global_recorder() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    metrics::set_global_recorder(recorder).unwrap();
    let registry = Registry::new();
    let pool = pool("orders");
    registry.register(pool.clone()).unwrap();
    let bridge = MetricsBridge::new(registry);
    let publishing = bridge.start(Duration::from_secs(3_600)).unwrap();
    drop(pool.acquire().await.unwrap());
    // At the end at the latest.
    publishing.stop().await;
    assert_eq!(counter(&told(&snapshotter), "pool.connections.opened"), 1);
}
