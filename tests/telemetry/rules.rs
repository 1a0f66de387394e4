//! The files that are made from the table: as committed, and as promtool sees them.

use std::collections::BTreeSet;
use std::process::Command;

use integration_tests::program;
use integration_tests::prometheus::{check_metrics, root};
use pool_telemetry::{METRICS, Registry, TextFormat, artifacts};

use crate::support::{pool, succeed};

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

/// The scrape configuration that the page shows, beside the rules that it names.
#[test]
fn promtool_accepts_the_configuration_of_the_page() {
    let Some(promtool) = program("promtool", "prometheus") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("pools.rules.yml");
    std::fs::copy(root().join("alerts/pools.rules.yml"), rules).unwrap();
    let page = include_str!("../../docs/operations.md");
    let mut accepted = 0;
    for block in page.split("```yaml\n").skip(1) {
        let (block, _) = block.split_once("```").expect("a block ends");
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, block).unwrap();
        let told = succeed(Command::new(&promtool).args(["check", "config"]).arg(&file));
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains("SUCCESS: 1 rule files found"), "{told}");
        accepted += 1;
    }
    assert_eq!(accepted, 1);
}

/// A rule test that finds the wrong thing fails: the tests can.
#[test]
fn promtool_tells_when_a_rule_changes() {
    let Some(promtool) = program("promtool", "prometheus") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let rules = artifacts::prometheus_rules(1.0);
    // Whose stories have to notice, what was changed, and the rules with it.
    let mut changed: Vec<(&str, String, String)> = Vec::new();
    for (alert, was, is) in [
        ("PoolWaitHigh", "> 0.25", "> 0.15"),
        ("PoolPaused", ") == 1", ") == 0"),
        ("PoolAcquireTimeouts", "> 0.01", "> 0.005"),
        ("PoolFlapping", "> 1.5", "> 0.9"),
        // Windows longer than the time for which it has to hold: ten bad seconds would do.
        ("PoolAcquireTimeouts", "total[1m]", "total[5m]"),
        ("PoolConnectFailures", "total[1m]", "total[3m]"),
        ("PoolHoldTimeRegression", "[5m]", "[12m]"),
        ("PoolFlapping", "[5m]", "[12m]"),
        // A series that is not looked at.
        ("PoolFlapping", "direction=\"up\"", "direction=\"down\""),
        ("PoolFlapping", "direction=\"down\"", "direction=\"up\""),
    ] {
        assert!(rules.contains(was), "{was}");
        changed.push((alert, is.to_owned(), rules.replace(was, is)));
    }
    // Each alert has to hold for its time.
    for alert in artifacts::ALERTS {
        let begin = rules.find(&format!("alert: {}\n", alert.name)).unwrap();
        let wait = begin + rules[begin..].find("for: ").unwrap() + "for: ".len();
        let end = wait + rules[wait..].find('\n').unwrap();
        let hasty = format!("{}0s{}", &rules[..wait], &rules[end..]);
        changed.push((alert.name, "at once".to_owned(), hasty));
    }
    for (alert, is, rules) in changed {
        std::fs::write(folder.path().join("pools.rules.yml"), rules).unwrap();
        let tests = folder.path().join("tests.yml");
        std::fs::write(&tests, stories_of(alert)).unwrap();
        let output = Command::new(&promtool)
            .args(["test", "rules"])
            .arg(&tests)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1), "{alert}: {is}");
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains("FAILED"),
            "{alert}: {is} was not noticed: {said}"
        );
    }
}

/// The stories of one alert: all of them take too long for each change.
fn stories_of(alert: &str) -> String {
    const BEGIN: &str = "  - name: '";
    let all = artifacts::prometheus_rule_tests();
    let mut parts = all.split(BEGIN);
    let head = parts.next().unwrap().to_owned();
    let own: Vec<_> = parts
        .filter(|story| story.starts_with(&format!("{alert} ")))
        .collect();
    assert!(own.len() > 4, "{alert}: {}", own.len());
    own.iter().fold(head, |text, story| text + BEGIN + story)
}

#[test]
fn an_alert_leads_to_its_section_from_anywhere() {
    for alert in artifacts::ALERTS {
        let (address, section) = (alert.runbook(), alert.name.to_lowercase());
        assert!(address.starts_with("https://"), "{address}");
        let end = format!("/docs/runbook.md#{section}");
        assert!(address.ends_with(&end), "{address}");
    }
}

#[tokio::test]
async fn promtool_finds_nothing_wrong_with_the_metrics() {
    let registry = Registry::new();
    for name in ["orders", "stock"] {
        registry.register(pool(name).0).unwrap();
    }
    check_metrics(&TextFormat::Classic.render(&registry.read()).1);
}
