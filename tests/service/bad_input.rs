//! Each kind of bad input ends in time, in one error that says what and where, and leaves nothing.

use std::time::{Duration, Instant};

use connection_factory::ConfigSources;
use operation_context::setup_service_container;

use crate::support::{Servers, application, chain, servers};

/// Sets up a service with `change` made to what would be right; checks that the error has all of
/// `wanted` and comes within `within`.
#[track_caller]
fn check(
    servers: &Servers,
    name: &str,
    change: impl FnOnce(ConfigSources) -> ConfigSources,
    wanted: &[&str],
    within: Duration,
) {
    let sources = servers
        .sources(name)
        .set("services.test.postgres.acquire_timeout_ms", 6_000)
        .set("services.test.postgres.connect_timeout_ms", 4_000)
        .set("services.test.postgres.min_connections", 3)
        .set("services.test.mongodb.acquire_timeout_ms", 6_000)
        .set("services.test.mongodb.connect_timeout_ms", 4_000);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let began = Instant::now();
    let text = match change(sources).load() {
        Err(error) => chain(&error),
        Ok(config) => runtime.block_on(async {
            let error = setup_service_container(config)
                .await
                .expect_err("the input is bad");
            chain(&error)
        }),
    };
    let took = began.elapsed();
    for wanted in wanted {
        assert!(text.contains(wanted), "want `{wanted}`: {text}");
    }
    assert!(!text.contains("canary"), "a secret shows: {text}");
    assert!(took < within, "{took:?}: {text}");
    let left = runtime.block_on(servers.count(&application(name), 0));
    assert_eq!(left, 0, "connections are left behind");
}

/// Below the 30 s that a caller waits by default, with room for a busy machine.
const SOON: Duration = Duration::from_secs(25);

#[test]
fn an_unreachable_host() {
    let Some(servers) = servers() else { return };
    let postgres = "postgres://app:canary@127.0.0.1:1/market";
    check(
        &servers,
        "bad_host_postgres",
        |sources| sources.set("services.test.postgres.url", postgres),
        &[
            "postgresql",
            "service `test`",
            "127.0.0.1:1",
            "services.test.postgres.url",
            "bad_input.rs",
        ],
        SOON,
    );
    let mongodb = "mongodb://app:canary@127.0.0.1:1/";
    check(
        &servers,
        "bad_host_mongodb",
        |sources| sources.set("services.test.mongodb.uri", mongodb),
        &[
            "mongodb",
            "service `test`",
            "127.0.0.1:1",
            "services.test.mongodb.uri",
        ],
        SOON,
    );
}

#[test]
fn a_wrong_password() {
    let Some(servers) = servers() else { return };
    check(
        &servers,
        "bad_password_postgres",
        |sources| sources.set("services.test.postgres.password", "canary"),
        &["postgresql", "password authentication failed", "28P01"],
        SOON,
    );
    let (before, after) = servers.mongodb.split_once("://").expect("a URL");
    let (user, rest) = after.split_once('@').expect("a user");
    let (user, _password) = user.split_once(':').expect("a password");
    let uri = format!("{before}://{user}:canary@{rest}");
    check(
        &servers,
        "bad_password_mongodb",
        |sources| sources.set("services.test.mongodb.uri", uri),
        &["mongodb", "service `test`", "uthentication"],
        SOON,
    );
}

#[test]
fn an_unknown_database() {
    let Some(servers) = servers() else { return };
    let (server, _database) = servers.postgres.rsplit_once('/').expect("a path");
    let url = format!("{server}/no_such_database");
    check(
        &servers,
        "bad_database_postgres",
        |sources| sources.set("services.test.postgres.url", url),
        &["postgresql", "no_such_database", "3D000"],
        SOON,
    );
    check(
        &servers,
        "bad_database_mongodb",
        |sources| {
            sources
                .set("services.test.mongodb.database", "no_such_database")
                .set("services.test.mongodb.require_database", true)
        },
        &["mongodb", "no_such_database"],
        SOON,
    );
}

#[test]
fn a_malformed_url() {
    let Some(servers) = servers() else { return };
    check(
        &servers,
        "bad_url_postgres",
        |sources| {
            sources.set(
                "services.test.postgres.url",
                "postgres://app:canary@host:99999/x",
            )
        },
        &[
            "services.test.postgres.url",
            "bad_input.rs",
            "invalid port number",
        ],
        SOON,
    );
    check(
        &servers,
        "bad_url_mongodb",
        |sources| sources.set("services.test.mongodb.uri", "mongo://app:canary@host"),
        &["services.test.mongodb.uri", "bad_input.rs", "uri"],
        SOON,
    );
}

#[test]
fn sizes_that_contradict_each_other_and_keys_that_nobody_knows() {
    let Some(servers) = servers() else { return };
    for database in ["postgres", "mongodb"] {
        let dynamic = format!("services.test.{database}.dynamic");
        check(
            &servers,
            "bad_sizes",
            |sources| {
                sources
                    .set(&format!("{dynamic}.minSize"), 9)
                    .set(&format!("{dynamic}.maxSize"), 4)
                    .set(&format!("services.test.{database}.poolSize"), 4)
            },
            &[
                &dynamic,
                "minSize 9 and maxSize 4",
                "poolSize",
                "is not a known key",
            ],
            SOON,
        );
    }
}
