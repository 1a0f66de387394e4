//! The table through the `metrics` facade.

use std::collections::HashMap;
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use metrics::{Key, KeyName, Label, Level, Metadata, Recorder, SharedString};
use pool_core::Buckets;

use crate::metric::{Kind, Metric, POOL_NAME, Point, Unit, Value};
use crate::periodic::Periodic;
use crate::{BUCKETS, METRICS, PoolReading, Registry};

/// Publishes the [table](METRICS) to the recorder that the `metrics` facade has: the exporter that a
/// service already uses for its own metrics.
///
/// Names are those of OpenTelemetry, such as `db.client.connection.wait_time`; exporters write them
/// as their format wants.
///
/// - Counters are absolute values. They go on where they were when a pool is built anew under the
///   same name. The facade counts whole numbers, so `pool.connections.in_use_time` and
///   `pool.connections.open_time` are in milliseconds here, and are described as such.
/// - Up-down counters and gauges are gauges. Those of a pool that is watched no longer become zero,
///   since the facade cannot take a series back.
/// - Histograms get each time that has ended since the last publication, to two per cent, in
///   seconds. Times that ended before the bridge was made are not told. At 100,000 checkouts a
///   second an interval of ten seconds hands the recorder a million times in one go, outside every
///   runtime; choose a shorter interval if its memory matters.
///
/// # Example
///
/// ```
/// use std::time::Duration;
///
/// use pool_telemetry::{MetricsBridge, Registry};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new();
/// let publishing = MetricsBridge::new(registry).start(Duration::from_secs(10))?;
/// // ... until the service ends:
/// publishing.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct MetricsBridge {
    registry: Registry,
    pools: HashMap<String, Told>,
}

/// What the recorder has been told of one pool.
#[derive(Debug)]
struct Told {
    /// When the pool was built: another time is another pool.
    created: SystemTime,
    counters: HashMap<Key, Counted>,
    times: HashMap<&'static str, Vec<u64>>,
    gauges: Vec<Key>,
}

/// A counter that survives its pool.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    /// What pools before this one had counted.
    before: u64,
    last: u64,
}

impl Told {
    fn new(created: SystemTime) -> Self {
        Self {
            created,
            counters: HashMap::new(),
            times: HashMap::new(),
            gauges: Vec::new(),
        }
    }

    /// Another pool has come in the place of this one.
    fn follow(&mut self, created: SystemTime) {
        if self.created == created {
            return;
        }
        self.created = created;
        self.times.clear();
        for counted in self.counters.values_mut() {
            counted.before += counted.last;
            counted.last = 0;
        }
    }
}

impl MetricsBridge {
    /// A bridge for the pools of `registry`, also for those that come later.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        let mut pools = HashMap::new();
        for reading in registry.read() {
            let mut told = Told::new(reading.metrics().created);
            for metric in METRICS.iter().filter(|one| one.kind == Kind::Histogram) {
                let points = metric.points_within(&reading, fine_bounds());
                if let Some(Value::Times(times)) = points.first().map(|point| &point.value) {
                    told.times.insert(metric.name, with_all(times));
                }
            }
            pools.insert(reading.name().to_owned(), told);
        }
        Self { registry, pools }
    }

    /// Publishes once, to the recorder of this thread if it has its own, or else to the global one.
    /// Without a recorder nothing happens, and nothing is lost but times.
    pub fn publish(&mut self) {
        metrics::with_recorder(|recorder| self.publish_to(recorder));
    }

    /// Publishes at once and then once in each `interval`, from a thread of its own.
    ///
    /// # Errors
    ///
    /// The system has no thread.
    pub fn start(mut self, interval: Duration) -> io::Result<Publishing> {
        let periodic = Periodic::start("pool-metrics", interval, move || self.publish())?;
        Ok(Publishing { periodic })
    }

    fn publish_to(&mut self, recorder: &dyn Recorder) {
        for metric in METRICS {
            describe(recorder, metric);
        }
        let readings = self.registry.read();
        for reading in &readings {
            let created = reading.metrics().created;
            let told = self
                .pools
                .entry(reading.name().to_owned())
                .or_insert_with(|| Told::new(created));
            told.follow(created);
            told.gauges.clear();
            for metric in METRICS {
                for point in metric.points_within(reading, fine_bounds()) {
                    tell(recorder, told, metric, reading, point);
                }
            }
        }
        for (name, told) in &mut self.pools {
            if readings.iter().all(|reading| reading.name() != name) {
                for gauge in told.gauges.drain(..) {
                    recorder.register_gauge(&gauge, &METADATA).set(0.0);
                }
            }
        }
    }
}

