//! A service over a PostgreSQL and a MongoDB pool, under a load that rises, bursts and falls.
//!
//! It is written the way a service on these pools is written: a container is set up once, each
//! operation has a context with its handler and its name, uses the pools and is disposed of. What
//! it adds is a load, a look at what the servers themselves count, and a report.

mod arguments;
mod data;
mod history;
mod live;
mod load_profile;
mod output;
mod page;
mod quotes;
mod report;
mod run;
mod serve;
mod subject;
mod truth;

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;

use crate::arguments::Arguments;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_standard_error();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run::run(&arguments));
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {}", explain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Warnings; those of the pools come through the service's own listeners.
fn log_to_standard_error() {
    use tracing_subscriber::filter::{LevelFilter, Targets};
    use tracing_subscriber::prelude::*;

    let filter = Targets::new()
        .with_default(LevelFilter::WARN)
        .with_target("pool_core", LevelFilter::ERROR);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_filter(filter);
    tracing_subscriber::registry().with(lines).init();
}

/// The error with its causes in one line. Some errors tell their cause themselves; it is not
/// repeated.
pub(crate) fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow!("the lamp is dark: no oil")
            .context("the keeper: the lamp is dark: no oil")
            .context("no light");
        let text = super::explain(&error);
        assert_eq!(text, "no light: the keeper: the lamp is dark: no oil");
    }
}
