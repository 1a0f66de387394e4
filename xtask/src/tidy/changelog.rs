//! Each line of the changelog says which crate it is about.

use crate::tidy::{File, Problem};

/// What a line can be about that is not a crate.
const AREAS: &[&str] = &["benches", "ci", "docs", "examples", "tests", "workspace"];

/// Checks the list items below each version heading: `- pool-core: …`, or several with commas.
pub(crate) fn check(file: &File, packages: &[&str]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut below_version = false;
    for (at, line) in file.text.lines().enumerate() {
        if line.starts_with("## ") {
            below_version = true;
        }
        let Some(item) = line.strip_prefix("- ").filter(|_| below_version) else {
            continue;
        };
        let about = item.split_once(": ").map_or("", |(about, _)| about);
        let known = |name: &str| {
            let name = name.trim().trim_matches(['`', '*']);
            packages.contains(&name) || AREAS.contains(&name)
        };
        if about.is_empty() || !about.split(',').all(known) {
            let rule =
                "a changelog line begins with the crate or area it is about: `- pool-core: …`";
            problems.push(Problem::new(&file.path, at + 1, rule));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_lines(text: &str, expected: &[usize]) {
        let file = File {
            path: "CHANGELOG.md".to_owned(),
            text: text.to_owned(),
        };
        let found = check(&file, &["pool-core", "pool-mongo"]);
        assert_eq!(
            found.iter().map(|problem| problem.line).collect::<Vec<_>>(),
            expected
        );
    }

    #[test]
    fn each_line_names_a_crate_or_an_area() {
        check_lines(
            "# Changelog\n- free text\n## 0.1.0\n- pool-core: fast\n  and more\n",
            &[],
        );
        check_lines(
            "## 0.1.0\n- `pool-core`, **pool-mongo**: both\n- docs: a page\n",
            &[],
        );
        check_lines("## 0.1.0\n- made it fast\n- pool-cor: fast\n", &[2, 3]);
        check_lines("## 0.1.0\n\n### Added\n\n- pool-core fast\n", &[5]);
    }
}
