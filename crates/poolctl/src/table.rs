//! Pools as rows.

use comfy_table::{CellAlignment, Table};
use serde_json::Value;

const HEADER: [&str; 11] = [
    "pool",
    "state",
    "used",
    "idle",
    "opening",
    "min..target..max",
    "waiting",
    "oldest",
    "wait p99",
    "hold p99",
    "errors",
];

pub(crate) fn of(pools: &[Value]) -> String {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(HEADER);
    for pool in pools {
        let last = &pool["lastSecond"];
        let (min, target, max) = (&pool["min"], &pool["target"], &pool["max"]);
        let full = pool["waitingRequests"].as_u64() > Some(0)
            && pool["totalConnections"].as_u64() >= max.as_u64();
        let state = match pool["state"].as_str() {
            Some("open") if full => "exhausted",
            Some(state) => state,
            None => "?",
        };
        table.add_row([
            pool["name"].as_str().unwrap_or("?").to_owned(),
            state.to_owned(),
            pool["activeConnections"].to_string(),
            pool["idleConnections"].to_string(),
            pool["connecting"].to_string(),
            format!("{min}..{target}..{max}"),
            pool["waitingRequests"].to_string(),
            time(&pool["oldestWait"]),
            time(&last["waitP99"]),
            time(&last["holdP99"]),
            pool["errors"].to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

/// Milliseconds for people.
fn time(millis: &Value) -> String {
    match millis.as_f64() {
        None => "–".to_owned(),
        Some(millis) if millis >= 1_000.0 => format!("{:.2} s", millis / 1e3),
        Some(millis) if millis >= 1.0 || millis == 0.0 => format!("{millis:.1} ms"),
        Some(millis) => format!("{:.0} µs", millis * 1e3),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_readme_shows_every_column() {
        let readme = include_str!("../README.md");
        let shown = readme
            .lines()
            .find(|line| line.contains("min..target..max"));
        let shown = shown.expect("the head of a table");
        let mut rest = shown;
        for column in HEADER {
            let at = rest
                .find(column)
                .unwrap_or_else(|| panic!("{column}: {shown}"));
            rest = &rest[at + column.len()..];
        }
        assert_eq!(rest.trim(), "", "a column that there is not: {shown}");
    }

    #[test]
    fn a_full_pool_with_callers_in_line_is_exhausted() {
        let mut pool = json!({
            "name": "orders", "state": "open", "activeConnections": 4, "idleConnections": 0,
            "connecting": 0, "totalConnections": 4, "min": 1, "target": 2, "max": 4,
            "waitingRequests": 3, "oldestWait": 1_250.0, "errors": 0,
            "lastSecond": { "waitP99": 0.25, "holdP99": null },
        });
        let text = of(std::slice::from_ref(&pool));
        for part in ["orders", "exhausted", "1..2..4", "1.25 s", "250 µs", "–"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        pool["waitingRequests"] = json!(0);
        assert!(of(&[pool]).contains("open"));
    }
}
