//! `cargo xtask miri`: the unit tests that do no I/O, in an interpreter that sees undefined behaviour,
//! leaks and races of what they run through.

use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;

use crate::{child, workspace};

/// The packages whose unit tests do no I/O. Tests that would take hours there are shorter under
/// `cfg!(miri)`.
const PACKAGES: &[&str] = &["pool-core", "service-container"];

pub(crate) fn run() -> Result<ExitCode> {
    let there = nightly()
        .args(["miri", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !there {
        eprintln!(
            "SKIPPED miri: not on this machine; \
             `rustup toolchain install nightly --component miri --component rust-src` adds it"
        );
        return Ok(ExitCode::SUCCESS);
    }
    for package in PACKAGES {
        eprintln!("miri: {package}");
        let mut command = nightly();
        command
            .args(["miri", "test", "--lib", "--package", package])
            .current_dir(workspace::root())
            .env("MIRIFLAGS", "-Zmiri-disable-isolation");
        if let Some(failed) = child::succeed(&mut command)? {
            return Ok(failed);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The workspace's own toolchain is a stable one; miri comes with nightly ones.
fn nightly() -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]);
    command
}
