//! Every crate from elsewhere has its reason in `docs/dependencies.md`.

use std::collections::BTreeSet;

use crate::tidy::arrows::line_of;
use crate::tidy::{File, Problem};
use crate::workspace::Package;

/// The crates listed in the table: the first cell of each row, with or without backticks.
pub(crate) fn listed(table: &str) -> BTreeSet<String> {
    table
        .lines()
        .filter_map(|line| line.trim().strip_prefix('|')?.split('|').next())
        .map(|cell| cell.trim().trim_matches('`').to_owned())
        .collect()
}

pub(crate) fn check(package: &Package, file: &File, known: &BTreeSet<String>) -> Vec<Problem> {
    let mut names: Vec<&str> = package
        .dependencies
        .iter()
        .filter(|one| one.path.is_none() && !known.contains(&one.name))
        .map(|one| one.name.as_str())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
        .into_iter()
        .map(|name| {
            let rule = format!("{name} has its row, with a reason, in docs/dependencies.md");
            Problem::new(&file.path, line_of(&file.text, name), rule)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_without_a_reason_is_a_problem() {
        let known =
            listed("| crate | used by | reason |\n|---|---|---|\n| `tokio` | all | runs |\n");
        let package: Package = serde_json::from_value(serde_json::json!({
            "name": "x", "manifest_path": "/w/crates/x/Cargo.toml", "targets": [],
            "dependencies": [
                { "name": "tokio", "kind": null, "path": null },
                { "name": "left-pad", "kind": null, "path": null },
                { "name": "left-pad", "kind": "dev", "path": null },
                { "name": "pool-core", "kind": null, "path": "/w/crates/pool-core" },
            ],
        }))
        .unwrap();
        let text = "[dependencies]\ntokio.workspace = true\nleft-pad.workspace = true\n";
        let file = File {
            path: "crates/x/Cargo.toml".to_owned(),
            text: text.to_owned(),
        };
        let rule = "left-pad has its row, with a reason, in docs/dependencies.md";
        assert_eq!(
            check(&package, &file, &known),
            [Problem::new("crates/x/Cargo.toml", 3, rule)]
        );
    }
}
