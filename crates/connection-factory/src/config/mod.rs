//! One configuration for the pools of every service.

mod budgets;
mod error;
mod layer;
mod read;
mod secrets;
mod sources;
mod spelling;

use std::collections::BTreeMap;
use std::time::Duration;

use figment::Figment;
use figment::value::{Dict, Value};
use pool_core::sizing::SizingProblem;
use pool_core::{BuildProblem, DynamicPoolConfig};
use pool_mongo::{MongoConfig, SettingProblem};
use pool_postgres::{PostgresConfig, PostgresConfigProblem};
use serde::de::DeserializeOwned;

pub use self::budgets::BudgetConfig;
pub use self::error::{ConfigError, ConfigProblem};
use self::read::{Completeness, Reader, overlay};
pub use self::sources::ConfigSources;
pub(crate) use self::spelling::service_name;
use crate::Database;

/// The service that is meant when a configuration names none.
const DEFAULT_SERVICE: &str = "default";
const TOP: [&str; 5] = [
    "budgets",
    "defaults",
    "drain_timeout_ms",
    "service",
    "services",
];
const LIMITS: [&str; 2] = ["min_connections", "max_connections"];
const DATABASES: [&str; 2] = ["mongodb", "postgres"];

/// What a [`ConnectionFactory`](crate::ConnectionFactory) makes pools from; free of mistakes that
/// can be seen without a server.
///
/// Made by [`ConfigSources`], or from a figment of the caller's own. No URL or password is part of
/// its `Debug`.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FactoryConfig {
    /// The service that this process is: `service`, or the only one that is configured.
    pub service: Option<String>,
    /// The services by name.
    pub services: BTreeMap<String, ServiceConfig>,
    /// The numbers of connections that several pools share, by name.
    pub budgets: BTreeMap<String, BudgetConfig>,
    /// How long the pools may take to close, `drain_timeout_ms`. Defaults to 10 s.
    pub drain_timeout: Duration,
}

/// The databases of one service.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ServiceConfig {
    /// Its PostgreSQL pool, if it has one.
    pub postgres: Option<PostgresSettings>,
    /// Its MongoDB pool, if it has one.
    pub mongodb: Option<MongoSettings>,
}

/// The settings of a PostgreSQL pool and where they come from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PostgresSettings {
    /// The adapter's own settings.
    pub pool: PostgresConfig,
    /// Where the URL comes from, for errors.
    pub origin: String,
    /// The name of the budget that it shares, if there is one for its server.
    pub budget: Option<String>,
}

/// The settings of a MongoDB pool and where they come from.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MongoSettings {
    /// The adapter's own settings.
    pub pool: MongoConfig,
    /// Where the URI comes from, for errors.
    pub origin: String,
    /// The name of the budget that it shares, if there is one for its server.
    pub budget: Option<String>,
}

impl FactoryConfig {
    /// Begins a list of sources, without any.
    pub fn sources() -> ConfigSources {
        ConfigSources::new()
    }

    /// Reads a figment of the caller's own making.
    ///
    /// Its layers have to agree on the spelling of keys to override each other; those of
    /// [`ConfigSources`] need not.
    ///
    /// # Errors
    ///
    /// Every unknown key, wrong type, contradiction and missing setting together, each with the
    /// key as written and its source. Values are not part of the text.
    pub fn from_figment(figment: &Figment) -> Result<Self, ConfigError> {
        Self::read(figment, Vec::new(), Completeness::Complete)
    }

    /// The budgets by name and size.
    pub(crate) fn budget_sizes(&self) -> BTreeMap<String, u32> {
        let size = |budget: &BudgetConfig| budget.max_connections.get();
        self.budgets
            .iter()
            .map(|(name, budget)| (name.clone(), size(budget)))
            .collect()
    }

