//! The workspace as cargo sees it.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

/// The root of the workspace this command was built from.
pub(crate) fn root() -> PathBuf {
    // Cargo says it when it runs the command; what it said at the build holds for a program that
    // was not built elsewhere.
    let own = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    own.parent().unwrap_or(&own).to_owned()
}

/// The cargo that runs this command, in the root of the workspace.
///
/// It is not told what cargo tells this program about its package. Build scripts of dependencies look at
/// such variables (ring's does), and would run again, with minutes of what depends on them, at each change
/// between a build from here and one from a shell.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_of_a_package) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether cargo sets this variable for the program that it runs, to say of which package it is.
fn is_of_a_package(name: &str) -> bool {
    name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
}

/// Whether a missing part of the environment is an error, as it is where nobody reads a warning.
pub(crate) fn is_ci() -> bool {
    env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// What `cargo metadata --no-deps` says, as far as these commands look at it.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
    /// Each with what it switches on.
    #[serde(default)]
    pub(crate) features: BTreeMap<String, Vec<String>>,
    /// What the manifest says for the tools of this project.
    #[serde(default)]
    pub(crate) metadata: Option<ForTools>,
    /// The registries that it may go to: nothing for any, none for one that is not published.
    #[serde(default)]
    pub(crate) publish: Option<Vec<String>>,
}

/// `[package.metadata]`, as far as these commands look at it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ForTools {
    /// Features of which at least one has to be on.
    #[serde(default)]
    pub(crate) one_of_features: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// `dev`, `build`, or nothing for a normal one.
    pub(crate) kind: Option<String>,
    /// Where it is, for one of this workspace.
    pub(crate) path: Option<PathBuf>,
    /// The `cfg(…)` under which it is one.
    #[serde(default)]
    pub(crate) target: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

impl Metadata {
    pub(crate) fn read() -> Result<Self> {
        let output = cargo()
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .output()
            .context("could not run cargo metadata")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "cargo metadata failed: {}",
            said.trim()
        );
        serde_json::from_slice(&output.stdout).context("could not read what cargo metadata says")
    }

    /// Those that others get.
    pub(crate) fn published(&self) -> impl Iterator<Item = &Package> {
        let published =
            |package: &&Package| package.publish.as_ref().is_none_or(|to| !to.is_empty());
        self.packages.iter().filter(published)
    }

    pub(crate) fn package(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| package.name == name)
    }
}

impl Package {
    pub(crate) fn tests(&self) -> Vec<&str> {
        let is_test = |target: &&Target| target.kind.iter().any(|kind| kind == "test");
        self.targets
            .iter()
            .filter(is_test)
            .map(|target| target.name.as_str())
            .collect()
    }
}
