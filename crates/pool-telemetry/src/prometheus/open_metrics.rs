//! OpenMetrics 1.0.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::labels;
use crate::metric::Kind;
use crate::{BUCKETS, METRICS, PoolReading, Value};

pub(super) fn render(readings: &[PoolReading]) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Readings(readings.to_vec())));
    let mut text = String::new();
    text::encode(&mut text, &registry).expect("a string takes all that is written to it");
    text
}

#[derive(Debug)]
struct Readings(Vec<PoolReading>);

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Self(readings) = self;
        if readings.is_empty() {
            return Ok(());
        }
        for metric in METRICS {
            let unit = metric.unit.prometheus().map(|unit| match unit {
                "seconds" => Unit::Seconds,
                other => Unit::Other(other.to_owned()),
            });
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::UpDownCounter | Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let name = metric.base();
            let mut family = encoder.encode_descriptor(&name, metric.help, unit.as_ref(), kind)?;
            for reading in readings {
                for point in metric.points(reading) {
                    let labels: Vec<_> = labels(reading, &point).collect();
                    let mut sample = family.encode_family(&labels)?;
                    match (&point.value, metric.kind) {
                        (Value::Times(times), _) => {
                            let mut below = 0;
                            let mut buckets: Vec<_> = BUCKETS
                                .iter()
                                .zip(&times.cumulative)
                                .map(|(bound, count)| {
                                    let own = count - below;
                                    below = *count;
                                    (bound.as_secs_f64(), own)
                                })
                                .collect();
                            buckets.push((f64::INFINITY, times.count - below));
                            let sum = times.sum.as_secs_f64();
                            sample.encode_histogram::<NoLabelSet>(
                                sum,
                                times.count,
                                &buckets,
                                None,
                            )?;
                        }
                        (Value::Count(count), Kind::Counter) => {
                            sample.encode_counter::<NoLabelSet, _, u64>(count, None)?;
                        }
                        (Value::Number(number), Kind::Counter) => {
                            sample.encode_counter::<NoLabelSet, _, u64>(number, None)?;
                        }
                        (Value::Count(count), _) => sample.encode_gauge(count)?,
                        (Value::Number(number), _) => sample.encode_gauge(number)?,
                    }
                }
            }
        }
        Ok(())
    }
}
