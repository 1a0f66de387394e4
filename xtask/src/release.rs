//! `cargo xtask release`: what has to be so before a version is published.

use std::process::{Command, ExitCode, Stdio};

use anyhow::Result;
use clap::Args;

use crate::workspace::{self, Metadata};
use crate::{child, features};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Without trying the features, which takes longest.
    #[arg(long)]
    no_features: bool,
    /// Also where files have changed since the last commit.
    #[arg(long)]
    allow_dirty: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let metadata = Metadata::read()?;
    // Packed as they would be sent; that they build is what the tests have shown.
    let mut package = workspace::cargo();
    package.args(["package", "--no-verify", "--locked"]);
    if arguments.allow_dirty {
        package.arg("--allow-dirty");
    }
    for one in metadata.published() {
        package.args(["--package", &one.name]);
    }
    if let Some(failed) = child::succeed(&mut package)? {
        return Ok(failed);
    }
    for one in metadata.published() {
        let packed = packed(&one.name)?;
        for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            if !packed.iter().any(|name| name == file) {
                eprintln!("error: {} would be published without {file}", one.name);
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    if let Some(failed) = deny()? {
        return Ok(failed);
    }
    if !arguments.no_features {
        return features::run(&features::Arguments::default());
    }
    Ok(ExitCode::SUCCESS)
}

/// The files of a package.
fn packed(name: &str) -> Result<Vec<String>> {
    let mut list = workspace::cargo();
    list.args(["package", "--list", "--allow-dirty", "--package", name]);
    let output = list.stderr(Stdio::inherit()).output()?;
    let files = String::from_utf8_lossy(&output.stdout);
    Ok(files.lines().map(str::to_owned).collect())
}

/// Licences, bans and sources, where cargo-deny is installed.
fn deny() -> Result<Option<ExitCode>> {
    let installed = Command::new("cargo-deny")
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if installed {
        let mut check = workspace::cargo();
        return child::succeed(check.args(["deny", "check", "bans", "licenses", "sources"]));
    }
    eprintln!("SKIPPED: no cargo-deny on this machine (cargo install --locked cargo-deny)");
    Ok(workspace::is_ci().then_some(ExitCode::FAILURE))
}
