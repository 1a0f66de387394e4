//! From a merged tree of values to typed sections, with every mistake on the way.

use std::collections::{BTreeMap, BTreeSet};

use figment::error::{Actual, Kind};
use figment::value::{Dict, Value};
use figment::{Error, Figment, Profile};
use serde::de::DeserializeOwned;

use super::error::ConfigProblem;
use super::layer::{ENVIRONMENT, origin, written};
use super::spelling::{Spellings, words};

/// Reads sections of one configuration and collects what is wrong with them.
pub(super) struct Reader<'f> {
    figment: &'f Figment,
    /// The whole configuration, in canonical spelling.
    tree: Value,
    /// How keys were written, for a figment whose layers nobody unified.
    spellings: Spellings,
    completeness: Completeness,
    /// Settings whose values stand in files, and the keys that lead to those.
    in_files: BTreeMap<Vec<String>, Vec<String>>,
    /// Settings that could not be had from where they are, which was told.
    told: BTreeSet<Vec<String>>,
    pub(super) problems: Vec<ConfigProblem>,
}

/// Whether all sources could be read. What is missing may stand in one that could not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Completeness {
    #[default]
    Complete,
    Incomplete,
}

impl<'f> Reader<'f> {
    pub(super) fn new(
        figment: &'f Figment,
        tree: Dict,
        spellings: Spellings,
        completeness: Completeness,
    ) -> Self {
        Self {
            figment,
            tree: Value::from(tree),
            spellings,
            completeness,
            in_files: BTreeMap::new(),
            told: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// Reads the table at `path` as a `T`; notes every key that does not fit, not only the first.
    /// What is returned then lacks those keys, and is good for further checks only.
    pub(super) fn section<T: DeserializeOwned>(
        &mut self,
        path: &[String],
        mut section: Value,
    ) -> Option<T> {
        let mut removed: Vec<Vec<String>> = Vec::new();
        loop {
            let error = match T::deserialize(&section) {
                Ok(read) => return Some(read),
                Err(error) => error,
            };
            if self.parse_text(&mut section, &error.path) {
                continue;
            }
            let mut at = path.to_vec();
            at.extend(error.path.iter().cloned());
            match &error.kind {
                Kind::MissingField(field) => {
                    let gone = removed.iter().any(|removed| {
                        removed.split_last() == Some((&field.to_string(), &error.path[..]))
                    });
                    if !gone {
                        at.push(field.to_string());
                        self.note_missing(&at);
                    }
                    return None;
                }
                kind => {
                    let place = self.place(&at, section_tag(&section, &error.path));
                    self.problems.push(ConfigProblem {
                        place,
                        message: message(kind, error.path.last()),
                    });
                }
            }
            // Without what is wrong, the rest can be looked at.
            match remove(&mut section, &error.path) {
                Some(path) => removed.push(path),
                None => return None,
            }
        }
    }

    /// Reads one value at the top.
    pub(super) fn value<T: DeserializeOwned>(&mut self, key: &str, value: Value) -> Option<T> {
        let section = Value::from(Dict::from([(key.to_owned(), value)]));
        let read: BTreeMap<String, T> = self.section(&[], section)?;
        read.into_values().next()
    }

    /// A table's own keys; notes anything else that stands there.
    pub(super) fn table(&mut self, path: &[String], value: Value) -> Dict {
        match value {
            Value::Dict(_, table) => table,
            Value::Empty(..) => Dict::new(),
            other => {
                let message = without_values(&Kind::InvalidType(
                    other.to_actual(),
                    "a table of keys".to_owned(),
                ));
                self.note(path, &other, message);
                Dict::new()
            }
        }
    }

    /// Where the value of `key` in a section comes from, or that it is nowhere.
    pub(super) fn origin(&self, path: &[String], section: &Value, key: &str) -> String {
        let mut path = path.to_vec();
        path.push(key.to_owned());
        match section.find_ref(key) {
            Some(value) => self.place(&path, value),
            None => format!("`{}`", path.join(".")),
        }
    }

    /// Notes something that a section's own check found at `path`.
    pub(super) fn note(&mut self, path: &[String], value: &Value, message: String) {
        let place = self.place(path, value);
        self.problems.push(ConfigProblem { place, message });
    }

    /// Notes something that is wrong with several values together.
    pub(super) fn note_all(&mut self, values: &[(Vec<String>, &Value)], message: String) {
        let places: Vec<_> = values
            .iter()
            .map(|(path, value)| self.place(path, value))
            .collect();
        let place = places.join(" and ");
        self.problems.push(ConfigProblem { place, message });
    }

    /// Whether something that is nowhere is missing, as far as is known.
    pub(super) fn is_complete(&self) -> bool {
        self.completeness == Completeness::Complete
    }

    /// The value of the setting at `path` was read from the file that `file_key` leads to.
    pub(super) fn stands_in_a_file(&mut self, path: Vec<String>, file_key: Vec<String>) {
        self.in_files.insert(path, file_key);
    }

    /// That the setting at `path` is nowhere has a reason, which was told.
    pub(super) fn is_told(&mut self, path: Vec<String>) {
        self.told.insert(path);
    }

    pub(super) fn note_missing(&mut self, path: &[String]) {
        if !self.is_complete() || self.told.contains(path) {
            return;
        }
        self.problems.push(ConfigProblem {
            place: format!("`{}`", path.join(".")),
            message: "is not set in any source".to_owned(),
        });
    }

    pub(super) fn note_unknown(&mut self, path: &[String], value: &Value, known: &[&str]) {
        let key = path.last().map_or("", String::as_str);
        self.note(path, value, unknown(key, known));
    }

    /// The key as its source spells it, and the source.
    fn place(&self, path: &[String], value: &Value) -> String {
        let path = self.in_files.get(path).map_or(path, Vec::as_slice);
        let path = written(&self.spellings, &self.source_path(path));
        match self.figment.get_metadata(innermost_tag(value)) {
            Some(metadata) => {
                let key = metadata.interpolate(&Profile::Default, &path);
                let key = key.strip_prefix("default.").unwrap_or(&key);
                format!("`{key}`{}", origin(metadata))
            }
            None => format!("`{}`", path.join(".")),
        }
    }

    /// Where the value at `path` of a service stands: there, or among the defaults.
    fn source_path(&self, path: &[String]) -> Vec<String> {
        if let [_services, _name, rest @ ..] = path
            && self.tree.find_ref(&path.join(".")).is_none()
        {
            let default: Vec<_> = std::iter::once("defaults".to_owned())
                .chain(rest.iter().cloned())
                .collect();
            if self.tree.find_ref(&default.join(".")).is_some() {
                return default;
            }
        }
        path.to_vec()
    }

    /// The environment knows only text, and a password of `0123` must not become a number: a value
    /// from there is text until a field has turned that down.
    fn parse_text(&self, section: &mut Value, at: &[String]) -> bool {
        let Some(value) = find_mut(section, at) else {
            return false;
        };
        let Value::String(tag, text) = &*value else {
            return false;
        };
        let source = self.figment.get_metadata(*tag);
        if source.is_none_or(|source| source.name != ENVIRONMENT) {
            return false;
        }
        let parsed: Value = text.parse().expect("any text is a value");
        let parsed = match parsed {
            Value::String(..) => return false,
            Value::Char(_, letter) => Value::Char(*tag, letter),
            Value::Bool(_, flag) => Value::Bool(*tag, flag),
            Value::Num(_, number) => Value::Num(*tag, number),
            Value::Empty(_, empty) => Value::Empty(*tag, empty),
            Value::Dict(_, dict) => Value::Dict(*tag, dict),
            Value::Array(_, values) => Value::Array(*tag, values),
        };
        *value = parsed;
        true
    }
}

/// A table's own tag is that of no source when several contributed; then any of them will do.
fn innermost_tag(value: &Value) -> figment::value::Tag {
    match value {
        Value::Dict(tag, dict) if tag.is_default() => {
            dict.values().next().map_or(*tag, innermost_tag)
        }
        other => other.tag(),
    }
}

/// The value at `path`, or the one it stands in.
fn section_tag<'v>(section: &'v Value, path: &[String]) -> &'v Value {
    let mut at = section;
    for key in path {
        match at.as_dict().and_then(|dict| dict.get(key)) {
            Some(below) => at = below,
            None => break,
        }
    }
    at
}

