//! One spelling for every key, whatever its source prefers.
//!
//! The TypeScript layer writes `maxConnections`, a Rust service `max_connections`, the environment
//! `MAX_CONNECTIONS`. Layers can only override each other once they agree, so each is brought into
//! one form before they are merged: `snake_case` for keys, `kebab-case` for the names of services.
//! How a source spelled a key is kept for messages.

use std::collections::BTreeMap;

use figment::value::{Dict, Value};

/// The key under which the services stand, each by its name.
pub(super) const SERVICES: &str = "services";

/// The key under which the budgets stand.
pub(super) const BUDGETS: &str = "budgets";

/// Canonical path → the path as its source spells it.
pub(super) type Spellings = BTreeMap<Vec<String>, Vec<String>>;

/// Brings the keys of a whole configuration into one form.
///
/// Two spellings of one key in the same source leave the later one in `dict` and are returned as
/// pairs of paths as written.
pub(super) fn unify(dict: Dict, spellings: &mut Spellings) -> (Dict, Vec<(String, String)>) {
    let mut walk = Walk {
        spellings,
        doubled: Vec::new(),
    };
    let dict = walk.dict(dict, &[], &[]);
    (dict, walk.doubled)
}

struct Walk<'s> {
    spellings: &'s mut Spellings,
    doubled: Vec<(String, String)>,
}

impl Walk<'_> {
    fn dict(&mut self, dict: Dict, path: &[String], written: &[String]) -> Dict {
        let mut unified = Dict::new();
        for (key, value) in dict {
            let name = canonical(path, &key);
            let path = joined(path, &name);
            let written = joined(written, &key);
            if unified.contains_key(&name)
                && let Some(other) = self.spellings.get(&path)
            {
                self.doubled.push((other.join("."), written.join(".")));
            }
            self.spellings.insert(path.clone(), written.clone());
            let value = match value {
                Value::Dict(tag, inner) if has_known_keys(&path) => {
                    Value::Dict(tag, self.dict(inner, &path, &written))
                }
                other => other,
            };
            unified.insert(name, value);
        }
        unified
    }
}

/// Whether the keys below `path` are names that this crate or an adapter gave, as opposed to names
/// that belong to somebody else, such as a server's run-time parameters.
fn has_known_keys(path: &[String]) -> bool {
    match path {
        [top] => top == SERVICES || top == BUDGETS || top == "defaults",
        [_, _] => true,
        [services, _, _] => services == SERVICES || path[2] == "dynamic",
        [_, _, _, table] => table == "dynamic",
        _ => false,
    }
}

fn joined(path: &[String], key: &str) -> Vec<String> {
    path.iter().cloned().chain([key.to_owned()]).collect()
}

fn canonical(parent: &[String], key: &str) -> String {
    match parent {
        [top] if top == SERVICES || top == BUDGETS => service_name(key),
        _ => words(key, '_'),
    }
}

/// The one form of a service's name: lower case, words joined by hyphens.
pub(crate) fn service_name(name: &str) -> String {
    words(name, '-')
}

/// `maxSize`, `max-size`, `MAX_SIZE` and `max_size` are the same words.
pub(super) fn words(key: &str, separator: char) -> String {
    let camel = key.chars().any(char::is_lowercase);
    let mut out = String::with_capacity(key.len() + 4);
    for letter in key.chars() {
        if letter == '_' || letter == '-' {
            out.push(separator);
            continue;
        }
        if camel && letter.is_uppercase() && !out.is_empty() && !out.ends_with(separator) {
            out.push(separator);
        }
        out.extend(letter.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_key_become_one() {
        for key in ["maxSize", "max-size", "MAX_SIZE", "max_size", "MaxSize"] {
            assert_eq!(words(key, '_'), "max_size", "{key}");
        }
        for (key, wanted) in [("url", "url"), ("URL", "url"), ("", ""), ("a__b", "a__b")] {
            assert_eq!(words(key, '_'), wanted);
        }
        assert_eq!(service_name("MARKET_DATA"), "market-data");
        assert_eq!(service_name("marketData"), "market-data");
    }

    #[test]
    fn the_names_of_others_are_left_alone() {
        let dict: Dict = serde_json::from_str(
            r#"{"services": {"marketData": {"postgres": {"runtimeParameters": {"TimeZone": "UTC"}}}}}"#,
        )
        .unwrap();
        let mut spellings = Spellings::new();
        let (dict, doubled) = unify(dict, &mut spellings);
        let value = Value::from(dict);
        let path = "services.market-data.postgres.runtime_parameters.TimeZone";
        assert_eq!(value.find_ref(path).and_then(Value::as_str), Some("UTC"));
        assert!(doubled.is_empty());
        let path = ["services", "market-data"].map(str::to_owned).to_vec();
        assert_eq!(spellings[&path], ["services", "marketData"]);
    }

    #[test]
    fn two_spellings_in_one_source_are_told() {
        let dict: Dict =
            serde_json::from_str(r#"{"defaults": {"postgres": {"maxSize": 1, "max_size": 2}}}"#)
                .unwrap();
        let (_, doubled) = unify(dict, &mut Spellings::new());
        let pair = ["defaults.postgres.maxSize", "defaults.postgres.max_size"];
        assert_eq!(doubled, [pair.map(str::to_owned).into()]);
    }
}
