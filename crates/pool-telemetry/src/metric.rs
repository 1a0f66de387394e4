//! What a metric is: its name, kind, unit, help and attributes, and how it is read.

use std::borrow::Cow;
use std::time::Duration;

use pool_core::Buckets;

use crate::{BUCKETS, PoolReading};

/// The attribute that every metric has: the name of the pool.
pub const POOL_NAME: &str = "db.client.connection.pool.name";

/// One row of the [table](crate::METRICS).
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Metric {
    /// The name in OpenTelemetry's spelling, such as `db.client.connection.wait_time`.
    pub name: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// What its values count.
    pub unit: Unit,
    /// One sentence for people.
    pub help: &'static str,
    /// Its attributes beside [`POOL_NAME`].
    pub attributes: &'static [Attribute],
    /// The name under which Prometheus scrapes it, without what the kind and the unit add.
    pub(crate) prometheus: Option<&'static str>,
    pub(crate) read: fn(&PoolReading, &mut Points<'_>),
}

/// An attribute of a metric with the values that it takes.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Attribute {
    /// Its name in OpenTelemetry's spelling.
    pub name: &'static str,
    /// The values that are always there, so that a series begins at zero. Others may come.
    pub values: &'static [&'static str],
}

/// How the values of a metric behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Only grows, until the pool is built anew.
    Counter,
    /// A value that can be added up over pools; goes up and down.
    UpDownCounter,
    /// A value that cannot be added up; goes up and down.
    Gauge,
    /// Times counted into [`BUCKETS`](crate::BUCKETS).
    Histogram,
}

impl Kind {
    /// The type that Prometheus knows.
    #[must_use]
    pub const fn prometheus(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter | Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What the values of a metric count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Things, named in braces as OpenTelemetry wants it, such as `{connection}`.
    Of(&'static str),
    /// A part of one.
    Ratio,
    /// Seconds.
    Seconds,
}

impl Unit {
    /// The unit in UCUM's spelling.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Of(things) => things,
            Self::Ratio => "1",
            Self::Seconds => "s",
        }
    }

    /// What Prometheus appends to the name; things in braces append nothing.
    #[must_use]
    pub const fn prometheus(self) -> Option<&'static str> {
        match self {
            Self::Of(_) => None,
            Self::Ratio => Some("ratio"),
            Self::Seconds => Some("seconds"),
        }
    }
}

impl Metric {
    pub(crate) const fn new(
        name: &'static str,
        kind: Kind,
        unit: Unit,
        help: &'static str,
        read: fn(&PoolReading, &mut Points<'_>),
    ) -> Self {
        Self {
            name,
            kind,
            unit,
            help,
            attributes: &[],
            prometheus: None,
            read,
        }
    }

    pub(crate) const fn by(self, attributes: &'static [Attribute]) -> Self {
        Self { attributes, ..self }
    }

    pub(crate) const fn called(self, prometheus: &'static str) -> Self {
        Self {
            prometheus: Some(prometheus),
            ..self
        }
    }

    /// The name without the suffix of a counter, as OpenMetrics declares it:
    /// `pool_connections_in_use_time_seconds`.
    #[must_use]
    pub fn family(&self) -> String {
        let name = self.base();
        match self.unit.prometheus() {
            Some(unit) => format!("{name}_{unit}"),
            None => name,
        }
    }

    /// The name without suffixes.
    pub(crate) fn base(&self) -> String {
        self.prometheus
            .map_or_else(|| self.name.replace('.', "_"), str::to_owned)
    }

    /// The name under which Prometheus scrapes it; a histogram's series add `_bucket`, `_sum` and
    /// `_count`.
    #[must_use]
    pub fn prometheus_name(&self) -> String {
        match self.kind {
            Kind::Counter => format!("{}_total", self.family()),
            _ => self.family(),
        }
    }

    /// Its values in one reading of a pool.
    #[must_use]
    pub fn points(&self, reading: &PoolReading) -> Vec<Point> {
        self.points_within(reading, &BUCKETS)
    }

    /// The same with times counted into buckets that end at `bounds`.
    pub(crate) fn points_within(&self, reading: &PoolReading, bounds: &[Duration]) -> Vec<Point> {
        let mut points = Points {
            attributes: self.attributes,
            bounds,
            points: Vec::new(),
        };
        (self.read)(reading, &mut points);
        points.points
    }
}

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Point {
    /// The metric's attributes with the values that this point stands for, without the pool's name.
    pub attributes: Vec<(&'static str, Cow<'static, str>)>,
    /// The value.
    pub value: Value,
}

/// The value of a point.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Of a counter that counts things.
    Count(u64),
    /// Of all other counters and gauges.
    Number(f64),
    /// Of a histogram.
    Times(Buckets),
}

/// Collects the points of one metric.
pub(crate) struct Points<'b> {
    attributes: &'static [Attribute],
    bounds: &'b [Duration],
    points: Vec<Point>,
}

impl Points<'_> {
    pub(crate) fn count(&mut self, value: u64) {
        self.push(&[], Value::Count(value));
    }

    pub(crate) fn number(&mut self, value: impl Into<f64>) {
        self.push(&[], Value::Number(value.into()));
    }

    pub(crate) fn times(&mut self, count: impl FnOnce(&[Duration]) -> Buckets) {
        let counted = count(self.bounds);
        self.push(&[], Value::Times(counted));
    }

    pub(crate) fn count_of(&mut self, values: &[&str], value: u64) {
        self.push(values, Value::Count(value));
    }

    pub(crate) fn number_of(&mut self, values: &[&str], value: impl Into<f64>) {
        self.push(values, Value::Number(value.into()));
    }

    fn push(&mut self, values: &[&str], value: Value) {
        debug_assert_eq!(values.len(), self.attributes.len());
        let attributes = self
            .attributes
            .iter()
            .zip(values)
            .map(|(attribute, value)| (attribute.name, Cow::Owned((*value).to_owned())))
            .collect();
        self.points.push(Point { attributes, value });
    }
}
