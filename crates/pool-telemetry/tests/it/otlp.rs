//! Exports to a collector of the test's own, which reads what the protocol says.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, metric, number_data_point};
use pool_telemetry::{BUCKETS, Kind, METRICS, OtlpExporter, POOL_NAME, Registry, Unit, Value};
use prost::Message as _;

use crate::lived::lived;

const KEY: &str = "Bearer a key that nobody prints";

type Answer = (StatusCode, Vec<u8>);

/// A collector: what came, and what it answers next.
#[derive(Clone, Default)]
struct Collector {
    taken: Arc<Mutex<Vec<(HeaderMap, ExportMetricsServiceRequest)>>>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Collector {
    async fn start(&self) -> String {
        let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/metrics", listening.local_addr().unwrap());
        let router = Router::new()
            .route("/v1/metrics", post(take))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listening, router).await });
        url
    }

    fn answers(&self, status: u16, body: &[u8]) {
        let status = StatusCode::from_u16(status).unwrap();
        self.answers.lock().unwrap().push((status, body.to_vec()));
    }

    fn last(&self) -> ExportMetricsServiceRequest {
        self.taken.lock().unwrap().last().unwrap().1.clone()
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> Answer {
    let request = ExportMetricsServiceRequest::decode(body).expect("the protocol's message");
    collector.taken.lock().unwrap().push((headers, request));
    let mut answers = collector.answers.lock().unwrap();
    if answers.is_empty() {
        return (
            StatusCode::OK,
            ExportMetricsServiceResponse::default().encode_to_vec(),
        );
    }
    answers.remove(0)
}

/// Name and value of each attribute.
fn pairs(attributes: &[KeyValue]) -> Vec<(String, String)> {
    attributes
        .iter()
        .map(
            |one| match one.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(any_value::Value::StringValue(text)) => (one.key.clone(), text.clone()),
                other => panic!("{}: {other:?}", one.key),
            },
        )
        .collect()
}

/// What a number says, and whether it is a whole one.
fn number(value: Option<number_data_point::Value>) -> (f64, bool) {
    match value.unwrap() {
        number_data_point::Value::AsInt(number) => (number as f64, true),
        number_data_point::Value::AsDouble(number) => (number, false),
    }
}

