//! `cargo xtask validate-sizing`: pools that size themselves, on real servers.

use std::path::{PathBuf, absolute};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;
use test_servers::Kind;

use crate::{bench, child, servers};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Shorter and once: for a look, not for a figure. No missed target fails.
    #[arg(long)]
    quick: bool,
    /// Only the benchmarks whose name contains this: `mongo`, `postgres/step`, `usl`.
    #[arg(long)]
    only: Option<String>,
    /// Write the results to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Draw each load and subject into this folder.
    #[arg(long)]
    plot: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Some(mut validation) = bench::program("validate-sizing")? else {
        return Ok(ExitCode::FAILURE);
    };
    let servers = servers::all(&[Kind::Postgres, Kind::Mongo])?;
    if arguments.quick {
        validation.arg("--quick");
    }
    if let Some(only) = &arguments.only {
        validation.args(["--only", only]);
    }
    for (option, path) in [("--json", &arguments.json), ("--plot", &arguments.plot)] {
        if let Some(path) = path {
            // Meant as seen from here.
            let path =
                absolute(path).with_context(|| format!("could not make {option} absolute"))?;
            validation.arg(option).arg(path);
        }
    }
    servers::tell(&mut validation, &servers);
    child::run(&mut validation).map(ExitCode::from)
}
