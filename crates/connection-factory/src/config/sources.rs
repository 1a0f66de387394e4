//! Where a configuration comes from, one layer over the other.

use std::panic::Location;
use std::path::{Path, PathBuf};

use figment::value::Value;
use figment::{Figment, Provider};
use serde::Serialize;

use super::FactoryConfig;
use super::error::{ConfigError, ConfigProblem};
use super::layer::Layer;
use super::read::Completeness;

/// The file that [`ConfigSources::standard`] reads when it is there.
const STANDARD_FILE: &str = "pools.toml";
/// The prefix of its variables.
const STANDARD_PREFIX: &str = "POOLS_";

/// Sources of a configuration, each laid over those named before it.
///
/// The usual order is defaults, file, environment, code. Whatever a source prefers, `maxSize`,
/// `max_size` and `MAX_SIZE` are the same key, and `marketData`, `market-data` and `MARKET_DATA`
/// the same service.
///
/// # Example
///
/// ```
/// use connection_factory::FactoryConfig;
///
/// let config = FactoryConfig::sources()
///     .toml("built in", r#"
///         [defaults.postgres]
///         max_connections = 10
///
///         [services.market-data.postgres]
///         url = "postgres://app@localhost/market"
///     "#)
///     .variables("POOLS_", [
///         ("POOLS_SERVICES__MARKET_DATA__POSTGRES__MAX_CONNECTIONS", "25"),
///     ])
///     .load()?;
/// let postgres = config.services["market-data"].postgres.as_ref().unwrap();
/// assert_eq!(postgres.pool.max_connections, Some(25));
/// # Ok::<(), connection_factory::ConfigError>(())
/// ```
#[derive(Clone, Default)]
#[must_use = "sources are read by `load`"]
pub struct ConfigSources {
    layers: Vec<Layer>,
    problems: Vec<ConfigProblem>,
    completeness: Completeness,
}

impl ConfigSources {
    /// No source yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What a service reads that says nothing else, in this order: `POSTGRES_URL` and
    /// `MONGODB_URL` as the URLs of every service that sets none; `pools.toml` in the current
    /// folder, or the file that `POOLS_FILE` names; variables that begin with `POOLS_`.
    pub fn standard() -> Self {
        let variables = environment();
        let file = variables
            .iter()
            .find(|(name, _)| name == "POOLS_FILE")
            .map(|(_, path)| PathBuf::from(path));
        let variables: Vec<_> = variables
            .into_iter()
            .filter(|(name, _)| name != "POOLS_FILE")
            .collect();
        let sources = Self::new().server_urls(&variables);
        let sources = match file {
            Some(path) => sources.file(path),
            None => sources.optional_file(STANDARD_FILE),
        };
        sources.variables(STANDARD_PREFIX, variables)
    }

    /// `POSTGRES_URL` and `MONGODB_URL`, as the URLs of every service that sets none; or
    /// `POSTGRES_URL_FILE` and `MONGODB_URL_FILE`, as the paths of files in which they stand.
    ///
    /// `variables` are names and values, as from [`std::env::vars`].
    pub fn server_urls<N: AsRef<str>, V: AsRef<str>>(mut self, variables: &[(N, V)]) -> Self {
        let known = [
            ("POSTGRES_URL", "defaults.postgres.url"),
            ("POSTGRES_URL_FILE", "defaults.postgres.url_file"),
            ("MONGODB_URL", "defaults.mongodb.uri"),
            ("MONGODB_URL_FILE", "defaults.mongodb.uri_file"),
        ];
        for (name, key) in known {
            let value = variables.iter().find(|(given, _)| given.as_ref() == name);
            if let Some((_, value)) = value {
                self = self.push(Layer::variable(name, key, value.as_ref()));
            }
        }
        self
    }

    /// A TOML, YAML or JSON file, by the end of its name. It must exist.
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        match Layer::file(path.as_ref()) {
            Ok(layer) => self.push(layer),
            Err(problem) => {
                self.problems.push(problem);
                self.completeness = Completeness::Incomplete;
                self
            }
        }
    }

    /// The same, when it exists.
    pub fn optional_file(self, path: impl AsRef<Path>) -> Self {
        if path.as_ref().exists() {
            self.file(path)
        } else {
            self
        }
    }

    /// TOML that is part of the program; `name` stands for it in errors.
    pub fn toml(self, name: &str, text: &str) -> Self {
        self.push(Layer::toml(name, text))
    }

    /// The process's variables that begin with `prefix`: what follows is a path, with `__`
    /// between its parts, as in `POOLS_SERVICES__MARKET_DATA__POSTGRES__URL`.
    pub fn environment(self, prefix: &str) -> Self {
        self.variables(prefix, environment())
    }

    /// The same from a list of names and values.
    pub fn variables<N, V>(self, prefix: &str, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        self.push(Layer::variables(prefix, variables))
    }

    /// One value at a path such as `services.market-data.postgres.url`. Errors name the caller's
    /// line.
    #[track_caller]
    pub fn set(self, key: &str, value: impl Serialize) -> Self {
        let value = Value::serialize(value);
        self.push(Layer::value(key, value, Location::caller()))
    }

    /// Anything else that figment can read.
    ///
    /// A whole [`Figment`] loses the names of its own sources here:
    /// [`FactoryConfig::from_figment`] keeps them.
    pub fn provider(self, provider: &impl Provider) -> Self {
        self.push(Layer::provider(provider))
    }

    /// Reads all of it.
    ///
    /// # Errors
    ///
    /// As [`FactoryConfig::from_figment`], and files that cannot be read or parsed.
    pub fn load(self) -> Result<FactoryConfig, ConfigError> {
        let Self {
            layers,
            problems,
            completeness,
        } = self;
        let figment = layers.into_iter().fold(Figment::new(), Figment::merge);
        FactoryConfig::read(&figment, problems, completeness)
    }

    fn push(mut self, layer: Layer) -> Self {
        let (layer, problems) = layer.into_problems();
        self.problems.extend(problems);
        match layer {
            Some(layer) => self.layers.push(layer),
            // The mistakes of the others are told as well.
            None => self.completeness = Completeness::Incomplete,
        }
        self
    }
}

/// The process's variables; one that is not Unicode cannot be meant for us.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

impl std::fmt::Debug for ConfigSources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfigSources")
            .field("layers", &self.layers.len())
            .finish_non_exhaustive()
    }
}
