//! `cargo xtask features`: each crate that is published builds with each of its features, and with
//! any two of them.

use std::process::ExitCode;

use anyhow::{Result, ensure};
use clap::Args;

use crate::child;
use crate::workspace::{self, Metadata};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Only the package of this name.
    #[arg(long)]
    package: Option<String>,
    /// How many features at once; all of them are tried in any case.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=3))]
    depth: u8,
}

impl Default for Arguments {
    fn default() -> Self {
        Self {
            package: None,
            depth: 2,
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let metadata = Metadata::read()?;
    let wanted = |name: &str| arguments.package.as_deref().is_none_or(|only| only == name);
    let mut tried = 0;
    for package in metadata.published().filter(|one| wanted(&one.name)) {
        let features: Vec<_> = package.features.keys().map(String::as_str).collect();
        let needed = package.metadata.as_ref();
        let needed = needed.map_or(&[][..], |metadata| &metadata.one_of_features);
        for set in with_one_of(needed, sets(&features, arguments.depth.into())) {
            tried += 1;
            let set = set.join(",");
            eprintln!("features: {} [{set}]", package.name);
            let mut check = workspace::cargo();
            // The library and its binaries: tests may ask for more.
            check.args(["clippy", "--quiet", "--package", &package.name]);
            check.args(["--no-default-features", "--features", &set]);
            check.args(["--", "--deny", "warnings"]);
            if let Some(failed) = child::succeed(&mut check)? {
                eprintln!("error: {} does not build with [{set}]", package.name);
                return Ok(failed);
            }
        }
    }
    ensure!(tried > 0, "no published package of that name");
    eprintln!("features: {tried} combinations build");
    Ok(ExitCode::SUCCESS)
}

/// Every set of at most `depth` features, and all of them together. `default` only names others.
fn sets<'f>(features: &[&'f str], depth: usize) -> Vec<Vec<&'f str>> {
    let own: Vec<_> = features
        .iter()
        .copied()
        .filter(|feature| *feature != "default")
        .collect();
    let mut sets = vec![Vec::new()];
    let mut longest = vec![Vec::new()];
    for _ in 0..depth {
        // Each of the longest, and each feature after its last.
        longest = longest
            .iter()
            .flat_map(|set: &Vec<&str>| {
                let after = set.last().map_or(0, |last| {
                    own.iter()
                        .position(|one| one == last)
                        .map_or(0, |at| at + 1)
                });
                own[after..].iter().map(|next| {
                    let mut longer = set.clone();
                    longer.push(*next);
                    longer
                })
            })
            .collect();
        sets.extend(longest.iter().cloned());
    }
    if own.len() > depth {
        sets.push(own);
    }
    sets
}

/// The same sets, where a package needs one of some features: a set without any gets the first of them.
fn with_one_of<'f>(needed: &'f [String], sets: Vec<Vec<&'f str>>) -> Vec<Vec<&'f str>> {
    let Some(first) = needed.first() else {
        return sets;
    };
    let mut completed: Vec<Vec<&str>> = Vec::new();
    for mut set in sets {
        if !set
            .iter()
            .any(|one| needed.iter().any(|other| one == other))
        {
            set.push(first);
            set.sort_unstable();
        }
        if !completed.contains(&set) {
            completed.push(set);
        }
    }
    completed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(features: &[&str], depth: usize, expected: &[&str]) {
        let sets: Vec<_> = sets(features, depth)
            .iter()
            .map(|set| set.join(","))
            .collect();
        assert_eq!(sets, expected);
    }

    #[test]
    fn a_package_that_needs_one_of_some_features_gets_one_and_no_set_twice() {
        let needed = ["b".to_owned(), "c".to_owned()];
        let sets = with_one_of(&needed, sets(&["a", "b", "c"], 1));
        let sets: Vec<_> = sets.iter().map(|set| set.join(",")).collect();
        assert_eq!(sets, ["b", "a,b", "c", "a,b,c"]);
    }

    #[test]
    fn no_set_is_left_out_or_tried_twice() {
        check(&["default"], 2, &[""]);
        check(&["a", "default"], 2, &["", "a"]);
        check(&["a", "b", "default"], 2, &["", "a", "b", "a,b"]);
        let three = ["", "a", "b", "c", "a,b", "a,c", "b,c", "a,b,c"];
        check(&["a", "b", "c"], 2, &three);
        check(&["a", "b", "c"], 3, &three);
        check(&["a", "b"], 0, &["", "a,b"]);
    }
}
