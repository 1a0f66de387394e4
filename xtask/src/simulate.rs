//! `cargo xtask simulate`: the sizing policies of production under simulated load.

use std::path::{PathBuf, absolute};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{child, workspace};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only this workload; may be repeated.
    #[arg(long)]
    workload: Vec<String>,
    /// Only this policy or baseline; may be repeated.
    #[arg(long)]
    policy: Vec<String>,
    /// Write the results to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw each run into this folder.
    #[arg(long)]
    plot: Option<PathBuf>,
    /// Run the real engine, under paused time, instead of the simulated pools.
    #[arg(long)]
    engine: bool,
    /// Fail if this document does not say what is printed.
    #[arg(long)]
    check: Option<PathBuf>,
    /// What the random numbers follow from.
    #[arg(long)]
    seed: Option<u64>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut simulator = workspace::cargo();
    simulator.args(["run", "--quiet", "--release", "--package", "pool-sim", "--"]);
    for workload in &arguments.workload {
        simulator.args(["--workload", workload]);
    }
    for policy in &arguments.policy {
        simulator.args(["--policy", policy]);
    }
    if arguments.engine {
        simulator.arg("--engine");
    }
    for (option, path) in [
        ("--json", &arguments.json),
        ("--plot", &arguments.plot),
        ("--check", &arguments.check),
    ] {
        if let Some(path) = path {
            // Meant as seen from here.
            let path =
                absolute(path).with_context(|| format!("could not make {option} absolute"))?;
            simulator.arg(option).arg(path);
        }
    }
    if let Some(seed) = arguments.seed {
        simulator.args(["--seed", &seed.to_string()]);
    }
    child::run(&mut simulator).map(ExitCode::from)
}
