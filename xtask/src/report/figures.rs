//! What a run of a bench has measured, and the tables that are made of it.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// The JSON of `cargo xtask bench --json`.
#[derive(Debug, Deserialize)]
pub(crate) struct Figures {
    pub(crate) host: Host,
    pub(crate) results: Vec<Row>,
    #[serde(default)]
    pub(crate) targets: Vec<Verdict>,
}

/// The machine it was measured on.
#[derive(Debug, Deserialize)]
pub(crate) struct Host {
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) os: String,
    pub(crate) kernel: String,
}

/// A median.
#[derive(Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) benchmark: String,
    pub(crate) subject: String,
    pub(crate) metric: String,
    pub(crate) unit: String,
    pub(crate) value: f64,
    pub(crate) n: usize,
}

/// What was promised, and what came of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) target: String,
    pub(crate) is: f64,
    pub(crate) met: bool,
}

impl Figures {
    pub(crate) fn read(file: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("could not read {}", file.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not what a bench writes", file.display()))
    }

    /// The benchmarks, in the order in which they ran.
    pub(crate) fn benchmarks(&self) -> Vec<&str> {
        in_order(self.results.iter().map(|row| row.benchmark.as_str()))
    }

    /// What was measured of one benchmark.
    pub(crate) fn of<'f>(&'f self, benchmark: &'f str) -> impl Iterator<Item = &'f Row> + Clone {
        self.results
            .iter()
            .filter(move |row| row.benchmark == benchmark)
    }

    /// A table of one benchmark: a line for each subject, a column for each metric.
    pub(crate) fn table(&self, benchmark: &str) -> String {
        let metrics = in_order(self.of(benchmark).map(|row| row.metric.as_str()));
        let subjects = in_order(self.of(benchmark).map(|row| row.subject.as_str()));
        let rounds = self.of(benchmark).map(|row| row.n).max().unwrap_or(0);
        let mut table = format!("| `{benchmark}`");
        for metric in &metrics {
            let unit = self.of(benchmark).find(|row| row.metric == *metric);
            let unit = unit.map_or("", |row| row.unit.as_str());
            let _ = write!(table, " | {}, {unit}", name(metric));
        }
        table.push_str(" |\n|---");
        table.push_str(&"|--:".repeat(metrics.len()));
        table.push_str("|\n");
        for subject in subjects {
            let _ = write!(table, "| {subject}");
            for metric in &metrics {
                let mut of = self.of(benchmark);
                let row = of.find(|row| row.subject == subject && row.metric == *metric);
                let value = row.map_or_else(|| "–".to_owned(), |row| number(row.value));
                let _ = write!(table, " | {value}");
            }
            table.push_str(" |\n");
        }
        let _ = writeln!(table, "\nMedians of {rounds} rounds. {}", self.machine());
        table
    }

    /// What was promised, line by line, and what came of it.
    pub(crate) fn promises(&self) -> String {
        let mut table = "| promised | measured | |\n|---|--:|---|\n".to_owned();
        for Verdict { target, is, met } in &self.targets {
            let verdict = if *met { "met" } else { "**missed**" };
            let _ = writeln!(table, "| {target} | {is:.2} | {verdict} |");
        }
        let _ = writeln!(table, "\n{}", self.machine());
        table
    }

    fn machine(&self) -> String {
        let Host {
            cpu,
            cores,
            os,
            kernel,
        } = &self.host;
        format!("Measured on {cores} cores of {cpu}, {os} {kernel}.")
    }
}

/// Each once, in the order in which they come.
fn in_order<'t>(all: impl Iterator<Item = &'t str>) -> Vec<&'t str> {
    let mut once = Vec::new();
    for one in all {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    once
}

/// A metric's name for people: its unit stands beside it.
pub(crate) fn name(metric: &str) -> String {
    match metric {
        "ns_per_op" => "one operation".to_owned(),
        "ops_per_s" => "operations".to_owned(),
        other => {
            let bare = other.trim_end_matches("_us").trim_end_matches("_ms");
            bare.replace('_', " ")
        }
    }
}

/// Three digits that say something, and all that stand before the point; two of what is less than a tenth.
pub(crate) fn number(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.1 => 2,
        v if v >= 0.01 => 3,
        v if v >= 0.001 => 4,
        _ => 5,
    };
    let text = format!("{value:.digits$}");
    let (whole, part) = text.split_once('.').map_or((&*text, ""), |(w, p)| (w, p));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left % 3 == 0 && digit.is_ascii_digit() && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    if part.is_empty() {
        grouped
    } else {
        format!("{grouped}.{part}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_or_all_before_the_point() {
        for (value, text) in [
            (0.0, "0"),
            (0.987_6, "0.99"),
            (0.002_69, "0.0027"),
            (0.045, "0.045"),
            (12.34, "12.3"),
            (-1_234.5, "-1,234"),
            (123.4, "123"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_table_has_a_line_for_each_subject_and_a_column_for_each_metric() {
        let figures: Figures = serde_json::from_value(serde_json::json!({
            "host": { "cpu": "a processor", "cores": 2, "os": "linux", "kernel": "6" },
            "results": [
                { "benchmark": "a/b", "subject": "us", "metric": "ops_per_s", "unit": "1/s", "value": 2000.0, "n": 7 },
                { "benchmark": "a/b", "subject": "us", "metric": "p99_us", "unit": "µs", "value": 1.5, "n": 7 },
                { "benchmark": "a/c", "subject": "us", "metric": "p99_us", "unit": "µs", "value": 9.0, "n": 7 },
                { "benchmark": "a/b", "subject": "them", "metric": "ops_per_s", "unit": "1/s", "value": 10.0, "n": 7 },
            ],
            "targets": [{ "target": "us ≥ them", "is": 200.0, "met": true }],
        }))
        .unwrap();
        assert_eq!(figures.benchmarks(), ["a/b", "a/c"]);
        assert_eq!(
            figures.table("a/b"),
            "| `a/b` | operations, 1/s | p99, µs |\n|---|--:|--:|\n| us | 2,000 | 1.50 |\n\
             | them | 10.0 | – |\n\nMedians of 7 rounds. Measured on 2 cores of a processor, linux 6.\n"
        );
        assert!(figures.promises().contains("| us ≥ them | 200.00 | met |"));
    }
}
