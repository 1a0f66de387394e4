//! What every manifest says the same way.

use crate::tidy::{File, Problem};

/// Keys of `[package]` that are written once, in the workspace.
const INHERITED: &[&str] = &[
    "edition",
    "license",
    "repository",
    "rust-version",
    "version",
];

/// The workspace forbids `unsafe`.
pub(crate) fn check_root(file: &File) -> Vec<Problem> {
    let forbidden = section(&file.text, "workspace.lints.rust")
        .any(|(_, line)| squeezed(line) == "unsafe_code=\"forbid\"");
    if forbidden {
        return Vec::new();
    }
    let rule = "[workspace.lints.rust] says unsafe_code = \"forbid\"";
    vec![Problem::new(&file.path, 1, rule)]
}

/// The oldest Rust that is supported is the one that everything is built and tried with, and each place
/// that names it names the same.
pub(crate) fn check_rust(root: &File, others: &[File]) -> Vec<Problem> {
    let value = |text: &str, name: &str, key: &str| {
        let start = format!("{key}=\"");
        section(text, name).find_map(|(number, line)| {
            let line = squeezed(line);
            let value = line.strip_prefix(&start)?.strip_suffix('"')?;
            Some((number, value.to_owned()))
        })
    };
    let Some((_, oldest)) = value(&root.text, "workspace.package", "rust-version") else {
        let rule = "[workspace.package] says which Rust is the oldest: rust-version";
        return vec![Problem::new(&root.path, 1, rule)];
    };
    let mut problems = Vec::new();
    for file in others {
        let (line, right) = if file.path.ends_with("README.md") {
            // Followed by something that is not a further digit or part of the number.
            let wanted = format!("Rust {oldest}");
            let named = |line: &str| {
                let (_, rest) = line.split_once(&wanted)?;
                let more = rest.trim_start_matches('.');
                Some(!more.starts_with(|one: char| one.is_ascii_digit()))
            };
            (1, file.text.lines().any(|line| named(line) == Some(true)))
        } else if file.path.ends_with("rust-toolchain.toml") {
            let found = value(&file.text, "toolchain", "channel");
            let exact = |channel: &str| {
                let patch = channel.strip_prefix(&oldest)?.strip_prefix('.')?;
                patch.parse::<u32>().ok()
            };
            let right = |(_, channel): &(usize, String)| exact(channel).is_some();
            (
                found.as_ref().map_or(1, |(line, _)| *line),
                found.as_ref().is_some_and(right),
            )
        } else {
            let found = value(&file.text, "package", "rust-version");
            let right = found
                .as_ref()
                .is_some_and(|(_, version)| *version == oldest);
            (found.map_or(1, |(line, _)| line), right)
        };
        if !right {
            let rule = format!("the oldest Rust is {oldest}, as {} says", root.path);
            problems.push(Problem::new(&file.path, line, rule));
        }
    }
    problems
}

/// A member takes its lints, edition and licence from the workspace.
pub(crate) fn check_member(file: &File) -> Vec<Problem> {
    let mut problems = Vec::new();
    let inherits = |key: &str| {
        let (short, long) = (
            format!("{key}.workspace=true"),
            format!("{key}={{workspace=true}}"),
        );
        section(&file.text, "package")
            .any(|(_, line)| [&short, &long].iter().any(|one| squeezed(line) == **one))
    };
    for key in INHERITED.iter().filter(|key| !inherits(key)) {
        let line = section(&file.text, "package")
            .find(|(_, line)| line.trim_start().starts_with(key))
            .map_or(1, |(number, _)| number);
        let rule = format!("a member inherits its {key}: {key}.workspace = true");
        problems.push(Problem::new(&file.path, line, rule));
    }
    if !section(&file.text, "lints").any(|(_, line)| squeezed(line) == "workspace=true") {
        let rule = "a member inherits the lints: [lints] workspace = true";
        problems.push(Problem::new(&file.path, 1, rule));
    }
    problems
}

