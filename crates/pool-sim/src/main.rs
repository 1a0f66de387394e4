//! `cargo xtask simulate`: policies and baselines under fourteen workloads.

#![allow(clippy::print_stdout, reason = "a command's output is its purpose")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use pool_sim::{
    Outcome, Subject, Workload, campaign, campaign_on_engine, engine, gates, plot, report, sound,
    steady,
};

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
    /// Run the real engine, under paused time, instead of the simulated pools: the subjects that
    /// it can be, under the workloads of one instance.
    #[arg(long)]
    engine: bool,
    /// Fail if this document does not say what is printed, word for word.
    #[arg(long)]
    check: Option<PathBuf>,
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
    let mut subjects: Vec<_> = Subject::ALL
        .into_iter()
        .filter(|subject| asked(&arguments.policy, subject.name()))
        .collect();
    if arguments.engine {
        workloads.retain(|workload| workload.instances == 1);
        subjects.retain(|subject| engine::SUBJECTS.contains(subject));
        ensure!(
            !workloads.is_empty() && !subjects.is_empty(),
            "the engine runs one instance, as one of {}",
            engine::SUBJECTS.map(Subject::name).join(", ")
        );
    }
    let outcomes = if arguments.engine {
        campaign_on_engine(&workloads, &subjects, arguments.seed)
    } else {
        campaign(&workloads, &subjects, arguments.seed)
    };
    let tables = report::tables(&workloads, &outcomes);
    println!("{}\n\n{}", report::best(), tables.trim_end());
    let gates = promises(arguments, &workloads, &subjects, &outcomes);
    if !gates.is_empty() {
        println!("\n### What was promised\n");
    }
    for gate in &gates {
        println!("{gate}");
    }
    if let Some(file) = &arguments.check {
        let document = std::fs::read_to_string(file)
            .with_context(|| format!("could not read {}", file.display()))?;
        let missing = report::missing(&document, &tables);
        ensure!(
            missing.is_empty(),
            "{} says otherwise of {}",
            file.display(),
            missing.join(", ")
        );
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
            let run = &outcome.run;
            plot::plot_waits(&title, outcome.lasts, &run.curve, &run.waits, &file)?;
        }
    }
    Ok(if gates.iter().all(|gate| gate.holds) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The engine's callers are counted by tasks that run a moment later, so its runs are not held to
/// what adds up to the nanosecond, and the promises are the simulator's.
fn promises(
    arguments: &Arguments,
    workloads: &[Workload],
    subjects: &[Subject],
    outcomes: &[Outcome],
) -> Vec<pool_sim::Gate> {
    if arguments.engine {
        return Vec::new();
    }
    let mut gates = gates(outcomes);
    if arguments.workload.is_empty() && subjects.contains(&Subject::ThresholdReactive) {
        gates.push(steady(arguments.seed));
    }
    gates.push(sound(workloads, outcomes));
    gates
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
