//! A reading of the pools as OTLP's message.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::metric::{Kind, Unit};
use crate::{BUCKETS, METRICS, POOL_NAME, Point, PoolReading, Value};

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// Everything that the pools say at `now`, as of the thing that `resource` describes.
pub(super) fn request(
    readings: &[PoolReading],
    resource: &[(String, String)],
    now: SystemTime,
) -> ExportMetricsServiceRequest {
    let metrics = METRICS.iter().map(|row| Metric {
        name: row.name.to_owned(),
        description: row.help.to_owned(),
        unit: row.unit.as_str().to_owned(),
        data: Some(data(row, readings, now)),
        ..Metric::default()
    });
    let scope = ScopeMetrics {
        scope: Some(InstrumentationScope {
            name: env!("CARGO_PKG_NAME").to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        }),
        metrics: metrics.collect(),
        ..ScopeMetrics::default()
    };
    let attributes = resource.iter().map(|(name, value)| attribute(name, value));
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: attributes.collect(),
                ..Resource::default()
            }),
            scope_metrics: vec![scope],
            ..ResourceMetrics::default()
        }],
    }
}

fn data(row: &crate::Metric, readings: &[PoolReading], now: SystemTime) -> metric::Data {
    let points = readings.iter().flat_map(|reading| {
        row.points(reading)
            .into_iter()
            .map(move |point| (reading, point))
    });
    if row.kind == Kind::Histogram {
        let data_points = points.map(|(reading, point)| times(reading, &point, now));
        return metric::Data::Histogram(Histogram {
            data_points: data_points.collect(),
            aggregation_temporality: CUMULATIVE,
        });
    }
    let data_points = points
        .map(|(reading, point)| number(row, reading, &point, now))
        .collect();
    match row.kind {
        Kind::Gauge => metric::Data::Gauge(Gauge { data_points }),
        kind => metric::Data::Sum(Sum {
            data_points,
            aggregation_temporality: CUMULATIVE,
            is_monotonic: kind == Kind::Counter,
        }),
    }
}

fn number(
    row: &crate::Metric,
    reading: &PoolReading,
    point: &Point,
    now: SystemTime,
) -> NumberDataPoint {
    let whole = matches!(row.unit, Unit::Of(_));
    let value = match &point.value {
        Value::Count(count) => number_data_point::Value::AsInt(clamped(*count)),
        #[allow(
            clippy::cast_possible_truncation,
            reason = "a number of things is whole"
        )]
        Value::Number(number) if whole => number_data_point::Value::AsInt(*number as i64),
        Value::Number(number) => number_data_point::Value::AsDouble(*number),
        Value::Times(times) => number_data_point::Value::AsInt(clamped(times.count)),
    };
    NumberDataPoint {
        attributes: attributes(reading, point),
        // What is not added up has no beginning.
        start_time_unix_nano: match row.kind {
            Kind::Gauge => 0,
            _ => nanos(reading.metrics().created),
        },
        time_unix_nano: nanos(now),
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn times(reading: &PoolReading, point: &Point, now: SystemTime) -> HistogramDataPoint {
    let empty = HistogramDataPoint {
        attributes: attributes(reading, point),
        start_time_unix_nano: nanos(reading.metrics().created),
        time_unix_nano: nanos(now),
        explicit_bounds: BUCKETS.iter().map(|bound| bound.as_secs_f64()).collect(),
        bucket_counts: vec![0; BUCKETS.len() + 1],
        ..HistogramDataPoint::default()
    };
    let Value::Times(times) = &point.value else {
        return empty;
    };
    let mut below = 0;
    // The last bucket has no bound.
    let counts = times.cumulative.iter().chain([&times.count]);
    let own = counts.map(|count| count - std::mem::replace(&mut below, *count));
    HistogramDataPoint {
        bucket_counts: own.collect(),
        count: times.count,
        sum: Some(times.sum.as_secs_f64()),
        ..empty
    }
}

/// The attributes of a point: the pool's name, then its own.
fn attributes(reading: &PoolReading, point: &Point) -> Vec<KeyValue> {
    let own = point.attributes.iter();
    std::iter::once(attribute(POOL_NAME, reading.name()))
        .chain(own.map(|(name, value)| attribute(name, value)))
        .collect()
}

fn attribute(name: &str, value: &str) -> KeyValue {
    KeyValue {
        key: name.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

fn clamped(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
