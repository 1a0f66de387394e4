//! What a pool is told from outside, mangled: nothing panics, hangs or repeats a password.
//!
//! Each target goes through its files in `tests/corpus`, where an input that once was answered
//! wrongly stays, and then through a thousand variations of them. For longer, with other variations
//! each time: `POOL_FUZZ_SECONDS=600 cargo test --release -p pool-chaos --test inputs`.

mod fuzz;
mod http;

use connection_factory::FactoryConfig;
use pool_core::DynamicPoolConfig;
use pool_mongo::MongoConfig;
use pool_postgres::PostgresConfig;

use crate::fuzz::{Fuzz, bytes, list};

#[test]
fn postgres_urls() {
    Fuzz::new("postgres-url").run(|input| {
        let config = PostgresConfig::new(input);
        let built = config.builder().map(drop);
        let built = built.map_err(|error| format!("{error} {error:?}")).err();
        format!(
            "{} {config:?} {:?} {}",
            list(&config.problems()),
            config.servers(),
            built.unwrap_or_default()
        )
    });
}

#[test]
fn mongodb_uris() {
    Fuzz::new("mongodb-uri").run(|input| {
        let config = MongoConfig::new(input);
        let (problems, servers) = (list(&config.problems()), config.servers());
        format!("{problems} {config:?} {servers:?}")
    });
}

#[test]
fn dynamic_pool_configurations() {
    Fuzz::new("dynamic-json").run(|input| {
        match serde_json::from_str::<DynamicPoolConfig>(input) {
            Ok(config) => {
                // What is read and written again is the same. Numbers that no configuration has may
                // be rounded: JSON's reader is exact to the last place only for shorter ones.
                if let Err(error) = config.validate() {
                    return format!("{error} {error:?}");
                }
                let text = serde_json::to_string(&config).expect("numbers and a switch");
                let again: DynamicPoolConfig = serde_json::from_str(&text).expect("its own text");
                assert_eq!(again, config);
                text
            }
            Err(error) => error.to_string(),
        }
    });
}

#[test]
fn pool_configurations() {
    Fuzz::new("pool-json").run(|input| {
        let mongo = match serde_json::from_str::<MongoConfig>(input) {
            Ok(config) => format!("{config:?} {}", list(&config.problems())),
            Err(error) => error.to_string(),
        };
        let postgres = match serde_json::from_str::<PostgresConfig>(input) {
            Ok(config) => format!("{config:?} {}", list(&config.problems())),
            Err(error) => error.to_string(),
        };
        format!("{mongo}\n{postgres}")
    });
}

/// A configuration of several services, in the format of a file with that ending.
fn factory(target: &str, ending: &str) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(format!("pools.{ending}"));
    Fuzz::new(target).run(|input| {
        std::fs::write(&file, bytes(input)).expect("the temporary folder can be written to");
        match FactoryConfig::sources().file(&file).load() {
            Ok(config) => format!("{config:?}"),
            Err(error) => format!("{error} {error:?}"),
        }
    });
}

#[test]
fn factory_configurations_in_toml() {
    factory("factory-toml", "toml");
}

#[test]
fn factory_configurations_in_yaml() {
    factory("factory-yaml", "yaml");
}

#[test]
fn factory_configurations_in_json() {
    factory("factory-json", "json");
}

/// A variable a line, as in an `.env` file.
#[test]
fn factory_configurations_in_the_environment() {
    Fuzz::new("factory-env").run(|input| {
        let variables = input
            .lines()
            .map(|line| line.split_once('=').unwrap_or((line, "")));
        match FactoryConfig::sources()
            .variables("POOLS_", variables)
            .load()
        {
            Ok(config) => format!("{config:?}"),
            Err(error) => format!("{error} {error:?}"),
        }
    });
}
