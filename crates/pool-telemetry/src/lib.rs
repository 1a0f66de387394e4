//! Metrics, a live page and operations for elastic connection pools.
//!
//! Any pool on `pool-core`'s engine can be watched: those of `pool-postgres` and `pool-mongo`, and
//! any of your own. Everything is read from snapshots; nothing is added to a checkout.
//!
//! ```
//! use pool_core::{ConnectionManager, Pool};
//! use pool_telemetry::{Listener, Registry};
//!
//! # struct Files;
//! # impl ConnectionManager for Files {
//! #     type Connection = ();
//! #     type Error = std::io::Error;
//! #     async fn connect(&self) -> Result<(), std::io::Error> { Ok(()) }
//! #     async fn validate(&self, _: &mut ()) -> Result<(), std::io::Error> { Ok(()) }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let pool = Pool::builder(Files).name("orders").build()?;
//! let registry = Registry::new();
//! registry.register(pool.clone())?;
//!
//! let listener = Listener::builder(registry).address("127.0.0.1:0").start().await?;
//! println!("live page: http://{}", listener.address());
//! # let address = listener.address();
//! # assert!(address.ip().is_loopback());
//! listener.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Metrics
//!
//! [`METRICS`] is the one table of all metrics: the nine `db.client.connection.*` of
//! OpenTelemetry's semantic conventions and our own `pool.*`. From it come the text for Prometheus,
//! OTLP and for the `metrics` facade, the Grafana dashboard and the alert rules of this project.
//!
//! # Features
//!
//! | feature | adds |
//! |---|---|
//! | `http` (default) | `Listener`: `/metrics`, JSON, a stream of events, the live page, operations |
//! | `prometheus` | `TextFormat`: the table as text, for a listener of your own |
//! | `opentelemetry` | `OtlpExporter`: the table to a collector, by OTLP over HTTP |
//! | `opentelemetry-tls` | the same to a collector behind TLS |
//! | `metrics` | `MetricsBridge`: the table through the `metrics` facade, to a service's own exporter |
//! | `artifacts` | `artifacts`: the Grafana dashboard and the Prometheus rules that fit this version |
//!
//! # Security
//!
//! The listener binds loopback unless told otherwise, and changes a pool only for those who send
//! the token it was started with. What it shows comes from the pools, which never tell a password.

#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "artifacts")]
pub mod artifacts;
#[cfg(feature = "metrics")]
mod facade;
#[cfg(feature = "http")]
mod http;
mod metric;
#[cfg(feature = "opentelemetry")]
mod otlp;
#[cfg(any(feature = "metrics", feature = "opentelemetry"))]
mod periodic;
#[cfg(feature = "prometheus")]
mod prometheus;
mod registry;
mod table;

#[cfg(feature = "metrics")]
pub use crate::facade::{MetricsBridge, Publishing};
#[cfg(feature = "http")]
pub use crate::http::{Listener, ListenerBuilder, StartError};
pub use crate::metric::{Attribute, Kind, Metric, POOL_NAME, Point, Unit, Value};
#[cfg(feature = "opentelemetry")]
pub use crate::otlp::{OtlpBuilder, OtlpError, OtlpExporter, OtlpStatus};
#[cfg(feature = "prometheus")]
pub use crate::prometheus::TextFormat;
pub use crate::registry::{NameTaken, PoolReading, Registry};
pub use crate::table::{BUCKETS, METRICS, metric};

/// The examples of the README are compiled.
#[cfg(all(doctest, feature = "http"))]
#[doc = include_str!("../README.md")]
mod readme {}
