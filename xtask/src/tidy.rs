//! `cargo xtask tidy`: what no compiler checks.
//!
//! Each rule is a function from text to [`Problem`]s, so that it can be tried on a small string;
//! this file reads the workspace and asks every rule.

mod arrows;
mod blocks;
mod changelog;
mod dependencies;
mod lexer;
mod manifest;
mod source;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use crate::report;
use crate::workspace::{self, Metadata};

/// A place at which a rule does not hold.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Problem {
    file: String,
    line: usize,
    rule: String,
}

impl Problem {
    fn new(file: &str, line: usize, rule: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line,
            rule: rule.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

/// A file of the workspace: its path from the root, with `/`, and its text.
struct File {
    path: String,
    text: String,
}

pub(crate) fn run() -> Result<ExitCode> {
    Ok(if check()? {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints every problem; true when there is none.
pub(crate) fn check() -> Result<bool> {
    let root = workspace::root();
    let metadata = Metadata::read()?;
    let read = |path: &Path| -> Result<File> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("could not read {}", path.display()))?;
        let relative = path.strip_prefix(&root).unwrap_or(path);
        Ok(File {
            path: relative.to_string_lossy().into_owned(),
            text,
        })
    };

    let manifest = read(&root.join("Cargo.toml"))?;
    let mut problems = manifest::check_root(&manifest);
    let naming_rust = ["rust-toolchain.toml", "benches/Cargo.toml", "README.md"];
    let naming_rust: Result<Vec<_>> = naming_rust
        .iter()
        .map(|name| read(&root.join(name)))
        .collect();
    problems.extend(manifest::check_rust(&manifest, &naming_rust?));
    let known = dependencies::listed(&read(&root.join("docs/dependencies.md"))?.text);
    for package in &metadata.packages {
        let file = read(&package.manifest_path)?;
        problems.extend(manifest::check_member(&file));
        problems.extend(arrows::check(package, &file));
        problems.extend(dependencies::check(package, &file, &known));
    }
    let mut sources = Vec::new();
    for folder in ["benches", "crates", "examples", "tests", "xtask"] {
        collect(&root.join(folder), &mut sources)?;
    }
    let sources: Vec<File> = sources
        .iter()
        .map(|path| read(path))
        .collect::<Result<_>>()?;
    for source in &sources {
        problems.extend(source::check(source));
    }
    for page in pages(&root, &metadata)? {
        let known = |line: &str| command(line, &metadata);
        problems.extend(blocks::check(&read(&page)?, &sources, &known));
    }
    let changelog = root.join("CHANGELOG.md");
    if changelog.exists() {
        let packages: Vec<&str> = metadata
            .packages
            .iter()
            .map(|package| package.name.as_str())
            .collect();
        problems.extend(changelog::check(&read(&changelog)?, &packages));
    }

    for stale in report::stale(&root)? {
        let file = stale.strip_prefix(&root).unwrap_or(&stale);
        let rule = "not what the figures say that are kept: cargo xtask report --redraw";
        problems.push(Problem::new(&file.to_string_lossy(), 1, rule));
    }

    problems.sort();
    for problem in &problems {
        println!("{problem}");
    }
    eprintln!(
        "tidy: {} packages, {} source files, {} problem(s)",
        metadata.packages.len(),
        sources.len(),
        problems.len()
    );
    Ok(problems.is_empty())
}

/// What people read: the pages at the root, those of the documentation, and each package's own.
fn pages(root: &Path, metadata: &Metadata) -> Result<Vec<PathBuf>> {
    let folders = metadata
        .packages
        .iter()
        .map(|package| &package.manifest_path);
    let folders = folders.filter_map(|manifest| manifest.parent());
    let docs = root.join("docs");
    let mut pages = Vec::new();
    for folder in folders.chain([root, docs.as_path()]) {
        let what = || format!("could not read {}", folder.display());
        for entry in fs::read_dir(folder).with_context(what)? {
            let path = entry.with_context(what)?.path();
            if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    Ok(pages)
}

/// Whether there is such a command: one of these, by its arguments, or a test of cargo's.
fn command(line: &str, metadata: &Metadata) -> Result<(), String> {
    let words: Vec<_> = line.split_whitespace().collect();
    let Some((_, rest)) = words.split_first().filter(|(first, _)| **first == "cargo") else {
        let known = crate::Arguments::try_parse_from(["cargo xtask"].iter().chain(&words));
        let known = known.map(drop).or_else(|error| match error.use_stderr() {
            // Only asked for help.
            false => Ok(()),
            true => Err(error.to_string()),
        });
        let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
        return known.map_err(first);
    };
    let after = |flag: &str| {
        let at = rest.iter().position(|word| *word == flag)?;
        rest.get(at + 1).copied()
    };
    let package = after("-p").and_then(|name| metadata.package(name));
    let package = package.ok_or("it names no package of the workspace")?;
    match (rest.first(), after("--test")) {
        (Some(&"test"), Some(test)) if package.tests().contains(&test) => Ok(()),
        (Some(&"test"), None) => Ok(()),
        _ => Err(format!("{} has no such test", package.name)),
    }
}

/// Every Rust file below `folder`, without what cargo builds there.
fn collect(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let read = || format!("could not read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(read)? {
        let path = entry.with_context(read)?.path();
        if path.is_dir() {
            if path.file_name().is_none_or(|name| name != "target") {
                collect(&path, found)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}
