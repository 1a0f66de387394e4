//! `cargo xtask demo`: the market-data service under a load that rises and falls, on servers that
//! start and end with it.

use std::path::{PathBuf, absolute};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use test_servers::Kind;

use crate::workspace::{self, Metadata};
use crate::{child, servers};

const PACKAGE: &str = "market-data";

#[derive(Args)]
pub(crate) struct Arguments {
    /// How long the load lasts.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: Option<u32>,
    /// Without the live table.
    #[arg(long)]
    headless: bool,
    /// Write the results to this file as well.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Where to show the live page and the metrics; defaults to a free port of 127.0.0.1.
    #[arg(long)]
    listen: Option<String>,
    /// Write a picture of the live page under load to this PNG, if there is a Chromium.
    #[arg(long)]
    screenshot: Option<PathBuf>,
}

impl Arguments {
    fn pass_on(&self) -> Result<Vec<String>> {
        let mut passed = Vec::new();
        if let Some(seconds) = self.seconds {
            passed.extend(["--seconds".to_owned(), seconds.to_string()]);
        }
        if self.headless {
            passed.push("--headless".to_owned());
        }
        if let Some(address) = &self.listen {
            passed.extend(["--listen".to_owned(), address.clone()]);
        }
        let files = [("--json", &self.json), ("--screenshot", &self.screenshot)];
        for (name, file) in files {
            let Some(file) = file else { continue };
            // Meant as seen from here; the service runs in the workspace's root.
            let file = absolute(file).with_context(|| format!("could not make {name} absolute"))?;
            let file = file
                .to_str()
                .with_context(|| format!("{name} is not UTF-8"))?;
            passed.extend([name.to_owned(), file.to_owned()]);
        }
        Ok(passed)
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let metadata = Metadata::read()?;
    ensure!(
        metadata.package(PACKAGE).is_some(),
        "the workspace has no package {PACKAGE}; it belongs in examples/market-data"
    );
    let passed = arguments.pass_on()?;
    // Built before the servers start: they need not wait for the compiler. In the profile of the
    // tests, so that a fresh machine compiles the drivers once.
    let began = Instant::now();
    let mut build = workspace::cargo();
    build.args(["build", "--package", PACKAGE]);
    if let Some(failed) = child::succeed(&mut build)? {
        return Ok(failed);
    }
    let built = began.elapsed();
    let servers = servers::all(&Kind::ALL)?;
    eprintln!(
        "demo: built in {:.1} s, servers up after {:.1} s more",
        built.as_secs_f64(),
        (began.elapsed() - built).as_secs_f64()
    );
    let mut service = workspace::cargo();
    service
        .args(["run", "--quiet", "--package", PACKAGE, "--"])
        .args(passed);
    servers::tell(&mut service, &servers);
    child::run(&mut service).map(ExitCode::from)
}