/// The numbered lines below `[name]`, up to the next heading.
fn section<'a>(text: &'a str, name: &str) -> impl Iterator<Item = (usize, &'a str)> {
    let heading = format!("[{name}]");
    text.lines()
        .enumerate()
        .map(|(at, line)| (at + 1, line))
        .skip_while(move |(_, line)| line.trim() != heading)
        .skip(1)
        .take_while(|(_, line)| !line.trim_start().starts_with('['))
}

/// A line without spaces and without its comment.
fn squeezed(line: &str) -> String {
    line.split('#')
        .next()
        .unwrap_or(line)
        .split_whitespace()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMBER: &str = "[package]\nname = \"x\"\nversion.workspace = true\n\
        edition = { workspace = true }\nrust-version.workspace = true # as all\n\
        license.workspace = true\nrepository.workspace = true\n\n[lints]\nworkspace = true\n";

    #[track_caller]
    fn check(text: &str, expected: &[(usize, &str)]) {
        let file = File {
            path: "crates/x/Cargo.toml".to_owned(),
            text: text.to_owned(),
        };
        let found = check_member(&file);
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (problem, (line, part)) in found.iter().zip(expected) {
            assert_eq!(problem.line, *line);
            assert!(problem.rule.contains(part), "{}", problem.rule);
        }
    }

    #[test]
    fn a_member_inherits_what_the_workspace_says() {
        check(MEMBER, &[]);
        check(
            &MEMBER.replace("license.workspace = true", "license = \"MIT\""),
            &[(6, "license")],
        );
        check(
            &MEMBER.replace("[lints]\nworkspace = true\n", ""),
            &[(1, "[lints]")],
        );
        check(
            &MEMBER.replace("version.workspace = true\nedition", "edition"),
            &[(1, "version")],
        );
    }

    #[test]
    fn the_workspace_forbids_unsafe() {
        let root = |text: &str| File {
            path: "Cargo.toml".to_owned(),
            text: text.to_owned(),
        };
        assert_eq!(
            check_root(&root("[workspace.lints.rust]\nunsafe_code = \"forbid\"\n")),
            []
        );
        assert_eq!(
            check_root(&root("[workspace.lints.rust]\nunsafe_code = \"deny\"\n")).len(),
            1
        );
        assert_eq!(
            check_root(&root("[other]\nunsafe_code = \"forbid\"\n")).len(),
            1
        );
    }

    #[test]
    fn every_place_names_the_same_rust() {
        let file = |path: &str, text: &str| File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        let root = file(
            "Cargo.toml",
            "[workspace.package]\nrust-version = \"1.95\"\n",
        );
        for (path, text, line) in [
            (
                "rust-toolchain.toml",
                "[toolchain]\nchannel = \"1.95.0\"\n",
                None,
            ),
            (
                "rust-toolchain.toml",
                "[toolchain]\nchannel = \"1.96.0\"\n",
                Some(2),
            ),
            (
                "rust-toolchain.toml",
                "[toolchain]\nchannel = \"stable\"\n",
                Some(2),
            ),
            ("README.md", "Needs Rust 1.95.\n", None),
            ("README.md", "Needs Rust 1.95 or newer.\n", None),
            ("README.md", "Needs Rust 1.9.\n", Some(1)),
            ("README.md", "Needs Rust 1.95.1.\n", Some(1)),
            (
                "benches/Cargo.toml",
                "[package]\nrust-version = \"1.95\"\n",
                None,
            ),
            ("benches/Cargo.toml", "[package]\nname = \"b\"\n", Some(1)),
        ] {
            let found = check_rust(&root, &[file(path, text)]);
            let lines: Vec<_> = found.iter().map(|problem| problem.line).collect();
            assert_eq!(lines, Vec::from_iter(line), "{path}: {text}");
        }
        assert_eq!(
            check_rust(&file("Cargo.toml", "[workspace]\n"), &[]).len(),
            1
        );
    }
}
