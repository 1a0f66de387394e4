//! The crate from outside, over scripted connections.

#[cfg(feature = "metrics")]
mod facade;
#[cfg(feature = "http")]
mod listener;
#[cfg(any(feature = "metrics", feature = "opentelemetry", feature = "prometheus"))]
mod lived;
#[cfg(feature = "http")]
mod operations;
#[cfg(feature = "opentelemetry")]
mod otlp;
#[cfg(feature = "http")]
mod stream;
#[cfg(feature = "http")]
mod support;
#[cfg(feature = "prometheus")]
mod text;
