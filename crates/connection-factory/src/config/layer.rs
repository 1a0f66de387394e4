//! One source of configuration, brought into the canonical spelling.

use std::panic::Location;
use std::path::Path;

use figment::error::Kind;
use figment::providers::{Format as _, Json, Toml, Yaml};
use figment::value::{Dict, Map, Value};
use figment::{Error, Metadata, Profile, Provider};

use super::error::ConfigProblem;
use super::spelling::{Spellings, unify};

/// The name of the source whose values are all text.
pub(super) const ENVIRONMENT: &str = "the environment";

/// A figment provider whose keys are in one form and that remembers how they were written.
#[derive(Clone)]
pub(super) struct Layer {
    metadata: Metadata,
    data: Result<Map<Profile, Dict>, Error>,
    pub(super) problems: Vec<ConfigProblem>,
}

impl Layer {
    /// Reads `provider` and unifies its keys. `place` writes a path the way the source spells it.
    fn read(
        provider: &impl Provider,
        metadata: Metadata,
        place: impl Fn(&[String]) -> String + Clone + Send + Sync + 'static,
    ) -> Self {
        let mut spellings = Spellings::new();
        let mut doubled = Vec::new();
        let data = provider.data().map(|profiles| {
            profiles
                .into_iter()
                .map(|(profile, dict)| {
                    let (dict, pairs) = unify(dict, &mut spellings);
                    doubled.extend(pairs);
                    (profile, dict)
                })
                .collect()
        });
        let origin = origin(&metadata);
        let problems = doubled
            .into_iter()
            .map(|(first, second)| ConfigProblem {
                place: format!("`{first}` and `{second}`{origin}"),
                message: "are the same setting, written twice".to_owned(),
            })
            .collect();
        let metadata = metadata.interpolater(move |_: &Profile, keys: &[&str]| {
            let path: Vec<String> = keys.iter().map(|&key| key.to_owned()).collect();
            place(&written(&spellings, &path))
        });
        Self {
            metadata,
            data,
            problems,
        }
    }

    /// A file, in the format that its name ends with.
    pub(super) fn file(path: &Path) -> Result<Self, ConfigProblem> {
        let problem = |message: String| ConfigProblem {
            place: path.display().to_string(),
            message,
        };
        let dotted = |path: &[String]| path.join(".");
        let text = std::fs::read_to_string(path)
            .map_err(|error| problem(format!("could not be read: {error}")))?;
        let metadata = Metadata::from("file", path);
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Ok(Self::read(&Toml::string(&text), metadata, dotted)),
            Some("json") => Ok(Self::read(&Json::string(&text), metadata, dotted)),
            Some("yaml" | "yml") => Ok(Self::read(&Yaml::string(&text), metadata, dotted)),
            _ => Err(problem(
                "is of no known format: want .toml, .json, .yaml or .yml".to_owned(),
            )),
        }
    }

    /// TOML that is part of the program, under a name for messages.
    pub(super) fn toml(name: &str, text: &str) -> Self {
        let metadata = Metadata::named(name.to_owned());
        Self::read(&Toml::string(text), metadata, |path| path.join("."))
    }

    /// Variables whose names begin with `prefix`, with `__` between the parts of a path.
    pub(super) fn variables(prefix: &str, variables: Vec<(String, String)>) -> Self {
        let provider = Variables {
            prefix: prefix.to_owned(),
            variables,
        };
        let prefix = prefix.to_owned();
        Self::read(&provider, provider.metadata(), move |path| {
            format!("{prefix}{}", path.join("__").to_uppercase())
        })
    }

    /// The value at `key` from one variable with a name of its own.
    pub(super) fn variable(name: &'static str, key: &str, text: &str) -> Self {
        let value = Ok(Value::from(text));
        let key = key.to_owned();
        let metadata = Metadata::named(ENVIRONMENT);
        Self::read(&Single { key, value }, metadata, move |_| name.to_owned())
    }

    /// One value, set by the program at `location`.
    pub(super) fn value(
        key: &str,
        value: Result<Value, Error>,
        location: &'static Location<'static>,
    ) -> Self {
        let key = key.to_owned();
        let metadata = Metadata::from("the program at", location);
        Self::read(&Single { key, value }, metadata, |path| path.join("."))
    }

    /// Whatever figment can read.
    pub(super) fn provider(provider: &impl Provider) -> Self {
        Self::read(provider, provider.metadata(), |path| path.join("."))
    }

    /// The layer, if it could be parsed, and what is wrong with it in any case.
    pub(super) fn into_problems(mut self) -> (Option<Self>, Vec<ConfigProblem>) {
        let mut problems = std::mem::take(&mut self.problems);
        match &self.data {
            Ok(_) => (Some(self), problems),
            Err(error) => {
                let place = origin(&self.metadata).trim_start_matches(" in ").to_owned();
                problems.extend(error.clone().into_iter().map(|error| ConfigProblem {
                    place: place.clone(),
                    message: syntax(&error),
                }));
                (None, problems)
            }
        }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        self.data.clone()
    }
}

