//! `cargo xtask test`: every test there is.

use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use clap::Args;

use crate::workspace::{self, Metadata, Package};
use crate::{child, servers};

/// Tests that try every interleaving under loom.
///
/// A crate's model replaces its primitives under the `cfg` flag under which it depends on loom. That
/// flag must not meet the ordinary build, so each flag has a target folder of its own.
struct Model {
    package: &'static str,
    /// Which of its tests, as cargo is told.
    tests: &'static [&'static str],
}

/// The models, by hand: a package that depends on loom has to be listed, and one that is listed has
/// to depend on loom.
const MODELS: &[Model] = &[
    Model {
        package: "pool-core",
        tests: &["--lib", "loom"],
    },
    Model {
        package: "service-container",
        tests: &["--test", "loom_ledger", "--test", "loom_scopes"],
    },
];

#[derive(Args, Default)]
pub(crate) struct Arguments {
    /// Arguments for the test programs, after `--`.
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    for (model, flag) in flags(MODELS, &Metadata::read()?)? {
        eprintln!(
            "loom: {} {} (--cfg {flag})",
            model.package,
            model.tests.join(" ")
        );
        let mut command = workspace::cargo();
        command
            .args(["test", "--release", "--package", model.package])
            .args(model.tests)
            .env("RUSTFLAGS", format!("--cfg {flag}"))
            .env(
                "CARGO_TARGET_DIR",
                workspace::root().join("target/loom").join(&flag),
            );
        if let Some(failed) = child::succeed(&mut command)? {
            return Ok(failed);
        }
    }
    let every_test = ["test", "--workspace", "--no-fail-fast"];
    // Built before the servers start: they need not wait for the compiler.
    if let Some(failed) = child::succeed(workspace::cargo().args(every_test).arg("--no-run"))? {
        return Ok(failed);
    }
    let servers = servers::all_that_can_be_had()?;
    let mut command = workspace::cargo();
    command.args(every_test);
    if !arguments.rest.is_empty() {
        command.arg("--").args(&arguments.rest);
    }
    servers::tell(&mut command, &servers);
    child::run(&mut command).map(ExitCode::from)
}

/// Each model with the flag under which its package depends on loom.
fn flags<'a>(models: &'a [Model], metadata: &Metadata) -> Result<Vec<(&'a Model, String)>> {
    let flag_of = |package: &Package| {
        let loom = package
            .dependencies
            .iter()
            .find(|dependency| dependency.name == "loom")?;
        let flag = loom
            .target
            .as_deref()?
            .strip_prefix("cfg(")?
            .strip_suffix(')')?;
        Some(flag.to_owned())
    };
    for package in metadata
        .packages
        .iter()
        .filter(|package| flag_of(package).is_some())
    {
        let listed = models.iter().any(|model| model.package == package.name);
        ensure!(
            listed,
            "{} depends on loom: list its model in xtask/src/test.rs",
            package.name
        );
    }
    let with_flag = |model: &'a Model| {
        let flag = metadata
            .package(model.package)
            .and_then(flag_of)
            .with_context(|| {
                let package = model.package;
                format!(
                    "xtask/src/test.rs lists a loom model of {package}, which does not use loom"
                )
            })?;
        Ok((model, flag))
    };
    models.iter().map(with_flag).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"packages": [
        {"name": "pool-core", "manifest_path": "/w/Cargo.toml", "targets": [], "dependencies": [
            {"name": "loom", "kind": null, "path": null, "target": "cfg(pool_loom)"}
        ]},
        {"name": "xtask", "manifest_path": "/w/Cargo.toml", "targets": [], "dependencies": []}
    ]}"#;

    #[track_caller]
    fn check(packages: &[&'static str], expected: Result<&[&str], &str>) {
        let metadata = serde_json::from_str(METADATA).unwrap();
        let models: Vec<_> = packages
            .iter()
            .map(|package| Model {
                package,
                tests: &["--lib"],
            })
            .collect();
        match (flags(&models, &metadata), expected) {
            (Ok(found), Ok(expected)) => {
                let found: Vec<_> = found.iter().map(|(_, flag)| flag.as_str()).collect();
                assert_eq!(found, expected);
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, _) => panic!("{:?}", found.map(|found| found.len())),
        }
    }

    #[test]
    fn models_and_packages_that_use_loom_agree() {
        check(&["pool-core"], Ok(&["pool_loom"]));
        check(&[], Err("pool-core depends on loom: list its model"));
        check(
            &["pool-core", "xtask"],
            Err("a loom model of xtask, which does not use loom"),
        );
    }
}
