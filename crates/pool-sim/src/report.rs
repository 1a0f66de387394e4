//! Results for people, and for tools.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

use crate::campaign::Outcome;
use crate::subject::Subject;
use crate::workload::Workload;

/// The columns of a table, in order: name, unit, and what stands there.
type Column = (
    &'static str,
    &'static str,
    fn(&Outcome) -> Option<f64>,
    usize,
);

#[allow(clippy::cast_precision_loss, reason = "for people")]
const COLUMNS: &[Column] = &[
    ("p50 wait", "ms", |one| Some(one.run.wait[0] * 1e3), 1),
    ("p99 wait", "ms", |one| Some(one.run.wait[1] * 1e3), 1),
    ("p99.9 wait", "ms", |one| Some(one.run.wait[2] * 1e3), 1),
    ("timeouts", "count", |one| Some(one.run.timeouts as f64), 0),
    ("connection", "s", |one| Some(one.run.connection_seconds), 0),
    (
        "excess",
        "s",
        |one| Some(one.run.connection_seconds - one.least),
        0,
    ),
    ("peak", "count", |one| Some(f64::from(one.run.peak)), 0),
    ("connects", "count", |one| Some(one.run.connects as f64), 0),
    ("resizes", "count", |one| Some(one.run.resizes as f64), 0),
    ("flaps", "count", |one| Some(f64::from(one.run.flaps)), 0),
    ("overload", "s", |one| Some(one.run.overload), 1),
    ("to scale", "s", |one| one.run.to_scale, 1),
    ("to recover", "s", |one| one.run.to_recover, 1),
    ("to release", "s", |one| one.run.to_release, 1),
];

/// A row of the JSON that every measuring command writes.
#[derive(Debug, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// `simulate/` and the workload.
    pub benchmark: String,
    /// The subject.
    pub subject: &'static str,
    /// The metric, in `snake_case`.
    pub metric: String,
    /// Its unit.
    pub unit: &'static str,
    /// Its value; nothing for what never came.
    pub value: Option<f64>,
    /// How many callers it stands for.
    pub n: u64,
}

/// Every figure as a row.
#[must_use]
pub fn rows(outcomes: &[Outcome]) -> Vec<Row> {
    let row = |one: &Outcome, (name, unit, value, _): &Column| Row {
        benchmark: format!("simulate/{}", one.workload),
        subject: one.subject.name(),
        metric: name.replace([' ', '.'], "_"),
        unit,
        value: value(one),
        n: one.run.arrivals,
    };
    outcomes
        .iter()
        .flat_map(|one| COLUMNS.iter().map(move |column| row(one, column)))
        .collect()
}

/// What the database of most workloads can do.
#[must_use]
pub fn best() -> String {
    let (throughput, knee) = Workload::steady(0.0, 1.0).best();
    format!(
        "the database of most workloads does {throughput:.0} queries a second at its best, {knee} at once"
    )
}

/// What a document does not say, or says otherwise: the names of the parts of `printed`, each from
/// one headline to the next, that are not in it word for word.
#[must_use]
pub fn missing<'p>(document: &str, printed: &'p str) -> Vec<&'p str> {
    let parts = printed.split("### ").skip(1);
    parts
        .filter(|part| !document.contains(part.trim_end()))
        .filter_map(|part| part.lines().next())
        .collect()
}

/// One table for each workload.
#[must_use]
pub fn tables(workloads: &[Workload], outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    for workload in workloads {
        let of: Vec<_> = outcomes
            .iter()
            .filter(|one| one.workload == workload.name)
            .collect();
        let Some(first) = of.first() else { continue };
        let mut table = Table::new();
        table.load_style(presets::ASCII_MARKDOWN);
        let header = COLUMNS.iter().map(|(name, unit, ..)| match *unit {
            "count" => (*name).to_owned(),
            unit => format!("{name} {unit}"),
        });
        table.set_header(std::iter::once("subject".to_owned()).chain(header));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        for one in &of {
            let cells = COLUMNS
                .iter()
                .map(|(_, _, value, digits)| match value(one) {
                    Some(value) => format!("{value:.digits$}"),
                    None => "never".to_owned(),
                });
            let name = match one.subject {
                Subject::FixedOracle => format!("fixed-oracle ({})", one.oracle),
                other => other.name().to_owned(),
            };
            table.add_row(std::iter::once(name).chain(cells));
        }
        let callers = first.run.arrivals;
        text += &format!(
            "### {}\n\n{}; {callers} callers.\n\n{table}\n\n",
            workload.name, workload.what
        );
    }
    text
}

#[derive(Serialize)]
struct File {
    host: Host,
    results: Vec<Row>,
}

/// As every measuring command names the machine. The figures follow from the seed alone.
#[derive(Serialize)]
struct Host {
    cpu: String,
    cores: usize,
    os: &'static str,
    kernel: String,
}

fn host() -> Host {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo")
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or_else(
            || std::env::consts::ARCH.to_owned(),
            |(_, name)| name.trim().to_owned(),
        );
    Host {
        cpu,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        os: std::env::consts::OS,
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
    }
}

/// The JSON of all measuring commands.
///
/// # Errors
///
/// A value is not a number.
pub fn json(outcomes: &[Outcome]) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec_pretty(&File {
        host: host(),
        results: rows(outcomes),
    })
}
