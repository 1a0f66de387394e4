//! Results as a table for people and as JSON for tools.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::targets::Verdict;

/// All that one run has measured.
#[derive(Debug, Default)]
pub struct Report {
    /// Rounds by benchmark, subject and metric, in the order of their first result.
    series: Vec<Series>,
}

#[derive(Debug)]
struct Series {
    benchmark: String,
    subject: String,
    metric: &'static str,
    unit: &'static str,
    rounds: Vec<f64>,
}

#[derive(Serialize)]
struct File<'r> {
    host: Host,
    results: Vec<Row<'r>>,
    /// What this run says of what is promised; absent where nothing is.
    #[serde(skip_serializing_if = "<[Verdict]>::is_empty")]
    targets: &'r [Verdict],
}

#[derive(Serialize)]
struct Host {
    cpu: String,
    cores: usize,
    os: &'static str,
    kernel: String,
}

#[derive(Serialize)]
struct Row<'r> {
    benchmark: &'r str,
    subject: &'r str,
    metric: &'r str,
    unit: &'r str,
    value: f64,
    n: usize,
}

impl Report {
    /// Adds what one round has measured.
    pub fn add(
        &mut self,
        benchmark: &str,
        subject: &str,
        metric: &'static str,
        unit: &'static str,
        value: f64,
    ) {
        let known = self.series.iter_mut().find(|series| {
            series.benchmark == benchmark && series.subject == subject && series.metric == metric
        });
        match known {
            Some(series) => series.rounds.push(value),
            None => self.series.push(Series {
                benchmark: benchmark.to_owned(),
                subject: subject.to_owned(),
                metric,
                unit,
                rounds: vec![value],
            }),
        }
    }

    /// The median over the rounds.
    #[must_use]
    pub fn median(&self, benchmark: &str, subject: &str, metric: &str) -> Option<f64> {
        let series = self.series.iter().find(|series| {
            series.benchmark == benchmark && series.subject == subject && series.metric == metric
        })?;
        Some(median(&series.rounds))
    }

    /// Prints one table for each benchmark: a line for each subject, a column for each metric, and
    /// what that is in relation to `subject`.
    pub fn print(&self, reference: &str) {
        let mut benchmarks: Vec<&str> = Vec::new();
        for series in &self.series {
            if !benchmarks.contains(&series.benchmark.as_str()) {
                benchmarks.push(&series.benchmark);
            }
        }
        for benchmark in benchmarks {
            println!("\n{benchmark}");
            let mut lines: BTreeMap<usize, (&str, Vec<String>)> = BTreeMap::new();
            for series in self
                .series
                .iter()
                .filter(|series| series.benchmark == benchmark)
            {
                let value = median(&series.rounds);
                let ours = self.median(benchmark, reference, series.metric);
                let relation = match ours {
                    Some(ours) if series.subject != reference && value > 0.0 => {
                        format!(" ({:.2}×)", ours / value)
                    }
                    _ => String::new(),
                };
                let at = lines
                    .iter()
                    .find(|(_, (subject, _))| *subject == series.subject)
                    .map_or(lines.len(), |(at, _)| *at);
                let line = lines.entry(at).or_insert((&series.subject, Vec::new()));
                let (metric, unit) = (series.metric, series.unit);
                let value = shown(value);
                line.1.push(format!("{metric} {value} {unit}{relation}"));
            }
            for (subject, cells) in lines.values() {
                let cells: Vec<_> = cells.iter().map(|cell| format!("{cell:<34}")).collect();
                println!("  {subject:<20} {}", cells.join(" ").trim_end());
            }
        }
        println!("\n(n×): {reference} divided by that subject, medians of one run");
    }

    /// Writes the JSON of all measuring commands.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write(&self, file: &Path) -> anyhow::Result<()> {
        self.write_with(file, &[])
    }

    /// The same with the targets that were judged.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_with(&self, file: &Path, targets: &[Verdict]) -> anyhow::Result<()> {
        let results = self.series.iter().map(|series| Row {
            benchmark: &series.benchmark,
            subject: &series.subject,
            metric: series.metric,
            unit: series.unit,
            value: median(&series.rounds),
            n: series.rounds.len(),
        });
        let contents = File {
            host: host(),
            results: results.collect(),
            targets,
        };
        std::fs::write(file, serde_json::to_vec_pretty(&contents)?)
            .map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))
    }
}

/// One digit after the point, or enough of a small value to tell it from nothing.
fn shown(value: f64) -> String {
    match value.abs() {
        size if size == 0.0 || size >= 1.0 => format!("{value:.1}"),
        size if size >= 0.01 => format!("{value:.3}"),
        _ => format!("{value:.6}"),
    }
}

/// The middle value; the mean of the two in the middle of an even number.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => sorted[n / 2],
        n => f64::midpoint(sorted[n / 2 - 1], sorted[n / 2]),
    }
}

fn host() -> Host {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| {
            line.strip_prefix("model name")?
                .split_once(':')
                .map(|(_, name)| name.trim().to_owned())
        })
        .unwrap_or_else(|| "unknown".to_owned());
    Host {
        cpu,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        os: std::env::consts::OS,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}
