//! `cargo xtask report`: runs the benches, keeps their JSON, and makes the charts and the tables of
//! the documentation from it, so that no number is typed by hand.

mod blocks;
mod chart;
mod figures;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use self::figures::Figures;
use crate::{bench, workspace};

/// Where the JSON and the charts are kept, from the root.
const FOLDER: &str = "docs/figures";

/// A chart: its file, the figures it is made of, and whose bar is ours.
struct Chart {
    file: &'static str,
    benchmark: &'static str,
    metric: &'static str,
    ours: &'static str,
}

const CHARTS: &[Chart] = &[
    Chart {
        file: "checkout-contended.svg",
        benchmark: "checkout/64x8",
        metric: "ops_per_s",
        ours: "pool-core",
    },
    Chart {
        file: "checkout-waits.svg",
        benchmark: "checkout/64x8",
        metric: "p99_us",
        ours: "pool-core",
    },
];

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
    let figures = |benchmark: &str| {
        let suite = benchmark.split('/').next().unwrap_or(benchmark);
        Figures::read(&folder.join(format!("{suite}.json")))
    };
    let mut made = Vec::new();
    let kept = |chart: &&Chart| {
        let suite = chart.benchmark.split('/').next().unwrap_or_default();
        folder.join(format!("{suite}.json")).exists()
    };
    for chart in CHARTS.iter().filter(kept) {
        let Chart {
            file,
            benchmark,
            metric,
            ours,
        } = *chart;
        let drawn = chart::bars(&figures(benchmark)?, benchmark, metric, ours)?;
        made.push((folder.join(file), drawn));
    }
    for page in pages(root)? {
        let text = fs::read_to_string(&page)
            .with_context(|| format!("could not read {}", page.display()))?;
        let fresh = blocks::refreshed(&text, |name| {
            let known = figures(name)?;
            match name.split_once('/') {
                Some((_, "targets")) => Ok(known.promises()),
                _ if known.benchmarks().contains(&name) => Ok(known.table(name)),
                _ => bail!("no figures of {name}"),
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
