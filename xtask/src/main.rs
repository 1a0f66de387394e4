//! The project's own commands: `cargo xtask <command>`.
//!
//! Each command is one file. What a command prints on standard output is its result; everything
//! else goes to standard error.

#![allow(clippy::print_stdout, reason = "a command's output is its purpose")]

mod databases;
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
    /// Start, list and end the database servers on their own.
    Databases(databases::Arguments),
}

fn main() -> ExitCode {
    let ended = match Arguments::parse().command {
        Command::Databases(arguments) => databases::run(&arguments),
    };
    ended.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
