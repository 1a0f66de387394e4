//! `cargo xtask bench`: this project and its peers, side by side in one run.

use std::path::{Path, PathBuf, absolute};
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};
use test_servers::Kind;

use crate::{child, servers, workspace};

#[derive(Args)]
pub(crate) struct Arguments {
    /// What to measure.
    #[arg(value_enum, default_value_t = Suite::Checkout)]
    suite: Suite,
    /// Fewer and shorter rounds: for a look, not for a figure.
    #[arg(long)]
    quick: bool,
    /// Only the benchmarks whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// Write the results to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// End with a failure when a target is missed.
    #[arg(long)]
    check: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Suite {
    /// A checkout on a fake connection: pool-core, deadpool, bb8, mobc, fast_pool; sqlx on a server.
    Checkout,
    /// Resolving, scopes, operations: service-container, shaku, dependency-injector.
    Container,
    /// Operations on a server: pool-mongo and the driver below it.
    Mongo,
    /// Statements at a server: pool-postgres, sqlx, deadpool-postgres, bb8-postgres, no pool.
    Postgres,
}

impl Suite {
    pub(crate) const ALL: [Self; 4] =
        [Self::Checkout, Self::Container, Self::Mongo, Self::Postgres];

    pub(crate) const fn program(self) -> &'static str {
        match self {
            Self::Checkout => "checkout",
            Self::Container => "container",
            Self::Mongo => "mongo",
            Self::Postgres => "postgres",
        }
    }

    const fn servers(self) -> &'static [Kind] {
        match self {
            Self::Checkout | Self::Postgres => &[Kind::Postgres],
            Self::Container => &Kind::ALL,
            Self::Mongo => &[Kind::Mongo],
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let Arguments {
        suite,
        quick,
        only,
        json,
        check,
    } = arguments;
    let Some(mut bench) = program(suite.program())? else {
        return Ok(ExitCode::FAILURE);
    };
    let servers = servers::all(suite.servers())?;
    if *quick {
        bench.arg("--quick");
    }
    if *check {
        bench.arg("--check");
    }
    if let Some(only) = only {
        bench.args(["--only", only]);
    }
    if let Some(file) = json {
        // Meant as seen from here.
        bench
            .arg("--json")
            .arg(absolute(file).context("could not make --json absolute")?);
    }
    servers::tell(&mut bench, &servers);
    child::run(&mut bench).map(ExitCode::from)
}

/// Runs a whole suite for its figures.
pub(crate) fn measure(suite: Suite, json: &Path) -> Result<ExitCode> {
    run(&Arguments {
        suite,
        quick: false,
        only: None,
        json: Some(json.to_owned()),
        check: false,
    })
}

/// Builds a program of `benches/`, and gives the command that runs it; none when it does not build.
pub(crate) fn program(name: &str) -> Result<Option<Command>> {
    // Peers' crates stay in a workspace, and a target folder, of their own.
    let manifest = workspace::root().join("benches/Cargo.toml");
    let manifest = manifest
        .to_str()
        .context("the path of the workspace is not UTF-8")?;
    let common = ["--release", "--manifest-path", manifest, "--bin", name];
    let mut build = workspace::cargo();
    build.arg("build").args(common);
    if child::succeed(&mut build)?.is_some() {
        return Ok(None);
    }
    let mut run = workspace::cargo();
    run.args(["run", "--quiet"]).args(common).arg("--");
    Ok(Some(run))
}
