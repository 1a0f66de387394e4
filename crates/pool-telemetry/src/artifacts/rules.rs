//! The rules file.

use std::fmt::Write as _;

use super::alerts::{ALERTS, Times, WAIT_P99, wait_p99};

/// The alert rules for Prometheus, as YAML.
///
/// `scale` shortens every duration: 1 for use; less to try the rules in seconds, when Prometheus
/// scrapes once a second.
#[must_use]
pub fn prometheus_rules(scale: f64) -> String {
    let times = Times { scale };
    let mut text = "# Made by `cargo xtask telemetry` from crates/pool-telemetry/src/artifacts; \
                    do not edit.\ngroups:\n  - name: pools\n    rules:\n"
        .to_owned();
    for (record, seconds) in WAIT_P99 {
        let _ = writeln!(text, "      - record: {record}");
        expression(&mut text, &wait_p99(times, seconds));
    }
    for alert in ALERTS {
        let _ = writeln!(text, "      - alert: {}", alert.name);
        expression(&mut text, &(alert.expression)(&times));
        let _ = writeln!(text, "        for: {}", times.of(alert.holds));
        let _ = writeln!(text, "        labels:");
        let _ = writeln!(text, "          severity: {}", alert.severity.as_str());
        let _ = writeln!(text, "        annotations:");
        let _ = writeln!(text, "          summary: '{}'", alert.template());
        let _ = writeln!(text, "          runbook_url: {}", alert.runbook());
    }
    text
}

fn expression(text: &mut String, expression: &str) {
    let _ = writeln!(text, "        expr: |-");
    for line in expression.lines() {
        let _ = writeln!(text, "          {line}");
    }
}
