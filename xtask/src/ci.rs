//! `cargo xtask ci`: what a change has to pass, in the order in which it fails soonest.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use crate::{child, test, tidy, workspace};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Everything but the tests.
    #[arg(long)]
    no_test: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut done: Vec<(&str, Duration)> = Vec::new();
    for (name, step) in steps(!arguments.no_test) {
        eprintln!("== {name}");
        let since = Instant::now();
        let failed = step()?;
        done.push((name, since.elapsed()));
        if let Some(code) = failed {
            report(&done, Some(name));
            return Ok(code);
        }
    }
    report(&done, None);
    Ok(ExitCode::SUCCESS)
}

type Step = fn() -> Result<Option<ExitCode>>;

fn steps(with_tests: bool) -> Vec<(&'static str, Step)> {
    let mut steps: Vec<(&'static str, Step)> = vec![
        ("format", || {
            child::succeed(&mut cargo(&["fmt", "--all", "--check"]))
        }),
        ("clippy", || {
            let lint = [
                "clippy",
                "--workspace",
                "--all-targets",
                "--",
                "--deny",
                "warnings",
            ];
            child::succeed(&mut cargo(&lint))
        }),
        ("rustdoc", || {
            let mut document = cargo(&["doc", "--workspace", "--no-deps"]);
            child::succeed(document.env("RUSTDOCFLAGS", "--deny warnings"))
        }),
        (
            "tidy",
            || Ok((!tidy::check()?).then_some(ExitCode::FAILURE)),
        ),
    ];
    if with_tests {
        steps.push(("test", || {
            let code = test::run(&test::Arguments::default())?;
            Ok((code != ExitCode::SUCCESS).then_some(code))
        }));
    }
    steps
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = workspace::cargo();
    command.args(arguments);
    command
}

fn report(done: &[(&str, Duration)], failed: Option<&str>) {
    eprintln!("==");
    for (name, took) in done {
        let verdict = if failed == Some(*name) {
            "FAILED"
        } else {
            "ok"
        };
        eprintln!("{name:<10} {verdict:<7} {:>7.1} s", took.as_secs_f64());
    }
}
