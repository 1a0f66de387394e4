//! The table to a collector, by OTLP over HTTP.

mod message;
mod settings;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use parking_lot::Mutex;
use prost::Message as _;
use secrecy::{ExposeSecret as _, SecretString};
use ureq::Agent;

pub use self::settings::{OtlpBuilder, OtlpError};
use crate::Registry;
use crate::periodic::Periodic;

const PROTOBUF: &str = "application/x-protobuf";

/// How much of a collector's answer is read.
const ANSWER: u64 = 64 << 10;

/// Sends the [table](crate::METRICS) to an OpenTelemetry collector, by OTLP over HTTP with protobuf,
/// until it is stopped or dropped.
///
/// Kinds, units and names are those of the table; sums and histograms are cumulative since the pool
/// was built, so that an export that failed is made good by the next one.
///
/// Not through instruments of OpenTelemetry's SDK: those of histograms take one time after another,
/// and a pool hands over what it has counted already.
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
///
/// use pool_telemetry::{OtlpExporter, Registry};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = Registry::new();
/// let exporter = OtlpExporter::builder(registry)
///     .url("http://collector:4318/v1/metrics")
///     .resource("service.name", "shop")
///     .interval(Duration::from_secs(15))
///     .environment()? // OTEL_EXPORTER_OTLP_ENDPOINT and the like, if they are set
///     .start()?;
/// // ... until the service ends:
/// exporter.stop().await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct OtlpExporter {
    status: Arc<Mutex<OtlpStatus>>,
    periodic: Periodic,
}

/// What has become of the exports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OtlpStatus {
    /// Exports that the collector took.
    pub exported: u64,
    /// Exports that it did not take, or not in full.
    pub failed: u64,
    /// What went wrong with the last export; nothing when it was taken.
    pub last_error: Option<String>,
}

impl OtlpExporter {
    /// Begins an exporter for the pools of `registry`, also for those that come later.
    pub fn builder(registry: Registry) -> OtlpBuilder {
        OtlpBuilder::new(registry)
    }

    /// What has become of the exports.
    #[must_use]
    pub fn status(&self) -> OtlpStatus {
        self.status.lock().clone()
    }

    /// Exports once more and ends, after twice the timeout at the latest.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it exports once more and ends all the same.
    pub async fn stop(self) {
        self.periodic.stop().await;
    }

    fn start(settings: OtlpBuilder) -> Result<Self, OtlpError> {
        let OtlpBuilder {
            registry,
            url,
            headers,
            resource,
            interval,
            timeout,
        } = settings;
        let collector = Collector::new(url, headers, timeout);
        let status = Arc::new(Mutex::new(OtlpStatus::default()));
        let told = Arc::clone(&status);
        let export = move || {
            let request = message::request(&registry.read(), &resource, SystemTime::now());
            let ended = collector.send(&request.encode_to_vec());
            note(&mut told.lock(), ended);
        };
        let periodic = Periodic::start("pool-otlp", interval, export).map_err(OtlpError::Thread)?;
        Ok(Self { status, periodic })
    }
}

/// Counts an export, and logs when exports begin to fail or to work again.
fn note(status: &mut OtlpStatus, ended: Result<(), String>) {
    match ended {
        Ok(()) => {
            status.exported += 1;
            if status.last_error.take().is_some() {
                tracing::info!("the collector takes the pools' metrics again");
            }
        }
        Err(error) => {
            status.failed += 1;
            if status.last_error.is_none() {
                tracing::warn!(error, "the collector did not take the pools' metrics");
            }
            status.last_error = Some(error);
        }
    }
}

/// Where exports go.
struct Collector {
    agent: Agent,
    url: String,
    headers: Vec<(String, SecretString)>,
}

impl Collector {
    fn new(url: String, headers: Vec<(String, SecretString)>, timeout: Duration) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would take the headers elsewhere.
            .max_redirects(0)
            .timeout_global(Some(timeout))
            .build()
            .into();
        Self {
            agent,
            url,
            headers,
        }
    }

    fn send(&self, message: &[u8]) -> Result<(), String> {
        let mut request = self.agent.post(&self.url).content_type(PROTOBUF);
        for (name, value) in &self.headers {
            request = request.header(name, value.expose_secret());
        }
        let mut answer = request.send(message).map_err(|error| error.to_string())?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("the collector answered {status}"));
        }
        let body = answer.body_mut().with_config().limit(ANSWER).read_to_vec();
        let body = body.map_err(|error| error.to_string())?;
        let taken = ExportMetricsServiceResponse::decode(&*body)
            .map_err(|error| format!("the collector's answer is not OTLP: {error}"))?;
        match taken.partial_success {
            Some(part) if part.rejected_data_points > 0 => Err(format!(
                "the collector turned down {} points: {}",
                part.rejected_data_points, part.error_message
            )),
            _ => Ok(()),
        }
    }
}
