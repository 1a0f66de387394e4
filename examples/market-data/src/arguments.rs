//! What the program is asked to do.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use connection_factory::FactoryConfig;

const EXIT_STATUS: &str = "Exit status: 0 after a whole run that was good, 130 after a good one that \
     a signal, or a reader of its output that went away, ended early, 1 where anything was wrong.";

/// A service over a PostgreSQL and a MongoDB pool, under a load that rises, bursts and falls.
#[derive(Debug, Parser)]
#[command(name = "market-data", after_help = EXIT_STATUS)]
pub(crate) struct Arguments {
    /// How long the load lasts.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Print a line a second instead of drawing a table.
    #[arg(long)]
    pub(crate) headless: bool,
    /// Write the results to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Where to show the live page and the metrics; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: String,
    /// Write a picture of the live page in the burst to this PNG, if there is a Chromium.
    #[arg(long, value_name = "FILE")]
    pub(crate) screenshot: Option<PathBuf>,
    /// Settings of the pools, as TOML, YAML or JSON, over those of the program.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Arguments {
    pub(crate) const fn load_time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// The settings of the pools: the program's own, the servers' URLs, the file, the environment,
    /// and last what makes this run different from all others.
    pub(crate) fn config(&self, run: &RunNames) -> Result<FactoryConfig> {
        // What is not text cannot be meant for this program.
        let text = |text: std::ffi::OsString| text.into_string().ok();
        let variables: Vec<_> = std::env::vars_os()
            .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
            .collect();
        let mut sources = FactoryConfig::sources()
            .toml("the program's pools.toml", include_str!("../pools.toml"))
            .server_urls(&variables);
        if let Some(file) = &self.config {
            sources = sources.file(file);
        }
        let mut sources = sources.variables("POOLS_", variables);
        let search_path = format!("set search_path = {}", run.schema);
        for (key, value) in [
            ("postgres.application_name", &run.application),
            ("postgres.init_sql", &search_path),
            ("postgres.name", &run.application),
            ("mongodb.name", &run.application),
            ("mongodb.database", &run.database),
        ] {
            sources = sources.set(&format!("services.market-data.{key}"), value);
        }
        Ok(sources.load()?)
    }

    /// Fails early, and without a trace, where the results could not be written at the end.
    pub(crate) fn check_outputs(&self) -> Result<()> {
        let outputs = [("--json", &self.json), ("--screenshot", &self.screenshot)];
        for (name, path) in outputs {
            let Some(path) = path else { continue };
            let folder = path
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or_else(|| Path::new("."));
            ensure!(
                folder.is_dir() && !path.is_dir(),
                "{name} {}: there is no such folder, or it is one itself",
                path.display()
            );
        }
        Ok(())
    }
}

/// What this run calls its own on the servers, so that several can share them.
#[derive(Clone, Debug)]
pub(crate) struct RunNames {
    /// The PostgreSQL schema.
    pub(crate) schema: String,
    /// The MongoDB database.
    pub(crate) database: String,
    /// What the servers call the pools' connections.
    pub(crate) application: String,
    /// What they call the connections that count them.
    pub(crate) observer: String,
}

impl RunNames {
    pub(crate) fn new() -> Self {
        let id = format!("{:08x}", fastrand::u32(..));
        let name = format!("market_data_demo_{id}");
        Self {
            schema: name.clone(),
            database: name,
            application: format!("market-data-{id}"),
            observer: format!("market-data-{id}-observer"),
        }
    }
}
