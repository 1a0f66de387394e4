//! What the user's environment asks for: given servers, a chosen source, a cache folder.

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{EnvironmentError, FetchError};
use crate::process::effective_user;
use crate::runs::make_private;
use crate::url::Redacted;

/// A kind of database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// PostgreSQL.
    Postgres,
    /// MongoDB.
    Mongo,
}

impl Kind {
    /// Both kinds, in the order in which they are listed everywhere.
    pub const ALL: [Self; 2] = [Self::Postgres, Self::Mongo];

    /// The variable in which a user gives a server of this kind, and in which tests look for one.
    #[must_use]
    pub fn variable(self) -> &'static str {
        match self {
            Self::Postgres => "POSTGRES_URL",
            Self::Mongo => "MONGODB_URL",
        }
    }

    /// The short name used on command lines and in file names.
    #[must_use]
    pub fn slug(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mongo => "mongo",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postgres => "PostgreSQL",
            Self::Mongo => "MongoDB",
        })
    }
}

/// Where a server may come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Source {
    /// Programs installed on this machine.
    Machine,
    /// Packaged programs, fetched once into the cache folder.
    Package,
    /// A Docker engine.
    Docker,
}

impl Source {
    /// Every source, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Machine, Self::Package, Self::Docker];
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "machine",
            Self::Package => "package",
            Self::Docker => "docker",
        })
    }
}

/// What the environment asks for, read once and parsed.
///
/// | variable | says | when unset |
/// |---|---|---|
/// | `POSTGRES_URL`, `MONGODB_URL` | a server the user runs; nothing is started | a server is started |
/// | `POOL_PGBOUNCER` | a PgBouncer program beside the installed one | only that one is used |
/// | `POOL_SERVERS_FROM` | `machine`, `package` or `docker`: only that source | `auto`: each in turn |
/// | `POOL_SERVERS_CACHE` | where packaged servers are kept | `elastic-pools` below `XDG_CACHE_HOME` or `~/.cache`, or in the temporary folder |
/// | `TMPDIR` | where run folders are made | `/tmp` |
#[derive(Clone)]
pub struct Environment {
    postgres_url: Option<String>,
    mongodb_url: Option<String>,
    source: Option<Source>,
    cache: PathBuf,
    /// Used when nobody chose a cache and the usual one cannot be made, as for a user without home.
    cache_of_last_resort: Option<PathBuf>,
    runtime_root: PathBuf,
    search_path: OsString,
}

impl Environment {
    /// Reads the environment of this process.
    ///
    /// # Errors
    ///
    /// Names the variable that cannot be used, its value with the password hidden, and the remedy.
    pub fn from_env() -> Result<Self, EnvironmentError> {
        Self::from_lookup(env::var_os::<&str>)
    }

