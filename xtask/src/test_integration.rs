//! `cargo xtask test-integration`: the suites in `tests/` against real servers.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;
use test_servers::Kind;

use crate::databases::Selection;
use crate::workspace::{self, Metadata};
use crate::{child, servers};

const PACKAGE: &str = "integration-tests";

#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    selection: Selection,
    /// Arguments for the test programs, after `--`.
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let metadata = Metadata::read()?;
    let kinds = arguments.selection.kinds();
    let suites = suites(&metadata, &kinds)?;
    let tests = || {
        let mut command = workspace::cargo();
        command.args(["test", "--no-fail-fast", "--package", PACKAGE]);
        command.args(suites.iter().flat_map(|suite| ["--test", suite]));
        command
    };
    // Built before the servers start: they need not wait for the compiler.
    if let Some(failed) = child::succeed(tests().arg("--no-run"))? {
        return Ok(failed);
    }
    let servers = servers::all(&kinds)?;
    let mut command = tests();
    if !arguments.rest.is_empty() {
        command.arg("--").args(&arguments.rest);
    }
    servers::tell(&mut command, &servers);
    child::run(&mut command).map(ExitCode::from)
}

/// The suite of each kind, and when both servers are there also those that need both.
fn suites<'a>(metadata: &'a Metadata, kinds: &[Kind]) -> Result<Vec<&'a str>> {
    let package = metadata
        .package(PACKAGE)
        .with_context(|| format!("the workspace has no package {PACKAGE}; it belongs in tests/"))?;
    let there = package.tests();
    for kind in kinds {
        let slug = kind.slug();
        ensure!(
            there.contains(&slug),
            "the package {PACKAGE} has no test program {slug}"
        );
    }
    let of_a_kind = |name: &str| Kind::ALL.iter().find(|kind| kind.slug() == name);
    Ok(there
        .into_iter()
        .filter(|name| match of_a_kind(name) {
            Some(kind) => kinds.contains(kind),
            None => kinds.len() == Kind::ALL.len(),
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(name: &str, tests: &[&str]) -> Metadata {
        let targets: Vec<_> = tests
            .iter()
            .map(|test| serde_json::json!({ "name": test, "kind": ["test"] }))
            .collect();
        serde_json::from_value(serde_json::json!({ "packages": [{
            "name": name, "manifest_path": "/w/tests/Cargo.toml", "dependencies": [],
            "targets": targets,
        }] }))
        .unwrap()
    }

    #[test]
    fn one_database_runs_its_own_suite_and_both_run_everything() {
        let metadata = metadata(PACKAGE, &["postgres", "mongo", "service"]);
        assert_eq!(suites(&metadata, &[Kind::Mongo]).unwrap(), ["mongo"]);
        assert_eq!(
            suites(&metadata, &Kind::ALL).unwrap(),
            ["postgres", "mongo", "service"]
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = suites(&metadata("other", &[]), &Kind::ALL)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the workspace has no package integration-tests; it belongs in tests/"
        );
        let error = suites(&metadata(PACKAGE, &["mongo"]), &Kind::ALL)
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "the package integration-tests has no test program postgres"
        );
    }
}
