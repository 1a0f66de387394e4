//! The project's own commands: `cargo xtask <command>`.
//!
//! Each command is one file. What a command prints on standard output is its result; everything
//! else goes to standard error.

#![allow(clippy::print_stdout, reason = "a command's output is its purpose")]

mod bench;
mod chaos;
mod child;
mod ci;
mod databases;
mod demo;
mod features;
mod miri;
mod release;
mod report;
mod servers;
mod simulate;
mod telemetry;
mod test;
mod test_integration;
mod tidy;
mod validate_sizing;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "The project's own commands."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure this project beside its peers, in one run.
    Bench(bench::Arguments),
    /// Do the worst to a server under load, and count what must not happen.
    Chaos(chaos::Arguments),
    /// Format, clippy, rustdoc, tidy, then every test: what a change has to pass.
    Ci(ci::Arguments),
    /// Start, list and end the database servers on their own.
    Databases(databases::Arguments),
    /// Run the market-data service under load, on servers started for it.
    Demo(demo::Arguments),
    /// Run the unit tests that do no I/O under miri, where it is installed.
    Miri,
    /// Build each published crate with each of its features, and any two of them.
    Features(features::Arguments),
    /// Pack what is published, and look for what a package has to bring along.
    Release(release::Arguments),
    /// Run the benches, and make the charts and tables of the documentation from what they measured.
    Report(report::Arguments),
    /// Make the dashboard, the alert rules and the reference of the metrics from their table.
    Telemetry(telemetry::Arguments),
    /// Run the sizing policies of production, and other pools' ways, under simulated load.
    Simulate(simulate::Arguments),
    /// Run every test, on servers started for them.
    Test(test::Arguments),
    /// Run the suites against real servers.
    TestIntegration(test_integration::Arguments),
    /// Check what no compiler checks: which crate uses which, and the rules of the source.
    Tidy,
    /// Put pools that size themselves under load on real servers, beside fixed ones and peers.
    ValidateSizing(validate_sizing::Arguments),
}

fn main() -> ExitCode {
    let ended = match &Arguments::parse().command {
        Command::Bench(arguments) => bench::run(arguments),
        Command::Chaos(arguments) => chaos::run(arguments),
        Command::Ci(arguments) => ci::run(arguments),
        Command::Databases(arguments) => databases::run(arguments),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Miri => miri::run(),
        Command::Features(arguments) => features::run(arguments),
        Command::Release(arguments) => release::run(arguments),
        Command::Report(arguments) => report::run(arguments),
        Command::Telemetry(arguments) => telemetry::run(arguments),
        Command::Simulate(arguments) => simulate::run(arguments),
        Command::Test(arguments) => test::run(arguments),
        Command::TestIntegration(arguments) => test_integration::run(arguments),
        Command::Tidy => tidy::run(),
        Command::ValidateSizing(arguments) => validate_sizing::run(arguments),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
