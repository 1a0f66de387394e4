//! `cargo xtask chaos`: what befalls a server, and what this project and its peers make of it.

use std::path::{PathBuf, absolute};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{bench, child};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only this scenario, `kill-restart` for instance; `all` for each in turn.
    #[arg(long, default_value = "all")]
    scenario: String,
    /// How long each fault lasts, in seconds. Without it 10 for `freeze`, 15 for `blackhole`, 5 for
    /// the others.
    #[arg(long)]
    fault_seconds: Option<f64>,
    /// A soak: go on for so long with this project's pools alone, and watch memory, descriptors
    /// and tasks.
    #[arg(long)]
    seconds: Option<u64>,
    /// Write the results to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Some(mut chaos) = bench::program("chaos")? else {
        return Ok(ExitCode::FAILURE);
    };
    chaos.args(["--scenario", &arguments.scenario]);
    if let Some(seconds) = arguments.fault_seconds {
        chaos.args(["--fault-seconds", &seconds.to_string()]);
    }
    if let Some(seconds) = arguments.seconds {
        chaos.args(["--seconds", &seconds.to_string()]);
        // glibc gives threads arenas of their own, and what each keeps for later grows for hours:
        // that is not what a soak looks for.
        chaos.env("MALLOC_ARENA_MAX", "1");
    }
    if let Some(file) = &arguments.json {
        // Meant as seen from here.
        chaos
            .arg("--json")
            .arg(absolute(file).context("could not make --json absolute")?);
    }
    child::run(&mut chaos).map(ExitCode::from)
}
