//! What the suites against real servers have in common.

pub mod prometheus;

use std::path::PathBuf;

/// The URL of the PostgreSQL server that `cargo xtask test-integration` started, or `None` after
/// saying loudly that a test is skipped.
///
/// # Panics
///
/// In CI, where nothing may be skipped, when `POSTGRES_URL` is not set.
#[must_use]
pub fn postgres_url() -> Option<String> {
    server("POSTGRES_URL")
}

/// The same for MongoDB and `MONGODB_URL`.
///
/// # Panics
///
/// In CI, when `MONGODB_URL` is not set.
#[must_use]
pub fn mongodb_url() -> Option<String> {
    server("MONGODB_URL")
}

/// The machine's program of this name, or `None` after saying loudly that a test is skipped.
///
/// # Panics
///
/// In CI, when there is no such program.
#[must_use]
pub fn program(name: &str, package: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join(name));
    let found = found.into_iter().find(|program| program.is_file());
    if found.is_none() {
        assert!(!in_ci(), "no {name}: in CI no test may be skipped");
        eprintln!("SKIPPED: no {name} on this machine (Debian: apt-get install {package})");
    }
    found
}

/// As `cargo xtask` understands it.
fn in_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

fn server(variable: &str) -> Option<String> {
    match std::env::var(variable) {
        Ok(url) => Some(url),
        Err(_) if in_ci() => {
            panic!("{variable} is not set: in CI no test against a real server may be skipped")
        }
        Err(_) => {
            eprintln!(
                "SKIPPED: {variable} is not set; `cargo xtask test-integration` starts the servers"
            );
            None
        }
    }
}

/// Says loudly that a test is skipped for want of `what`.
///
/// # Panics
///
/// In CI, where nothing may be skipped.
pub fn skip(what: &str) {
    assert!(!in_ci(), "{what} is missing: in CI no test may be skipped");
    eprintln!("SKIPPED: {what} is missing");
}

/// The code blocks of the project's README, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The lines of `docs/from-bb8.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/from-bb8.md")]
pub struct FromBb8;

/// The code blocks of `docs/operations.md`, compiled.
#[cfg(doctest)]
#[doc = include_str!("../../docs/operations.md")]
pub struct Operations;