    /// The name of the service that this process is.
    ///
    /// # Errors
    ///
    /// Several are configured and `service` names none of them, or none is.
    pub fn own_service(&self) -> Result<&str, ConfigError> {
        if self.services.is_empty() {
            return Err(ConfigError {
                problems: vec![ConfigProblem {
                    place: "`services`".to_owned(),
                    message: "no service is configured: set POSTGRES_URL or MONGODB_URL, or add \
                              `services.NAME`"
                        .to_owned(),
                }],
            });
        }
        self.service.as_deref().ok_or_else(|| ConfigError {
            problems: vec![ConfigProblem {
                place: "`service`".to_owned(),
                message: format!(
                    "is not set and {} are configured: name the one that this process is",
                    self.services
                        .keys()
                        .map(|name| format!("`{name}`"))
                        .collect::<Vec<_>>()
                        .join(", ")
                ),
            }],
        })
    }

    /// `problems` were found on the way to the figment.
    fn read(
        figment: &Figment,
        mut problems: Vec<ConfigProblem>,
        completeness: Completeness,
    ) -> Result<Self, ConfigError> {
        let tree = match figment.find_value("") {
            Ok(Value::Dict(_, tree)) => tree,
            Ok(_) => Dict::new(),
            Err(error) => {
                problems.extend(read::syntax_problems(error));
                return Err(ConfigError { problems });
            }
        };
        let mut spellings = spelling::Spellings::new();
        let (tree, doubled) = spelling::unify(tree, &mut spellings);
        problems.extend(doubled.into_iter().map(|(first, second)| ConfigProblem {
            place: format!("`{first}` and `{second}`"),
            message: "are the same setting, written twice".to_owned(),
        }));
        let mut reader = Reader::new(figment, tree.clone(), spellings, completeness);
        let config = Self::read_tree(&mut reader, tree);
        problems.append(&mut reader.problems);
        ConfigError::check(problems)?;
        Ok(config)
    }

    fn read_tree(reader: &mut Reader<'_>, mut tree: Dict) -> Self {
        let drain_timeout = tree
            .remove("drain_timeout_ms")
            .and_then(|value| reader.value::<u64>("drain_timeout_ms", value))
            .map_or(Duration::from_secs(10), Duration::from_millis);
        let own = tree
            .remove("service")
            .and_then(|value| reader.value::<String>("service", value));
        let defaults = tree.remove("defaults").map_or_else(Dict::new, |value| {
            reader.table(&["defaults".to_owned()], value)
        });
        let mut services = tree.remove("services").map_or_else(Dict::new, |value| {
            reader.table(&["services".to_owned()], value)
        });
        let budgets = tree.remove("budgets").map_or_else(Dict::new, |value| {
            reader.table(&["budgets".to_owned()], value)
        });
        for (key, value) in &tree {
            reader.note_unknown(std::slice::from_ref(key), value, &TOP);
        }
        if services.is_empty() && !defaults.is_empty() {
            services.insert(DEFAULT_SERVICE.to_owned(), Value::from(Dict::new()));
        }
        let mut services: BTreeMap<_, _> = services
            .into_iter()
            .map(|(name, value)| {
                let path = ["services".to_owned(), name.clone()];
                let section = reader.table(&path, value);
                (name, ServiceConfig::read(reader, &path, section, &defaults))
            })
            .collect();
        let budgets = budgets::read(reader, budgets, &mut services);
        let service = match own {
            Some(name) => {
                let name = service_name(&name);
                if !services.contains_key(&name) {
                    reader.note_missing(&["services".to_owned(), name.clone()]);
                }
                Some(name)
            }
            None if services.len() == 1 => services.keys().next().cloned(),
            None => None,
        };
        Self {
            service,
            services,
            budgets,
            drain_timeout,
        }
    }
}