/// A bridge at work. It ends with this value.
#[derive(Debug)]
#[must_use = "it publishes until this value is dropped"]
pub struct Publishing {
    periodic: Periodic,
}

impl Publishing {
    /// Publishes once more and ends.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it publishes once more and ends all the same.
    pub async fn stop(self) {
        self.periodic.stop().await;
    }
}

const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// A counter of the facade is a whole number.
fn in_milliseconds(metric: &Metric) -> bool {
    metric.kind == Kind::Counter && metric.unit == Unit::Seconds
}

fn describe(recorder: &dyn Recorder, metric: &Metric) {
    let name = KeyName::from_const_str(metric.name);
    let unit = match metric.unit {
        Unit::Of(_) => Some(metrics::Unit::Count),
        Unit::Ratio => None,
        Unit::Seconds if in_milliseconds(metric) => Some(metrics::Unit::Milliseconds),
        Unit::Seconds => Some(metrics::Unit::Seconds),
    };
    let help = SharedString::const_str(metric.help);
    match metric.kind {
        Kind::Counter => recorder.describe_counter(name, unit, help),
        Kind::UpDownCounter | Kind::Gauge => recorder.describe_gauge(name, unit, help),
        Kind::Histogram => recorder.describe_histogram(name, unit, help),
    }
}

fn tell(
    recorder: &dyn Recorder,
    told: &mut Told,
    metric: &'static Metric,
    reading: &PoolReading,
    point: Point,
) {
    let pool = Label::new(POOL_NAME, reading.name().to_owned());
    let own = point.attributes.into_iter();
    let own = own.map(|(name, value)| Label::new(name, value.into_owned()));
    let labels: Vec<_> = std::iter::once(pool).chain(own).collect();
    let key = Key::from_parts(metric.name, labels);
    let number = match point.value {
        Value::Times(times) => {
            let histogram = recorder.register_histogram(&key, &METADATA);
            let counts = with_all(&times);
            let then = told.times.entry(metric.name).or_default();
            then.resize(counts.len(), 0);
            let (mut below, mut below_then) = (0, 0);
            for (at, (count, count_then)) in counts.iter().zip(then.iter()).enumerate() {
                let ended = (count - below).saturating_sub(count_then - below_then);
                (below, below_then) = (*count, *count_then);
                if ended > 0 {
                    histogram.record_many(within(at), usize::try_from(ended).unwrap_or(usize::MAX));
                }
            }
            *then = counts;
            return;
        }
        #[allow(
            clippy::cast_precision_loss,
            reason = "gauges are such numbers, and counters of things are told apart below"
        )]
        Value::Count(count) => count as f64,
        Value::Number(number) => number,
    };
    if metric.kind != Kind::Counter {
        recorder.register_gauge(&key, &METADATA).set(number);
        told.gauges.push(key);
        return;
    }
    let whole = match point.value {
        Value::Count(count) => count,
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "milliseconds since a pool was built, which are positive"
        )]
        _ => (number * 1e3) as u64,
    };
    let counter = recorder.register_counter(&key, &METADATA);
    let counted = told.counters.entry(key).or_default();
    counted.last = whole;
    counter.absolute(counted.before + counted.last);
}

/// The cumulative counts, and the count of all at the end: the last bucket has no bound.
fn with_all(times: &Buckets) -> Vec<u64> {
    let below = times.cumulative.iter().copied();
    below.chain([times.count]).collect()
}

/// Bounds two per cent apart, from a microsecond to an hour, and those of [`BUCKETS`], so that what
/// counts into the same buckets counts the same.
fn fine_bounds() -> &'static [Duration] {
    static BOUNDS: OnceLock<Vec<Duration>> = OnceLock::new();
    BOUNDS.get_or_init(|| {
        let mut bounds = BUCKETS.to_vec();
        let mut bound = 1e-6;
        while bound <= 3_600.0 {
            bounds.push(Duration::from_secs_f64(bound));
            bound *= 1.02;
        }
        bounds.sort_unstable();
        bounds.dedup();
        bounds
    })
}

/// A time, in seconds, within the fine bucket of this number.
fn within(at: usize) -> f64 {
    let bounds = fine_bounds();
    match (
        at.checked_sub(1).map(|before| bounds[before]),
        bounds.get(at),
    ) {
        // Most of all those that did not wait.
        (None, _) => 0.0,
        (Some(from), Some(to)) => (from.as_secs_f64() * to.as_secs_f64()).sqrt(),
        (Some(from), None) => from.as_secs_f64(),
    }
}
