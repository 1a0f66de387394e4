//! `cargo xtask report`: runs the benches, keeps their JSON, and makes the charts and the tables of
//! the documentation from it, so that no number is typed by hand.

mod blocks;
mod chart;
mod figures;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use self::figures::{Figures, Row};
use crate::{bench, workspace};

/// Where the JSON and the charts are kept, from the root.
const FOLDER: &str = "docs/figures";

/// A chart: its name, the figures it is made of, and whose bar is ours.
struct Chart {
    name: &'static str,
    benchmark: &'static str,
    metric: &'static str,
    ours: &'static str,
    /// What is done there, for whoever does not see the picture.
    work: &'static str,
    /// Whose bars would leave no room for the others'; they are told beside the picture.
    without: &'static [&'static str],
}

const CHARTS: &[Chart] = &[
    Chart {
        name: "postgres-select",
        benchmark: "postgres/select1-50x10",
        metric: "ops_per_s",
        ours: "pool-postgres",
        work: "select 1 by fifty tasks on ten connections",
        without: &[],
    },
    Chart {
        name: "checkout-uncontended",
        benchmark: "checkout/uncontended",
        metric: "ns_per_op",
        ours: "pool-core",
        work: "a checkout for which nobody else waits",
        without: &["mobc", "sqlx"],
    },
    Chart {
        name: "checkout-contended",
        benchmark: "checkout/64x8",
        metric: "ops_per_s",
        ours: "pool-core",
        work: "checkouts by sixty-four tasks on eight connections",
        without: &[],
    },
    Chart {
        name: "checkout-waits",
        benchmark: "checkout/64x8",
        metric: "p99_us",
        ours: "pool-core",
        work: "waits of sixty-four tasks for eight connections",
        without: &[],
    },
];

impl Chart {
    fn suite(&self) -> &'static str {
        suite_of(self.benchmark)
    }

    fn file(&self) -> String {
        format!("{}.svg", self.name)
    }

    /// What has a bar, and what has none.
    fn rows<'f>(&self, figures: &'f Figures) -> (Vec<&'f Row>, Vec<&'f Row>) {
        figures
            .of(self.benchmark)
            .filter(|row| row.metric == self.metric)
            .partition(|row| !self.without.contains(&row.subject.as_str()))
    }

    /// The picture in a page, with its numbers for whoever does not see it.
    fn shown(&self, figures: &Figures, folder: &str) -> String {
        let (drawn, left_out) = self.rows(figures);
        let told = |rows: &[&Row]| {
            let bar = |row: &&Row| format!("{} {}", row.subject, figures::number(row.value));
            rows.iter().map(bar).collect::<Vec<_>>().join(", ")
        };
        let unit = drawn.first().map_or("", |row| row.unit.as_str());
        let what = figures::name(self.metric);
        let mut text = format!("Bars, {}, {what} in {unit}: {}", self.work, told(&drawn));
        if !left_out.is_empty() {
            text.push_str(&format!("; without a bar: {}", told(&left_out)));
        }
        format!("![{text}]({folder}{})", self.file())
    }
}

/// The suite that a benchmark is part of.
fn suite_of(benchmark: &str) -> &str {
    benchmark.split('/').next().unwrap_or(benchmark)
}

#[derive(Args)]
pub(crate) struct Arguments {
    /// The suites to run anew; the others keep their figures. Defaults to those whose figures are
    /// kept.
    #[arg(value_enum)]
    suites: Vec<bench::Suite>,
    /// Take `SUITE.json` from this folder instead of running the bench.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Run and read nothing: only make charts and tables anew from the figures that are kept.
    #[arg(long, conflicts_with_all = ["from", "suites"])]
    redraw: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = workspace::root();
    let folder = root.join(FOLDER);
    fs::create_dir_all(&folder).context("could not make the folder of the figures")?;
    for suite in wanted(arguments, &folder) {
        let name = suite.program();
        let kept = folder.join(format!("{name}.json"));
        if let Some(from) = &arguments.from {
            let taken = from.join(format!("{name}.json"));
            Figures::read(&taken)?;
            fs::copy(&taken, &kept)
                .with_context(|| format!("could not keep {}", taken.display()))?;
        } else if bench::measure(suite, &kept)? != ExitCode::SUCCESS {
            bail!("the bench {name} failed");
        }
    }
    let mut changed = 0;
    for (file, made) in made(&root)? {
        if fs::read_to_string(&file).ok().as_ref() != Some(&made) {
            changed += 1;
            fs::write(&file, made)
                .with_context(|| format!("could not write {}", file.display()))?;
        }
    }
    eprintln!("report: {changed} files changed");
    Ok(ExitCode::SUCCESS)
}

