//! The files that are made from the table: as committed, and as promtool sees them.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, Stdio};

use integration_tests::program;
use pool_telemetry::{METRICS, Registry, TextFormat, artifacts};

use crate::support::{pool, root, succeed};

#[test]
fn the_committed_files_are_what_the_table_says() {
    for (file, made) in [
        ("alerts/pools.rules.yml", artifacts::prometheus_rules(1.0)),
        (
            "alerts/pools.rules.test.yml",
            artifacts::prometheus_rule_tests(),
        ),
        (
            "dashboards/grafana-pools.json",
            artifacts::grafana_dashboard(),
        ),
        ("docs/metrics.md", artifacts::metric_reference()),
    ] {
        let committed = std::fs::read_to_string(root().join(file)).unwrap_or_default();
        let same = if file.ends_with(".json") {
            // In which order keys stand depends on what else is compiled with serde_json.
            let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
            parsed(&committed) == parsed(&made)
        } else {
            committed == made
        };
        assert!(same, "{file}: run cargo xtask telemetry");
    }
}

#[test]
fn every_metric_is_on_the_dashboard() {
    let dashboard = artifacts::grafana_dashboard();
    for metric in METRICS {
        assert!(
            dashboard.contains(&metric.prometheus_name()),
            "{}",
            metric.name
        );
    }
}

#[test]
fn every_alert_has_a_section_in_the_runbook() {
    let runbook = std::fs::read_to_string(root().join("docs/runbook.md")).unwrap();
    let sections: BTreeSet<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .collect();
    let alerts: BTreeSet<_> = artifacts::ALERTS.iter().map(|alert| alert.name).collect();
    assert_eq!(sections, alerts);
}

#[test]
fn promtool_accepts_the_rules_and_their_tests_pass() {
    let Some(promtool) = program("promtool", "prometheus") else {
        return;
    };
    let alerts = root().join("alerts");
    succeed(
        Command::new(&promtool)
            .args(["check", "rules"])
            .arg(alerts.join("pools.rules.yml")),
    );
    let tests = alerts.join("pools.rules.test.yml");
    succeed(Command::new(&promtool).args(["test", "rules"]).arg(tests));
}

/// A rule test that finds the wrong thing fails: the tests can.
#[test]
fn promtool_tells_when_a_threshold_moves() {
    let Some(promtool) = program("promtool", "prometheus") else {
        return;
    };
    let folder = crate::support::Folder::new("rules");
    let rules = artifacts::prometheus_rules(1.0);
    for (was, is) in [
        ("> 0.25", "> 0.15"),
        (") == 1", ") == 0"),
        ("> 0.01", "> 0.005"),
    ] {
        assert!(rules.contains(was), "{was}");
        std::fs::write(folder.0.join("pools.rules.yml"), rules.replace(was, is)).unwrap();
        let tests = folder.0.join("tests.yml");
        std::fs::write(&tests, artifacts::prometheus_rule_tests()).unwrap();
        let output = Command::new(&promtool)
            .args(["test", "rules"])
            .arg(&tests)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{is} was not noticed");
    }
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let Some(promtool) = program("promtool", "prometheus") else {
        return;
    };
    let registry = Registry::new();
    for name in ["orders", "stock"] {
        registry.register(pool(name).0).unwrap();
    }
    let (_, text) = TextFormat::Classic.render(&registry.read());
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    check
        .stdin
        .take()
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
    let output = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