    fn from_lookup(
        lookup: impl Fn(&'static str) -> Option<OsString>,
    ) -> Result<Self, EnvironmentError> {
        let text = |name: &'static str| match lookup(name) {
            None => Ok(None),
            Some(value) if value.is_empty() => Ok(None),
            Some(value) => value
                .into_string()
                .map(Some)
                .map_err(|value| EnvironmentError {
                    variable: name,
                    value: Redacted(&value.to_string_lossy()).to_string(),
                    problem: "it is not UTF-8".to_owned(),
                    remedy: "write it in UTF-8 or unset it".to_owned(),
                }),
        };
        let source = match text("POOL_SERVERS_FROM")?.as_deref() {
            None | Some("auto") => None,
            Some("machine") => Some(Source::Machine),
            Some("package") => Some(Source::Package),
            Some("docker") => Some(Source::Docker),
            Some(other) => {
                return Err(EnvironmentError {
                    variable: "POOL_SERVERS_FROM",
                    value: other.to_owned(),
                    problem: "no such source".to_owned(),
                    remedy: "use auto, machine, package or docker".to_owned(),
                });
            }
        };
        let folder = |name| {
            lookup(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let temporary = folder("TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
        let own_cache = folder("POOL_SERVERS_CACHE");
        let usual_cache = folder("XDG_CACHE_HOME")
            .or_else(|| folder("HOME").map(|home| home.join(".cache")))
            .unwrap_or_else(|| temporary.clone())
            .join("elastic-pools");
        let in_temporary = || temporary.join(format!("elastic-pools-cache-{}", effective_user()));
        let cache_of_last_resort = own_cache.is_none().then(in_temporary);
        Ok(Self {
            postgres_url: text(Kind::Postgres.variable())?,
            mongodb_url: text(Kind::Mongo.variable())?,
            source,
            cache: own_cache.unwrap_or(usual_cache),
            cache_of_last_resort,
            runtime_root: temporary.join(format!("elastic-pools-{}", effective_user())),
            search_path: lookup("PATH").unwrap_or_default(),
        })
    }

    /// An environment in which `folder` is all there is: the search path and the place for runs.
    #[cfg(test)]
    pub(crate) fn for_tests(folder: &Path) -> Self {
        let found = Self::from_lookup(|name| (name == "PATH").then(|| folder.into()));
        found
            .unwrap_or_else(|error| panic!("{error}"))
            .run_in(folder.join("runs"))
    }

    /// Forgets `POSTGRES_URL` and `MONGODB_URL`, for a suite that stops and restarts its server and
    /// so needs one of its own.
    #[must_use]
    pub fn without_given_servers(mut self) -> Self {
        self.postgres_url = None;
        self.mongodb_url = None;
        self
    }

    /// Uses this source only. Defaults to trying each in turn.
    #[must_use]
    pub fn only_from(mut self, source: Source) -> Self {
        self.source = Some(source);
        self
    }

    /// Keeps packaged servers in `folder`. Defaults to the user's cache folder.
    #[must_use]
    pub fn cache_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.cache = folder.into();
        self.cache_of_last_resort = None;
        self
    }

    /// Makes run folders below `folder`. Defaults to `elastic-pools-<uid>` in the temporary folder.
    #[must_use]
    pub fn run_in(mut self, folder: impl Into<PathBuf>) -> Self {
        self.runtime_root = folder.into();
        self
    }

    /// The URL the user gave for a server of this kind.
    #[must_use]
    pub fn given(&self, kind: Kind) -> Option<&str> {
        match kind {
            Kind::Postgres => self.postgres_url.as_deref(),
            Kind::Mongo => self.mongodb_url.as_deref(),
        }
    }

    /// The folder in which packaged servers are kept, made if need be.
    pub(crate) fn make_cache(&self) -> Result<PathBuf, FetchError> {
        let Err(source) = fs::create_dir_all(&self.cache) else {
            return Ok(self.cache.clone());
        };
        match &self.cache_of_last_resort {
            Some(folder) => {
                // Programs are run from there, so nobody else may have put them there.
                make_private(folder, 0o755)?;
                Ok(folder.clone())
            }
            None => Err(FetchError::Cache {
                path: self.cache.clone(),
                source,
            }),
        }
    }

    /// The folder below which each server has its run folder.
    #[must_use]
    pub fn runtime_root(&self) -> &Path {
        &self.runtime_root
    }

    pub(crate) fn sources(&self) -> Vec<Source> {
        self.source
            .map_or_else(|| Source::ALL.to_vec(), |only| vec![only])
    }

    pub(crate) fn search_path(&self) -> Vec<PathBuf> {
        env::split_paths(&self.search_path).collect()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |url: &Option<String>| url.as_deref().map(|url| Redacted(url).to_string());
        f.debug_struct("Environment")
            .field("postgres_url", &shown(&self.postgres_url))
            .field("mongodb_url", &shown(&self.mongodb_url))
            .field("source", &self.source)
            .field("cache", &self.cache)
            .field("runtime_root", &self.runtime_root)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        Environment::from_lookup(|name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn the_cache_folder_is_the_first_of_three() {
        let home = [("HOME", "/h")];
        assert_eq!(
            read(&home).unwrap().cache,
            Path::new("/h/.cache/elastic-pools")
        );
        let xdg = [("HOME", "/h"), ("XDG_CACHE_HOME", "/x")];
        assert_eq!(read(&xdg).unwrap().cache, Path::new("/x/elastic-pools"));
        let own = [
            ("HOME", "/h"),
            ("XDG_CACHE_HOME", "/x"),
            ("POOL_SERVERS_CACHE", "/own"),
        ];
        assert_eq!(read(&own).unwrap().cache, Path::new("/own"));
    }

    #[test]
    fn a_user_without_a_home_keeps_packages_in_the_temporary_folder() {
        let scratch = tempfile::tempdir().unwrap();
        let temporary = scratch.path().to_str().unwrap();
        let nowhere = [("HOME", "/proc/nonexistent"), ("TMPDIR", temporary)];
        let made = read(&nowhere).unwrap().make_cache().unwrap();
        assert_eq!(
            made,
            scratch
                .path()
                .join(format!("elastic-pools-cache-{}", effective_user()))
        );

        let chosen = [
            ("POOL_SERVERS_CACHE", "/proc/nonexistent"),
            ("TMPDIR", temporary),
        ];
        let said = read(&chosen).unwrap().make_cache().unwrap_err().to_string();
        assert!(
            said.contains("/proc/nonexistent; set POOL_SERVERS_CACHE"),
            "{said}"
        );
    }

    #[test]
    fn an_unknown_source_names_the_known_ones() {
        let error = read(&[("POOL_SERVERS_FROM", "cloud")])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "POOL_SERVERS_FROM is \"cloud\": no such source; use auto, machine, package or docker"
        );
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let environment = read(&[("POSTGRES_URL", ""), ("POOL_SERVERS_FROM", "")]).unwrap();
        assert_eq!(environment.given(Kind::Postgres), None);
        assert_eq!(environment.sources(), Source::ALL);
    }

    #[test]
    fn debug_output_hides_passwords() {
        let environment = read(&[("POSTGRES_URL", "postgres://u:canary@h/d")]).unwrap();
        assert!(!format!("{environment:?}").contains("canary"));
    }
}
