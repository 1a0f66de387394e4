//! What came of it, for people and as JSON.

use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use comfy_table::{CellAlignment, Table};
use connection_factory::Database;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::output::say;
use crate::subject::{PerSubject, SUBJECTS};

/// The results of a run. What was not reached before it ended early is missing.
#[derive(Debug, Default)]
pub(crate) struct Report {
    results: PerSubject<Vec<Metric>>,
    /// Each reason why the run is not good.
    pub(crate) failures: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Metric {
    name: &'static str,
    unit: &'static str,
    value: f64,
    /// How many samples or events the value stands for.
    n: u64,
}

#[derive(Serialize)]
struct File<'r> {
    host: Host,
    results: Vec<Entry<'r>>,
}

#[derive(Serialize)]
struct Host {
    os: &'static str,
    arch: &'static str,
    cpus: usize,
    cpu: String,
}

#[derive(Serialize)]
struct Entry<'r> {
    benchmark: &'static str,
    subject: &'static str,
    metric: &'r str,
    unit: &'r str,
    value: f64,
    n: u64,
}

impl Report {
    #[allow(
        clippy::cast_precision_loss,
        reason = "counts of a run stay far below 2^53"
    )]
    pub(crate) fn count(&mut self, database: Database, name: &'static str, value: u64, n: u64) {
        self.add(database, name, "count", value as f64, n);
    }

    pub(crate) fn add(
        &mut self,
        database: Database,
        name: &'static str,
        unit: &'static str,
        value: f64,
        n: u64,
    ) {
        self.results.of_mut(database).push(Metric {
            name,
            unit,
            value,
            n,
        });
    }

    pub(crate) fn fail(&mut self, reason: impl Into<String>) {
        self.failures.push(reason.into());
    }

    pub(crate) const fn is_good(&self) -> bool {
        self.failures.is_empty()
    }

    /// Prints the table, and each reason why the run is not good.
    pub(crate) fn print(&self, stop: &CancellationToken) -> io::Result<()> {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::ASCII_MARKDOWN);
        table.set_header(["metric", "unit", "postgresql", "mongodb"]);
        let [postgresql, mongodb] = SUBJECTS.map(|database| self.results.of(database));
        for metric in postgresql {
            let other = mongodb.iter().find(|other| other.name == metric.name);
            table.add_row([
                metric.name.replace('_', " "),
                metric.unit.to_owned(),
                shown(metric.value),
                other.map_or_else(String::new, |other| shown(other.value)),
            ]);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        say(stop, table)?;
        for failure in &self.failures {
            say(stop, format_args!("FAILED: {failure}"))?;
        }
        Ok(())
    }

    /// Writes the results as JSON.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let results = SUBJECTS
            .into_iter()
            .flat_map(|database| {
                let metrics = self.results.of(database).iter();
                metrics.map(move |metric| Entry {
                    benchmark: "demo",
                    subject: database.name(),
                    metric: metric.name,
                    unit: metric.unit,
                    value: metric.value,
                    n: metric.n,
                })
            })
            .collect();
        let file = File {
            host: Host::this(),
            results,
        };
        let text = serde_json::to_string_pretty(&file)? + "\n";
        std::fs::write(path, text).with_context(|| format!("could not write {}", path.display()))
    }
}

impl Host {
    fn this() -> Self {
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
            .map_or_else(String::new, |(_, name)| name.trim().to_owned());
        Self {
            os: std::env::consts::OS,
            arch: std::env::consts::ARCH,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            cpu,
        }
    }
}

fn shown(value: f64) -> String {
    if value.fract() == 0.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.2}")
    }
}
