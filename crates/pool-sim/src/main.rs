//! `cargo xtask simulate`: policies and baselines under fourteen workloads.

#![allow(clippy::print_stdout, reason = "a command's output is its purpose")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use pool_sim::{Subject, Workload, campaign, gates, plot, report, steady};

/// Simulate pools under load, with the sizing policies of production.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask simulate", bin_name = "cargo xtask simulate")]
struct Arguments {
    /// Only this workload; may be repeated.
    #[arg(long)]
    workload: Vec<String>,
    /// Only this subject; may be repeated.
    #[arg(long)]
    policy: Vec<String>,
    /// Write the results to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw each run into this folder.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// What the random numbers follow from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> ExitCode {
    run(&Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut workloads = Workload::all();
    let names: Vec<_> = workloads.iter().map(|workload| workload.name).collect();
    known("workload", &arguments.workload, &names)?;
    let subjects: Vec<_> = Subject::ALL.iter().map(|subject| subject.name()).collect();
    known("policy", &arguments.policy, &subjects)?;
    let asked =
        |names: &[String], name: &str| names.is_empty() || names.iter().any(|one| one == name);
    workloads.retain(|workload| asked(&arguments.workload, workload.name));
    let subjects: Vec<_> = Subject::ALL
        .into_iter()
        .filter(|subject| asked(&arguments.policy, subject.name()))
        .collect();
    let outcomes = campaign(&workloads, &subjects, arguments.seed);
    println!("{}", report::tables(&workloads, &outcomes).trim_end());
    let mut gates = gates(&outcomes);
    if arguments.workload.is_empty() && subjects.contains(&Subject::ThresholdReactive) {
        gates.push(steady(arguments.seed));
    }
    if !gates.is_empty() {
        println!("\n### promises\n");
    }
    for gate in &gates {
        println!("{gate}");
    }
    if let Some(file) = &arguments.json {
        let json = report::json(&outcomes)?;
        std::fs::write(file, json)
            .with_context(|| format!("could not write {}", file.display()))?;
    }
    if let Some(folder) = &arguments.plot {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("could not make {}", folder.display()))?;
        for outcome in &outcomes {
            let (workload, subject) = (outcome.workload, outcome.subject.name());
            let file = folder.join(format!("{workload}-{subject}.svg").replace('+', "-"));
            let title = format!("{workload}: {subject}");
            plot::plot(&title, outcome.lasts, &outcome.run.curve, &file)?;
        }
    }
    Ok(if gates.iter().all(|gate| gate.holds) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn known(what: &str, asked: &[String], names: &[&str]) -> Result<()> {
    for name in asked {
        let known = names.join(", ");
        ensure!(
            names.contains(&name.as_str()),
            "no {what} {name}; there are {known}"
        );
    }
    Ok(())
}