impl ServiceConfig {
    fn read(reader: &mut Reader<'_>, path: &[String], mut section: Dict, defaults: &Dict) -> Self {
        let mut merged = |database: Database| {
            let key = database.key();
            let path = below(path, key);
            let mut table = |value| reader.table(&path, value);
            let mut under = defaults
                .get(key)
                .cloned()
                .map_or_else(Dict::new, &mut table);
            let over = section.remove(key).map(table);
            // A service without a table of its own has the database when the defaults lead to one.
            if over.is_none() && !secrets::leads_somewhere(&under) {
                return None;
            }
            let over = over.unwrap_or_default();
            secrets::give_way(&mut under, &over, database);
            let mut merged = overlay(under, over);
            secrets::read(reader, &path, &mut merged, database);
            Some(Value::from(merged))
        };
        let (postgres, mongodb) = (merged(Database::Postgresql), merged(Database::Mongodb));
        for (key, value) in &section {
            reader.note_unknown(&below(path, key), value, &DATABASES);
        }
        for (key, value) in defaults {
            if !DATABASES.contains(&key.as_str()) {
                let path = ["defaults".to_owned(), key.clone()];
                reader.note_unknown(&path, value, &DATABASES);
            }
        }
        Self {
            postgres: postgres.and_then(|value| {
                let path = below(path, Database::Postgresql.key());
                let origin = reader.origin(&path, &value, "url");
                let pool: PostgresConfig = section_of(reader, &path, &value)?;
                check_dynamic(reader, &path, &value, pool.dynamic);
                for problem in pool.problems() {
                    let first;
                    let keys: &[&str] = match problem {
                        PostgresConfigProblem::Dynamic(_) => continue,
                        PostgresConfigProblem::Setting(BuildProblem::Limits(_)) => &LIMITS,
                        _ => {
                            first = first_of(&value, [problem.setting(), "url"]);
                            &first
                        }
                    };
                    note_at(reader, &path, &value, keys, problem.to_string());
                }
                Some(PostgresSettings {
                    pool,
                    origin,
                    budget: None,
                })
            }),
            mongodb: mongodb.and_then(|value| {
                let path = below(path, Database::Mongodb.key());
                let origin = reader.origin(&path, &value, "uri");
                let pool: MongoConfig = section_of(reader, &path, &value)?;
                check_dynamic(reader, &path, &value, pool.dynamic);
                for problem in pool.problems() {
                    let first;
                    let keys: &[&str] = match problem {
                        SettingProblem::Dynamic(_) => continue,
                        SettingProblem::Limits(_) => &LIMITS,
                        _ => {
                            first = first_of(&value, [problem.setting(), "uri"]);
                            &first
                        }
                    };
                    note_at(reader, &path, &value, keys, problem.to_string());
                }
                Some(MongoSettings {
                    pool,
                    origin,
                    budget: None,
                })
            }),
        }
    }
}

fn section_of<T: DeserializeOwned>(
    reader: &mut Reader<'_>,
    path: &[String],
    value: &Value,
) -> Option<T> {
    reader.section(path, value.clone())
}

/// Looks at the sizing by itself: the adapters do so as well, but only this knows the fields.
fn check_dynamic(
    reader: &mut Reader<'_>,
    path: &[String],
    value: &Value,
    dynamic: Option<DynamicPoolConfig>,
) {
    let Some(Err(invalid)) = dynamic.map(|dynamic| dynamic.validate()) else {
        return;
    };
    for problem in invalid.problems {
        let zero;
        let keys: &[&str] = match problem {
            SizingProblem::Sizes { .. } => &["dynamic.min_size", "dynamic.max_size"],
            SizingProblem::Thresholds { .. } => {
                &["dynamic.scale_down_threshold", "dynamic.scale_up_threshold"]
            }
            SizingProblem::Zero { field } => {
                zero = [format!("dynamic.{}", spelling::words(field, '_'))];
                &[zero[0].as_str()]
            }
            _ => &["dynamic"],
        };
        note_at(reader, path, value, keys, problem.to_string());
    }
}

/// Notes a problem at each of `keys` that a source has set, or else at the whole section.
fn note_at(
    reader: &mut Reader<'_>,
    path: &[String],
    section: &Value,
    keys: &[&str],
    message: String,
) {
    let set: Vec<_> = keys
        .iter()
        .filter_map(|key| {
            let value = section.find_ref(key)?;
            let path = key
                .split('.')
                .fold(path.to_vec(), |path, key| below(&path, key));
            Some((path, value))
        })
        .collect();
    if set.is_empty() {
        reader.note(path, section, message);
    } else {
        reader.note_all(&set, message);
    }
}

/// The first of `keys` that a source has set.
fn first_of<'k>(section: &Value, keys: [&'k str; 2]) -> [&'k str; 1] {
    let [first, second] = keys;
    [if section.find_ref(first).is_some() {
        first
    } else {
        second
    }]
}

fn below(path: &[String], key: &str) -> Vec<String> {
    path.iter().cloned().chain([key.to_owned()]).collect()
}

#[cfg(test)]
mod tests;
