//! Which crate may use which. A published crate is only usable alone while these arrows hold.

use crate::tidy::{File, Problem};
use crate::workspace::Package;

/// Each crate below `crates/` and the crates of this workspace its own code may use.
const ARROWS: &[(&str, &[&str])] = &[
    (
        "connection-factory",
        &["pool-core", "pool-mongo", "pool-postgres"],
    ),
    (
        "operation-context",
        &["connection-factory", "service-container"],
    ),
    (
        "pool-chaos",
        &[
            "connection-factory",
            "pool-core",
            "pool-mongo",
            "pool-postgres",
            "pool-telemetry",
            "pool-testkit",
            "test-servers",
        ],
    ),
    ("pool-core", &[]),
    ("pool-mongo", &["pool-core"]),
    ("pool-postgres", &["pool-core"]),
    ("pool-sim", &["pool-core"]),
    ("pool-telemetry", &["pool-core"]),
    // It knows the listener's JSON alone.
    ("poolctl", &[]),
    ("pool-testkit", &["pool-core"]),
    ("service-container", &[]),
    ("test-browser", &[]),
    ("test-servers", &[]),
];

/// What the tests of any crate may use as well.
const FOR_TESTS: &[&str] = &["pool-testkit", "test-servers"];

/// What the tests of one crate may use as well: `poolctl` is tried against the real listener.
const FOR_TESTS_OF: &[(&str, &[&str])] = &[("poolctl", &["pool-core", "pool-telemetry"])];

/// The crates an adapter's users must get from the adapter, or types would not match.
const FROM_ELSEWHERE: &[(&str, &str, &str)] = &[(
    "pool-mongo",
    "bson",
    "use `mongodb::bson`: the driver's BSON types are those of its own version",
)];

pub(crate) fn check(package: &Package, file: &File) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (name, dependency, rule) in FROM_ELSEWHERE {
        if package.name == *name
            && package
                .dependencies
                .iter()
                .any(|one| one.name == *dependency)
        {
            problems.push(Problem::new(
                &file.path,
                line_of(&file.text, dependency),
                *rule,
            ));
        }
    }
    if !file.path.starts_with("crates/") {
        return problems;
    }
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == package.name) else {
        let rule = format!(
            "{} has no row in ARROWS in xtask/src/tidy/arrows.rs",
            package.name
        );
        problems.push(Problem::new(&file.path, 1, rule));
        return problems;
    };
    for dependency in package.dependencies.iter().filter(|one| one.path.is_some()) {
        let name = dependency.name.as_str();
        let of_its_own = FOR_TESTS_OF
            .iter()
            .any(|(package_name, names)| package.name == *package_name && names.contains(&name));
        let for_tests =
            dependency.kind.as_deref() == Some("dev") && (FOR_TESTS.contains(&name) || of_its_own);
        if !allowed.contains(&name) && !for_tests && name != package.name {
            let rule = format!(
                "{} may not use {name}; of this workspace it may use {}",
                package.name,
                if allowed.is_empty() {
                    "nothing".to_owned()
                } else {
                    allowed.join(", ")
                }
            );
            problems.push(Problem::new(&file.path, line_of(&file.text, name), rule));
        }
    }
    problems
}

/// The line of a manifest on which a dependency is named.
pub(crate) fn line_of(manifest: &str, dependency: &str) -> usize {
    let names = |line: &str| {
        let line = line.trim_start().trim_start_matches(['"', '[']);
        let after = line
            .rsplit("dependencies.")
            .next()
            .unwrap_or(line)
            .strip_prefix(dependency);
        after.is_some_and(|rest| rest.starts_with(['.', ' ', '=', ']', '"']))
    };
    manifest.lines().position(names).map_or(1, |at| at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependencies: &[(&str, Option<&str>, bool)]) -> Package {
        let dependencies: Vec<_> = dependencies
            .iter()
            .map(|(name, kind, ours)| {
                serde_json::json!({ "name": name, "kind": kind, "path": ours.then_some("/w") })
            })
            .collect();
        serde_json::from_value(serde_json::json!({
            "name": name, "manifest_path": "/w/crates/x/Cargo.toml",
            "dependencies": dependencies, "targets": [],
        }))
        .unwrap()
    }

    #[track_caller]
    fn check_arrow(name: &str, dependency: (&str, Option<&str>, bool), expected: Option<&str>) {
        let text = format!(
            "[package]\n\n[dependencies]\n{}.workspace = true\n",
            dependency.0
        );
        let file = File {
            path: format!("crates/{name}/Cargo.toml"),
            text,
        };
        let found = check(&package(name, &[dependency]), &file);
        match expected {
            None => assert_eq!(found, []),
            Some(part) => {
                assert_eq!((found.len(), found[0].line), (1, 4));
                assert!(found[0].rule.contains(part), "{}", found[0].rule);
            }
        }
    }

    #[test]
    fn arrows_point_one_way() {
        check_arrow("pool-postgres", ("pool-core", None, true), None);
        check_arrow(
            "pool-core",
            ("pool-postgres", None, true),
            Some("may use nothing"),
        );
        check_arrow(
            "operation-context",
            ("pool-core", None, true),
            Some("connection-factory, service"),
        );
        check_arrow("pool-core", ("tokio", None, false), None);
    }

    #[test]
    fn tests_may_use_the_test_crates_and_only_tests_may() {
        check_arrow("pool-core", ("pool-testkit", Some("dev"), true), None);
        check_arrow(
            "pool-core",
            ("pool-testkit", None, true),
            Some("may not use pool-testkit"),
        );
        check_arrow(
            "pool-core",
            ("pool-mongo", Some("dev"), true),
            Some("may not use pool-mongo"),
        );
    }

    #[test]
    fn the_mongo_pool_has_no_bson_of_its_own() {
        check_arrow(
            "pool-mongo",
            ("bson", None, false),
            Some("use `mongodb::bson`"),
        );
        check_arrow("test-servers", ("bson", None, false), None);
    }

    #[test]
    fn a_crate_nobody_placed_is_a_problem() {
        let file = File {
            path: "crates/new/Cargo.toml".to_owned(),
            text: String::new(),
        };
        assert!(
            check(&package("new", &[]), &file)[0]
                .rule
                .contains("no row in ARROWS")
        );
        let file = File {
            path: "examples/new/Cargo.toml".to_owned(),
            text: String::new(),
        };
        assert_eq!(
            check(&package("new", &[("pool-core", None, true)]), &file),
            []
        );
    }

    #[test]
    fn a_dependency_is_found_on_its_line() {
        let text = "[dependencies]\npool-core-extra = \"1\"\npool-core = \"1\"\n";
        assert_eq!(line_of(text, "pool-core"), 3);
        assert_eq!(line_of("a\n[dependencies.bson]\n", "bson"), 2);
        assert_eq!(
            line_of("a\n[target.'cfg(x)'.dependencies.bson]\n", "bson"),
            2
        );
    }
}