fn find_mut<'v>(section: &'v mut Value, path: &[String]) -> Option<&'v mut Value> {
    let mut at = section;
    for key in path {
        let Value::Dict(_, dict) = at else {
            return None;
        };
        at = dict.get_mut(key)?;
    }
    Some(at)
}

/// Takes out the value at `path`, or the list it is in; the path of what was taken out.
fn remove(section: &mut Value, path: &[String]) -> Option<Vec<String>> {
    let mut at = section;
    for (depth, key) in path.iter().enumerate() {
        let Value::Dict(_, dict) = at else {
            return None;
        };
        let last = depth + 1 == path.len();
        if last || !matches!(dict.get(key), Some(Value::Dict(..))) {
            dict.remove(key)?;
            return Some(path[..=depth].to_vec());
        }
        at = dict.get_mut(key)?;
    }
    None
}

/// Lays `over` on `under`: tables key by key, everything else as a whole.
pub(super) fn overlay(under: Dict, over: Dict) -> Dict {
    let mut merged = under;
    for (key, value) in over {
        let value = match (merged.remove(&key), value) {
            (Some(Value::Dict(_, under)), Value::Dict(tag, over)) => {
                Value::Dict(tag, overlay(under, over))
            }
            (_, value) => value,
        };
        merged.insert(key, value);
    }
    merged
}