fn nanos(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_arrives_with_its_kind_unit_attributes_and_values() {
    let (pool, registry) = lived().await;
    let collector = Collector::default();
    let url = collector.start().await;
    let began = nanos(SystemTime::now());
    let exporter = OtlpExporter::builder(registry.clone())
        .url(url)
        .header("authorization", KEY)
        .resource("service.name", "shop")
        .start()
        .unwrap();
    assert!(!format!("{exporter:?}").contains("nobody prints"));
    exporter.stop().await;

    let (headers, request) = collector.taken.lock().unwrap().last().unwrap().clone();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["authorization"], KEY);
    let [resource] = &request.resource_metrics[..] else {
        panic!("{request:?}");
    };
    let described = pairs(&resource.resource.as_ref().unwrap().attributes);
    assert_eq!(described, [("service.name".to_owned(), "shop".to_owned())]);
    let [scope] = &resource.scope_metrics[..] else {
        panic!("{resource:?}");
    };
    assert_eq!(scope.scope.as_ref().unwrap().name, "pool-telemetry");

    let [reading] = &registry.read()[..] else {
        panic!("one pool");
    };
    let created = nanos(pool.pool_metrics().created);
    assert_eq!(scope.metrics.len(), METRICS.len());
    for (row, came) in METRICS.iter().zip(&scope.metrics) {
        let name = row.name;
        assert_eq!(came.name, name);
        assert_eq!(came.unit, row.unit.as_str(), "{name}");
        assert_eq!(came.description, row.help, "{name}");
        let expected = row.points(reading);
        // What time moves on by itself, also of a pool at rest.
        let moves = name.ends_with("_use_time") || name.ends_with("open_time");
        let moves = moves && row.kind == Kind::Counter || name == "pool.utilisation";
        let check = |at: usize, attributes: &[KeyValue], start: u64, time: u64| {
            let mut own = vec![(POOL_NAME.to_owned(), reading.name().to_owned())];
            let point = &expected[at];
            let pair = |(name, value): &(&str, std::borrow::Cow<'_, str>)| {
                ((*name).to_owned(), value.clone().into_owned())
            };
            own.extend(point.attributes.iter().map(pair));
            assert_eq!(pairs(attributes), own, "{name}");
            let beginning = if row.kind == Kind::Gauge { 0 } else { created };
            assert_eq!(start, beginning, "{name}");
            assert!((began..=nanos(SystemTime::now())).contains(&time), "{name}");
        };
        match (row.kind, came.data.as_ref().unwrap()) {
            (Kind::Histogram, metric::Data::Histogram(histogram)) => {
                let cumulative = AggregationTemporality::Cumulative;
                assert_eq!(histogram.aggregation_temporality(), cumulative, "{name}");
                assert_eq!(histogram.data_points.len(), expected.len(), "{name}");
                for (at, point) in histogram.data_points.iter().enumerate() {
                    let (start, time) = (point.start_time_unix_nano, point.time_unix_nano);
                    check(at, &point.attributes, start, time);
                    let Value::Times(times) = &expected[at].value else {
                        panic!("{name}: {expected:?}");
                    };
                    assert!(times.count > 0, "{name}");
                    assert_eq!(point.count, times.count, "{name}");
                    assert_eq!(point.sum, Some(times.sum.as_secs_f64()), "{name}");
                    let bounds = BUCKETS.map(|bound| bound.as_secs_f64());
                    assert_eq!(point.explicit_bounds, bounds, "{name}");
                    assert_eq!(point.bucket_counts.len(), bounds.len() + 1, "{name}");
                    assert_eq!(
                        point.bucket_counts.iter().sum::<u64>(),
                        times.count,
                        "{name}"
                    );
                    for (bound, below) in times.cumulative.iter().enumerate() {
                        let sum: u64 = point.bucket_counts[..=bound].iter().sum();
                        assert_eq!(sum, *below, "{name} at {bound}");
                    }
                }
            }
            (kind, data) => {
                let points = match (kind, data) {
                    (Kind::Gauge, metric::Data::Gauge(gauge)) => &gauge.data_points,
                    (Kind::Counter | Kind::UpDownCounter, metric::Data::Sum(sum)) => {
                        assert_eq!(sum.is_monotonic, kind == Kind::Counter, "{name}");
                        let cumulative = AggregationTemporality::Cumulative;
                        assert_eq!(sum.aggregation_temporality(), cumulative, "{name}");
                        &sum.data_points
                    }
                    other => panic!("{name}: {other:?}"),
                };
                assert_eq!(points.len(), expected.len(), "{name}");
                for (at, point) in points.iter().enumerate() {
                    let (start, time) = (point.start_time_unix_nano, point.time_unix_nano);
                    check(at, &point.attributes, start, time);
                    let (value, whole) = number(point.value);
                    assert_eq!(whole, matches!(row.unit, Unit::Of(_)), "{name}");
                    let ours = match &expected[at].value {
                        Value::Count(count) => *count as f64,
                        Value::Number(number) => *number,
                        other => panic!("{name}: {other:?}"),
                    };
                    assert!(
                        if moves { value <= ours } else { value == ours },
                        "{name}: {value} {ours}"
                    );
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exports_follow_each_other_and_make_good_what_failed() {
    let (pool, registry) = lived().await;
    let collector = Collector::default();
    let url = collector.start().await;
    collector.answers(503, b"");
    collector.answers(200, b"<html>");
    let rejected = ExportMetricsServiceResponse {
        partial_success: Some(ExportMetricsPartialSuccess {
            rejected_data_points: 3,
            error_message: "too many".to_owned(),
        }),
    };
    collector.answers(200, &rejected.encode_to_vec());
    let exporter = OtlpExporter::builder(registry)
        .url(url)
        // Each error is there to be seen until the next export.
        .interval(Duration::from_millis(500))
        .start()
        .unwrap();
    let mut errors: Vec<String> = Vec::new();
    while exporter.status().exported < 2 {
        if let Some(error) = exporter.status().last_error
            && errors.last() != Some(&error)
        {
            errors.push(error);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let status = exporter.status();
    assert_eq!((status.failed, status.last_error), (3, None), "{errors:?}");
    for (error, part) in errors.iter().zip(["503", "not OTLP", "too many"]) {
        assert!(error.contains(part), "{errors:?}");
    }
    // What happens after the last export is in the one that ends it.
    drop(pool.acquire().await.unwrap());
    exporter.stop().await;
    let request = collector.last();
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let immediate = metrics
        .iter()
        .find(|one| one.name == "pool.acquire.immediate");
    let Some(metric::Data::Sum(sum)) = &immediate.unwrap().data else {
        panic!("{immediate:?}");
    };
    let counted = pool.pool_metrics().counters.acquired_immediately;
    assert_eq!(number(sum.data_points[0].value), (counted as f64, true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_hangs_holds_up_nobody() {
    // It takes connections, in its queue, and answers none.
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/metrics", hanging.local_addr().unwrap());
    let exporter = OtlpExporter::builder(Registry::new())
        .url(url)
        .timeout(Duration::from_millis(200))
        .start()
        .unwrap();
    let began = std::time::Instant::now();
    exporter.stop().await;
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}
