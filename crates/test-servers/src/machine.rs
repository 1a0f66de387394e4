//! Server programs that are installed on this machine.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::Kind;
use crate::user::Unprivileged;

/// Programs of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Programs {
    /// The folder that holds them, with symbolic links resolved: PostgreSQL finds its other files
    /// relative to where it really is.
    pub(crate) folder: PathBuf,
    /// What the program says its version is.
    pub(crate) version: String,
}

/// Folders in which packages and installers put the servers, beside `PATH`.
const USUAL: &[&str] = &[
    "/usr/lib/postgresql/*/bin",
    "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
    "/usr/local/bin",
    "/usr/bin",
    "/opt/homebrew/bin",
    "/opt/homebrew/opt/postgresql*/bin",
    "/opt/homebrew/opt/mongodb-community*/bin",
    "/usr/local/opt/postgresql*/bin",
    "/usr/local/opt/mongodb-community*/bin",
    "/opt/mongodb/bin",
];

/// Finds the newest installation of `kind`; the error says what was looked for and why what was
/// found does not serve.
pub(crate) fn find(
    kind: Kind,
    search_path: &[PathBuf],
    user: Option<&Unprivileged>,
) -> Result<Programs, String> {
    let folders = search_path
        .iter()
        .cloned()
        .chain(USUAL.iter().flat_map(|pattern| expand(pattern)));
    find_in(kind, folders, user)
}

fn find_in(
    kind: Kind,
    folders: impl Iterator<Item = PathBuf>,
    user: Option<&Unprivileged>,
) -> Result<Programs, String> {
    let (server, needed): (_, &[&str]) = match kind {
        Kind::Postgres => ("postgres", &["initdb"]),
        Kind::Mongo => ("mongod", &[]),
    };
    let mut seen: Vec<PathBuf> = Vec::new();
    let mut found: Vec<Programs> = Vec::new();
    let mut reasons: Vec<String> = Vec::new();
    for folder in folders {
        let Ok(program) = fs::canonicalize(folder.join(server)) else {
            continue;
        };
        if seen.contains(&program) {
            continue;
        }
        seen.push(program.clone());
        match inspect(&program, needed, user) {
            Ok(programs) => found.push(programs),
            Err(why) => reasons.push(format!("{} {why}", program.display())),
        }
    }
    found.sort_by_key(|programs| numbers(&programs.version));
    found.pop().ok_or_else(|| {
        if reasons.is_empty() {
            format!("no `{server}` in PATH or the usual folders")
        } else {
            reasons.join("; ")
        }
    })
}

fn inspect(
    program: &Path,
    needed: &[&str],
    user: Option<&Unprivileged>,
) -> Result<Programs, String> {
    let folder = program.parent().ok_or("has no folder")?;
    if let Some(missing) = needed.iter().find(|name| !folder.join(name).is_file()) {
        return Err(format!("has no `{missing}` beside it"));
    }
    if let Some(user) = user
        && !everyone_can_reach(program)
    {
        return Err(format!(
            "cannot be reached by the user {}, which it has to run as",
            user.name
        ));
    }
    Ok(Programs {
        folder: folder.to_owned(),
        version: version(program)?,
    })
}

/// The version a server program prints, such as `15.18` or `6.0.5`.
pub(crate) fn version(program: &Path) -> Result<String, String> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("does not run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("does not run ({}): {}", output.status, text.trim()));
    }
    parse_version(&text).ok_or_else(|| format!("prints no version: {}", text.trim()))
}

/// The first word that begins with a digit, once a leading `v` is gone.
fn parse_version(text: &str) -> Option<String> {
    text.split_whitespace()
        .map(|word| word.strip_prefix('v').unwrap_or(word))
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()))
        .map(str::to_owned)
}

fn numbers(version: &str) -> Vec<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|part| part.parse().ok())
        .collect()
}

/// Whether any user may run the program or enter the folder: every folder above lets others pass.
pub(crate) fn everyone_can_reach(path: &Path) -> bool {
    let Ok(path) = fs::canonicalize(path) else {
        return false;
    };
    path.ancestors()
        .all(|part| fs::metadata(part).is_ok_and(|metadata| metadata.mode() & 0o001 != 0))
}

/// The folders that match a pattern with at most one `*`.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once('*') else {
        return vec![pattern.into()];
    };
    let (parent, prefix) = before.rsplit_once('/').unwrap_or(("", before));
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path().join(after.trim_start_matches('/')))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn versions_are_read_and_ordered_by_number() {
        let postgres = "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)";
        assert_eq!(parse_version(postgres).unwrap(), "15.18");
        assert_eq!(
            parse_version("db version v6.0.5\nBuild Info").unwrap(),
            "6.0.5"
        );
        assert!(numbers("9.6.1") < numbers("15.2") && numbers("15.2") < numbers("15.18"));
    }

    fn install(root: &Path, name: &str, version: &str, programs: &[&str]) -> PathBuf {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        for program in programs {
            let path = folder.join(program);
            fs::write(
                &path,
                format!("#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n"),
            )
            .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        folder
    }

    #[test]
    fn the_newest_whole_installation_wins_and_links_are_resolved() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        let old = install(root, "old", "9.6.2", &["postgres", "initdb"]);
        let new = install(root, "new", "15.1", &["postgres", "initdb"]);
        let partial = install(root, "partial", "18.0", &["postgres"]);
        let linked = root.join("linked");
        fs::create_dir_all(&linked).unwrap();
        symlink(new.join("postgres"), linked.join("postgres")).unwrap();

        let found = find_in(
            Kind::Postgres,
            [old, linked, partial.clone()].into_iter(),
            None,
        )
        .unwrap();
        assert_eq!(found.folder, fs::canonicalize(&new).unwrap());
        assert_eq!(found.version, "15.1");

        let why = find_in(Kind::Postgres, [partial].into_iter(), None).unwrap_err();
        assert!(why.contains("has no `initdb` beside it"), "{why}");
        let why = find_in(Kind::Mongo, [root.to_owned()].into_iter(), None).unwrap_err();
        assert_eq!(why, "no `mongod` in PATH or the usual folders");
    }
}