/// " in file pools.toml", or nothing where the place says it already.
pub(super) fn origin(metadata: &Metadata) -> String {
    match &metadata.source {
        Some(source) => format!(" in {} {source}", metadata.name),
        None if metadata.name.is_empty() => String::new(),
        None => format!(" in {}", metadata.name),
    }
}

/// The path as written; what was never seen, such as a key inside a table of free names, stands as
/// it is.
pub(super) fn written(spellings: &Spellings, path: &[String]) -> Vec<String> {
    (0..=path.len())
        .rev()
        .find_map(|known| {
            let head = spellings.get(&path[..known])?;
            Some(head.iter().chain(&path[known..]).cloned().collect())
        })
        .unwrap_or_else(|| path.to_vec())
}

/// Variables as figment's own provider reads them, from a list instead of from the process.
struct Variables {
    prefix: String,
    variables: Vec<(String, String)>,
}

impl Provider for Variables {
    fn metadata(&self) -> Metadata {
        Metadata::named(ENVIRONMENT)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let mut dict = Dict::new();
        for (name, text) in &self.variables {
            let Some(path) = name.strip_prefix(&self.prefix) else {
                continue;
            };
            let path: Vec<String> = path.split("__").map(str::to_lowercase).collect();
            insert(&mut dict, &path, Value::from(text.as_str()));
        }
        Ok(Profile::Default.collect(dict))
    }
}

struct Single {
    key: String,
    value: Result<Value, Error>,
}

impl Provider for Single {
    fn metadata(&self) -> Metadata {
        Metadata::default()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        let mut dict = Dict::new();
        let path: Vec<String> = self.key.split('.').map(str::to_owned).collect();
        insert(&mut dict, &path, self.value.clone()?);
        Ok(Profile::Default.collect(dict))
    }
}

fn insert(dict: &mut Dict, path: &[String], value: Value) {
    match path {
        [] => {}
        [key] => {
            dict.insert(key.clone(), value);
        }
        [key, rest @ ..] => {
            let below = dict
                .entry(key.clone())
                .or_insert_with(|| Value::from(Dict::new()));
            if !matches!(below, Value::Dict(..)) {
                *below = Value::from(Dict::new());
            }
            if let Value::Dict(_, below) = below {
                insert(below, rest, value);
            }
        }
    }
}

/// What a source that cannot be read at all says. Values never appear in it: a parser's message
/// goes on with an excerpt of the file, and names the value that is not a table.
pub(super) fn syntax(error: &Error) -> String {
    match &error.kind {
        Kind::Message(message) if !message.contains("invalid type") => {
            let first = message.lines().next().unwrap_or_default();
            format!("could not be parsed: {}", first.trim())
        }
        _ => "could not be parsed: want a table of keys".to_owned(),
    }
}