/// The suites whose figures are to be had anew.
fn wanted(arguments: &Arguments, folder: &Path) -> Vec<bench::Suite> {
    if arguments.redraw {
        return Vec::new();
    }
    if !arguments.suites.is_empty() {
        return arguments.suites.clone();
    }
    let kept = |suite: &bench::Suite| folder.join(format!("{}.json", suite.program())).exists();
    bench::Suite::ALL.into_iter().filter(kept).collect()
}

/// Pages and charts that are not what the figures that are kept say.
pub(crate) fn stale(root: &Path) -> Result<Vec<PathBuf>> {
    let made = made(root)?.into_iter();
    Ok(made
        .filter(|(file, made)| fs::read_to_string(file).ok().as_ref() != Some(made))
        .map(|(file, _)| file)
        .collect())
}

/// Each file that is made, as the figures that are kept say.
fn made(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let folder = root.join(FOLDER);
    let kept = |suite: &str| folder.join(format!("{suite}.json"));
    let figures = |suite: &str| Figures::read(&kept(suite));
    let mut made = Vec::new();
    let charts: Vec<&Chart> = CHARTS
        .iter()
        .filter(|chart| kept(chart.suite()).exists())
        .collect();
    for chart in &charts {
        let figures = figures(chart.suite())?;
        let (rows, _left_out) = chart.rows(&figures);
        let drawn = chart::bars(&rows, chart.ours).context(chart.name)?;
        made.push((folder.join(chart.file()), drawn));
    }
    for page in pages(root)? {
        let text = fs::read_to_string(&page)
            .with_context(|| format!("could not read {}", page.display()))?;
        // As seen from the page.
        let pictures = if page.parent() == Some(root) {
            "docs/figures/"
        } else {
            "figures/"
        };
        let show = |chart: &Chart| Ok(chart.shown(&figures(chart.suite())?, pictures));
        let fresh = blocks::refreshed(&text, |name| match name.split_once('/') {
            None if name == "charts" => {
                let shown: Result<Vec<_>> = charts.iter().map(|chart| show(chart)).collect();
                Ok(shown?.join("\n\n"))
            }
            Some(("chart", name)) => {
                let mut charts = charts.iter();
                let chart = charts.find(|chart| chart.name == name);
                show(chart.with_context(|| format!("no chart of the name {name}"))?)
            }
            Some((suite, "targets")) => Ok(figures(suite)?.promises()),
            _ => {
                let known = figures(suite_of(name))?;
                ensure!(known.benchmarks().contains(&name), "no figures of {name}");
                Ok(known.table(name))
            }
        });
        let fresh = fresh.with_context(|| page.display().to_string())?;
        made.push((page, fresh));
    }
    Ok(made)
}

/// The README and the pages of the documentation.
fn pages(root: &Path) -> Result<Vec<PathBuf>> {
    let mut pages = vec![root.join("README.md")];
    for entry in fs::read_dir(root.join("docs")).context("could not read docs")? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    Ok(pages)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_in_a_page_says_what_its_bars_say() {
        let row = |subject: &str, metric: &str, value: f64| {
            serde_json::json!({ "benchmark": "postgres/select1-50x10", "subject": subject,
                "metric": metric, "unit": "1/s", "value": value, "n": 3 })
        };
        let figures: Figures = serde_json::from_value(serde_json::json!({
            "host": { "cpu": "x", "cores": 2, "os": "linux", "kernel": "6" },
            "results": [row("us", "ops_per_s", 4_000.0), row("us", "p99_us", 1.0),
                row("them", "ops_per_s", 1_000.0)],
        }))
        .unwrap();
        assert_eq!(
            CHARTS[0].shown(&figures, "pictures/"),
            "![Bars, select 1 by fifty tasks on ten connections, operations in 1/s: us 4,000, \
             them 1,000](pictures/postgres-select.svg)"
        );
        let without = Chart {
            without: &["them"],
            ..CHARTS[0]
        };
        assert_eq!(
            without.shown(&figures, ""),
            "![Bars, select 1 by fifty tasks on ten connections, operations in 1/s: us 4,000; \
             without a bar: them 1,000](postgres-select.svg)"
        );
        let (drawn, _left_out) = without.rows(&figures);
        assert_eq!(drawn.len(), 1);
    }
}
