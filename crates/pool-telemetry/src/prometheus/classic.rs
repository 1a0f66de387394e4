//! Prometheus' own text format.

use prometheus::TextEncoder;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};

use super::labels;
use crate::metric::Kind;
use crate::{BUCKETS, METRICS, Point, PoolReading, Value};

pub(super) fn render(readings: &[PoolReading]) -> String {
    if readings.is_empty() {
        return String::new();
    }
    let families: Vec<_> = METRICS
        .iter()
        .map(|metric| {
            let mut family = MetricFamily::default();
            family.set_name(metric.prometheus_name());
            family.set_help(metric.help.to_owned());
            family.set_field_type(match metric.kind {
                Kind::Counter => MetricType::COUNTER,
                Kind::UpDownCounter | Kind::Gauge => MetricType::GAUGE,
                Kind::Histogram => MetricType::HISTOGRAM,
            });
            let points = readings.iter().flat_map(|reading| {
                let points = metric.points(reading).into_iter();
                points.map(|point| sample(metric.kind, reading, &point))
            });
            family.set_metric(points.collect());
            family
        })
        // Of what no pool has there is nothing to say, and the encoder takes it for an error.
        .filter(|family| !family.get_metric().is_empty())
        .collect();
    TextEncoder::new()
        .encode_to_string(&families)
        .expect("families of one kind each, written to a string")
}

fn sample(kind: Kind, reading: &PoolReading, point: &Point) -> Metric {
    let labels = labels(reading, point).map(|(name, value)| {
        let mut label = LabelPair::default();
        label.set_name(name);
        label.set_value(value.to_owned());
        label
    });
    let mut sample = Metric::from_label(labels.collect());
    #[allow(
        clippy::cast_precision_loss,
        reason = "the format knows only such numbers"
    )]
    let number = match &point.value {
        Value::Count(count) => *count as f64,
        Value::Number(number) => *number,
        Value::Times(times) => {
            let mut histogram = Histogram::default();
            histogram.set_sample_count(times.count);
            histogram.set_sample_sum(times.sum.as_secs_f64());
            let buckets = BUCKETS.iter().zip(&times.cumulative).map(|(bound, count)| {
                let mut bucket = Bucket::default();
                bucket.set_upper_bound(bound.as_secs_f64());
                bucket.set_cumulative_count(*count);
                bucket
            });
            histogram.set_bucket(buckets.collect());
            sample.set_histogram(histogram);
            return sample;
        }
    };
    if kind == Kind::Counter {
        let mut counter = Counter::default();
        counter.set_value(number);
        sample.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(number);
        sample.set_gauge(gauge);
    }
    sample
}
