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
}
