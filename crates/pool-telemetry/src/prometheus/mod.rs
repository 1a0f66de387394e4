//! The table as text for Prometheus.

mod classic;
mod open_metrics;

use crate::{POOL_NAME, PoolReading};

/// The metrics of the pools as text that Prometheus scrapes.
///
/// # Example
///
/// ```
/// let registry = pool_telemetry::Registry::new();
/// let (content_type, text) = pool_telemetry::TextFormat::Classic.render(&registry.read());
/// assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
/// assert!(text.is_empty(), "no pool, no series");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TextFormat {
    /// Prometheus' own format, version 0.0.4.
    #[default]
    Classic,
    /// OpenMetrics 1.0, which also tells the units.
    OpenMetrics,
}

impl TextFormat {
    /// The format that a scraper asks for in its `Accept` header.
    #[must_use]
    pub fn accepted(accept: &str) -> Self {
        let named = |part: &str| {
            part.trim_start()
                .starts_with("application/openmetrics-text")
        };
        if accept.split(',').any(named) {
            Self::OpenMetrics
        } else {
            Self::Classic
        }
    }

    /// The content type and the text.
    #[must_use]
    pub fn render(self, readings: &[PoolReading]) -> (&'static str, String) {
        match self {
            Self::Classic => (
                "text/plain; version=0.0.4; charset=utf-8",
                classic::render(readings),
            ),
            Self::OpenMetrics => (
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
                open_metrics::render(readings),
            ),
        }
    }
}

/// The label that an attribute becomes.
fn label(attribute: &str) -> String {
    attribute.replace('.', "_")
}

/// The labels of a point: the pool's name, then its own.
fn labels<'p>(
    reading: &'p PoolReading,
    point: &'p crate::Point,
) -> impl Iterator<Item = (String, &'p str)> {
    let own = point.attributes.iter();
    std::iter::once((label(POOL_NAME), reading.name()))
        .chain(own.map(|(name, value)| (label(name), &**value)))
}