fn message(kind: &Kind, key: Option<&String>) -> String {
    match kind {
        Kind::UnknownField(_, known) => unknown(key.map_or("", String::as_str), known),
        other => without_values(other),
    }
}

/// What is wrong, without the value: it can be a secret in the wrong place.
pub(super) fn without_values(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(actual, wanted) => {
            format!("is {}: want {wanted}", article(actual))
        }
        Kind::InvalidValue(_, wanted) => format!("has a value out of range: want {wanted}"),
        Kind::InvalidLength(length, wanted) => format!("has {length} elements: want {wanted}"),
        Kind::UnknownVariant(_, known) => {
            format!("is none of the known values: {}", known.join(", "))
        }
        Kind::Message(message) => message.clone(),
        other => other.to_string(),
    }
}

const fn article(actual: &Actual) -> &'static str {
    match actual {
        Actual::Bool(_) => "true or false",
        Actual::Unsigned(_) | Actual::Signed(_) => "a whole number",
        Actual::Float(_) => "a number with a fraction",
        Actual::Char(_) | Actual::Str(_) | Actual::Bytes(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        Actual::Unit | Actual::Option => "empty",
        _ => "of another kind",
    }
}

fn unknown(key: &str, known: &[&str]) -> String {
    // Adapters accept both spellings and say so twice.
    let known: BTreeSet<String> = known.iter().map(|known| words(known, '_')).collect();
    let key = words(key, '_');
    let nearest = known
        .iter()
        .map(|known| (distance(&key, known), known))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4);
    match nearest {
        Some((_, known)) => format!("is not a known key: did you mean `{known}`?"),
        None => {
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            format!("is not a known key: known are {}", known.join(", "))
        }
    }
}

/// How many letters have to be changed, added or left out.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (column, candidate) in other.iter().enumerate() {
            let changed = diagonal + usize::from(letter != *candidate);
            diagonal = row[column + 1];
            row[column + 1] = changed.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// All that figment itself found, such as files that could not be parsed.
pub(super) fn syntax_problems(error: Error) -> Vec<ConfigProblem> {
    let mut problems: Vec<_> = error
        .into_iter()
        .map(|error| ConfigProblem {
            place: error
                .metadata
                .as_ref()
                .map_or_else(String::new, |metadata| {
                    origin(metadata).trim_start_matches(" in ").to_owned()
                }),
            message: super::layer::syntax(&error),
        })
        .collect();
    problems.reverse();
    problems
}
