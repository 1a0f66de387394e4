//! `cargo xtask test`: every test there is.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use crate::workspace::{self, Metadata};
use crate::{child, servers};

/// A test program that tries every interleaving under loom.
///
/// A crate's model replaces its primitives under a `cfg` flag, and that flag must not meet the
/// ordinary build: each flag has a target folder of its own.
struct Model {
    package: &'static str,
    test: &'static str,
    cfg: &'static str,
}

/// The models, by hand: a test program whose name begins with `loom` and that is not listed here is
/// an error, and so is a line here without its program.
const MODELS: &[Model] = &[];

#[derive(Args, Default)]
pub(crate) struct Arguments {
    /// Arguments for the test programs, after `--`.
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    check_models(MODELS, &Metadata::read()?)?;
    for model in MODELS {
        eprintln!(
            "loom: {} {} (--cfg {})",
            model.package, model.test, model.cfg
        );
        let mut command = workspace::cargo();
        command
            .args([
                "test",
                "--release",
                "--package",
                model.package,
                "--test",
                model.test,
            ])
            .env("RUSTFLAGS", format!("--cfg {}", model.cfg))
            .env(
                "CARGO_TARGET_DIR",
                workspace::root().join("target/loom").join(model.cfg),
            );
        if let Some(failed) = child::succeed(&mut command)? {
            return Ok(failed);
        }
    }
    let servers = servers::all_that_can_be_had()?;
    let mut command = workspace::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]);
    if !arguments.rest.is_empty() {
        command.arg("--").args(&arguments.rest);
    }
    servers::tell(&mut command, &servers);
    child::run(&mut command).map(ExitCode::from)
}

fn check_models(models: &[Model], metadata: &Metadata) -> Result<()> {
    let tests = metadata.tests();
    for Model { package, test, .. } in models {
        let is_there = tests.get(package).is_some_and(|tests| tests.contains(test));
        ensure!(
            is_there,
            "the loom model {package} {test} in xtask/src/test.rs does not exist"
        );
    }
    for (package, tests) in tests {
        for test in tests.iter().filter(|test| test.starts_with("loom")) {
            let listed = models
                .iter()
                .any(|model| model.package == package && model.test == *test);
            ensure!(
                listed,
                "list the loom model {package} {test} in xtask/src/test.rs"
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const METADATA: &str = r#"{"packages": [{
        "name": "pool-core", "manifest_path": "/w/crates/pool-core/Cargo.toml", "dependencies": [],
        "targets": [{"name": "pool_core", "kind": ["lib"]}, {"name": "loom_waiters", "kind": ["test"]}]
    }]}"#;

    #[track_caller]
    fn check(models: &[(&'static str, &'static str)], expected: Option<&str>) {
        let metadata = serde_json::from_str(METADATA).unwrap();
        let models: Vec<_> = models
            .iter()
            .map(|(package, test)| Model {
                package,
                test,
                cfg: "loom",
            })
            .collect();
        let said = check_models(&models, &metadata)
            .err()
            .map(|error| error.to_string());
        match expected {
            None => assert_eq!(said, None),
            Some(part) => assert!(said.as_deref().unwrap_or("").contains(part), "{said:?}"),
        }
    }

    #[test]
    fn models_and_test_programs_agree() {
        check(&[("pool-core", "loom_waiters")], None);
        check(&[], Some("list the loom model pool-core loom_waiters"));
        let gone = [("pool-core", "loom_waiters"), ("pool-core", "loom_gone")];
        check(
            &gone,
            Some("pool-core loom_gone in xtask/src/test.rs does not exist"),
        );
    }
}
