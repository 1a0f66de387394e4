//! Sizing by load on real servers: a step, spikes and a fall, on PostgreSQL and on MongoDB, and the
//! servers' own scalability.
//!
//! Needs servers whose URLs are in `POSTGRES_URL` and `MONGODB_URL`.

mod load;
mod meter;
mod mongo;
mod postgres;
mod run;
mod subjects;
mod targets;
mod usl;
mod witness;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use benches::targets::Verdict;
use benches::{Report, targets as judged};
use clap::Parser;

use crate::load::{FEW, Load, MANY};
use crate::mongo::Mongo;
use crate::postgres::Postgres;
use crate::run::{Outcome, run};
use crate::subjects::{Kind, SIZING, Server as _, Subject};
use crate::targets::verdicts;

#[derive(Parser)]
struct Options {
    /// Shorter and once: for a look, not for a figure. Nothing fails.
    #[arg(long)]
    quick: bool,
    /// Only the benchmarks whose name contains this: `mongo`, `postgres/step`, `usl`.
    #[arg(long)]
    only: Option<String>,
    /// Where to write the results as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// The folder to draw each load and subject into.
    #[arg(long)]
    plot: Option<PathBuf>,
}

/// How often the two that are held against each other run the step, in turn.
const ROUNDS: u32 = 3;

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    if let Some(folder) = &options.plot {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not make {}", folder.display()))?;
    }
    print_settings();
    let mut report = Report::default();
    let mut all = Vec::new();
    runtime.block_on(async {
        all.extend(measure::<Postgres>("POSTGRES_URL", &options, &mut report).await?);
        all.extend(measure::<Mongo>("MONGODB_URL", &options, &mut report).await?);
        anyhow::Ok(())
    })?;
    report.print("dynamic");
    judged::print(&all);
    if let Some(file) = &options.json {
        report.write_with(file, &all)?;
    }
    Ok(judged::verdict(&all, !options.quick))
}

/// What is measured, and what the pool itself says of its settings.
fn print_settings() {
    println!(
        "dynamic: {} to {} connections, {} % +{}, {} % -{}, every {} ms; {FEW} and {MANY} callers",
        SIZING.min_size,
        SIZING.max_size,
        SIZING.scale_up_threshold,
        SIZING.scale_up_increment,
        SIZING.scale_down_threshold,
        SIZING.scale_down_increment,
        SIZING.evaluation_interval,
    );
    for warning in SIZING.warnings() {
        println!("warning: {warning}");
    }
}

async fn measure<S: Subject>(
    variable: &str,
    options: &Options,
    report: &mut Report,
) -> Result<Vec<Verdict>> {
    let only = options.only.as_deref().unwrap_or("");
    let name = |part: &str| format!("sizing/{}/{part}", S::DATABASE);
    let loads = if options.quick {
        Load::QUICK
    } else {
        Load::ALL
    };
    let loads = loads.iter().filter(|load| name(load.name).contains(only));
    let curve = name("usl").contains(only);
    let loads: Vec<_> = loads.collect();
    if loads.is_empty() && !curve {
        return Ok(Vec::new());
    }
    let url = std::env::var(variable).with_context(|| {
        format!("{variable} is not set; `cargo xtask validate-sizing` starts a server")
    })?;
    let server = Arc::new(S::Server::prepare(&url).await?);
    for load in loads {
        let folder = options.plot.as_deref();
        measure_load::<S>(&server, load, options.quick, folder, report).await?;
    }
    if curve {
        let (rounds, lasts) = if options.quick { (1, 200) } else { (3, 1_000) };
        usl::measure::<S>(&server, report, rounds, Duration::from_millis(lasts)).await?;
    }
    server.clear().await?;
    Ok(verdicts::<S>(report))
}

/// All subjects under one load; those that are held against each other in turn, several times.
async fn measure_load<S: Subject>(
    server: &Arc<S::Server>,
    load: &Load,
    quick: bool,
    folder: Option<&Path>,
    report: &mut Report,
) -> Result<()> {
    let often = load.only_plateau && !quick;
    let mut outcomes = Kind::ALL.map(|kind| (kind, Vec::new()));
    for round in 0..if often { ROUNDS } else { 1 } {
        for (kind, outcomes) in &mut outcomes {
            let compared = matches!(kind, Kind::Dynamic | Kind::FixedMax);
            if round == 0 || compared {
                // The first is drawn.
                let folder = folder.filter(|_| round == 0);
                outcomes.push(run::<S>(server, *kind, load, round, folder).await?);
            }
        }
    }
    let benchmark = format!("sizing/{}/{}", S::DATABASE, load.name);
    for (kind, outcomes) in &outcomes {
        Outcome::report(outcomes, report, &benchmark, kind.name::<S>());
    }
    Ok(())
}
