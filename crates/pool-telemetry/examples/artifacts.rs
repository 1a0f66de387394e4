//! Writes the dashboard, the alert rules with their tests and the reference of the metrics into a
//! folder: `cargo run -p pool-telemetry --features artifacts --example artifacts -- FOLDER`.

use std::fs;
use std::path::PathBuf;

use pool_telemetry::artifacts;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(PathBuf::new, PathBuf::from);
    for (file, text) in [
        (
            "dashboards/grafana-pools.json",
            artifacts::grafana_dashboard(),
        ),
        ("alerts/pools.rules.yml", artifacts::prometheus_rules(1.0)),
        (
            "alerts/pools.rules.test.yml",
            artifacts::prometheus_rule_tests(),
        ),
        ("docs/metrics.md", artifacts::metric_reference()),
    ] {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap_or(&folder))?;
        fs::write(path, text)?;
    }
    Ok(())
}
