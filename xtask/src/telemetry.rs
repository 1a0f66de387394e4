//! `cargo xtask telemetry`: the files that are made from the table of metrics.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::{child, workspace};

/// What the example writes.
const FILES: [&str; 4] = [
    "alerts/pools.rules.test.yml",
    "alerts/pools.rules.yml",
    "dashboards/grafana-pools.json",
    "docs/metrics.md",
];

const RUNBOOK: &str = "docs/runbook.md";

#[derive(Args, Default)]
pub(crate) struct Arguments {
    /// Change nothing; fail when a file is not what the table says.
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let root = workspace::root();
    let made = Folder::new()?;
    let written = if arguments.check { &made.0 } else { &root };
    // A program of its own: so this one need not compile the pools first.
    let mut example = workspace::cargo();
    example.args(["run", "--quiet", "--package", "pool-telemetry"]);
    example.args(["--no-default-features", "--features", "artifacts"]);
    example.args(["--example", "artifacts", "--"]).arg(written);
    if let Some(failed) = child::succeed(&mut example)? {
        return Ok(failed);
    }
    let mut stale = Vec::new();
    if arguments.check {
        for file in FILES {
            if read(&root.join(file)).ok() != Some(read(&made.0.join(file))?) {
                stale.push(format!(
                    "{file}: not what the table says; cargo xtask telemetry"
                ));
            }
        }
    }
    stale.extend(unexplained(
        &read(&root.join("alerts/pools.rules.yml"))?,
        &read(&root.join(RUNBOOK))?,
    ));
    stale.iter().for_each(|problem| println!("{problem}"));
    eprintln!(
        "telemetry: {} files, {} problem(s)",
        FILES.len(),
        stale.len()
    );
    Ok(if stale.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("could not read {}", path.display()))
}

/// Alerts without a section in the runbook, and sections without an alert.
fn unexplained(rules: &str, runbook: &str) -> Vec<String> {
    let alerts: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let sections: Vec<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## Pool"))
        .map(|rest| format!("Pool{rest}"))
        .collect();
    let missing = alerts
        .iter()
        .filter(|alert| !sections.iter().any(|section| section == *alert));
    let missing = missing.map(|alert| format!("{RUNBOOK}: no section ## {alert}"));
    let idle = sections
        .iter()
        .filter(|section| !alerts.contains(&section.as_str()));
    missing
        .chain(idle.map(|section| format!("{RUNBOOK}: ## {section} is about no alert")))
        .collect()
}

/// A folder that goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("telemetry-check-{}", std::process::id()));
        fs::create_dir_all(&path).context("could not make a folder")?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(runbook: &str, problems: usize) {
        let rules = "      - alert: PoolFull\n      - alert: PoolSlow\n";
        assert_eq!(unexplained(rules, runbook).len(), problems);
    }

    #[test]
    fn each_alert_has_its_section_and_each_section_its_alert() {
        check("## PoolFull\n## PoolSlow\n## About\n", 0);
        check("## PoolFull\n", 1);
        check("## PoolFull\n## PoolSlow\n## PoolGone\n", 1);
    }
}
