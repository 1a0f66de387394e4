use figment::providers::{Format as _, Json, Toml};
use pool_core::DynamicPoolConfig;

use super::*;

const PLACES: &str = r#"
    [defaults.postgres]
    max_connections = 12
    acquireTimeoutMs = 1500

    [services.market-data.postgres]
    url = "postgres://app:canary-71@localhost/market"

    [services.market-data.mongodb]
    uri = "mongodb://app:canary-71@localhost"
    database = "market"

    [services.orders.postgres]
    url = "postgres://app@localhost/orders"
    max_connections = 3
"#;

fn toml(text: &str) -> ConfigSources {
    FactoryConfig::sources().toml("the test", text)
}

/// The problems of `sources`, one a line; none of them shows the canary.
#[track_caller]
fn problems(sources: ConfigSources) -> Vec<String> {
    let error = sources.load().expect_err("a mistake was made");
    let text = error.to_string();
    assert!(!text.contains("canary"), "a secret shows: {text}");
    error.problems.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn check(sources: ConfigSources, wanted: &[&str]) {
    let found = problems(sources);
    assert_eq!(found.len(), wanted.len(), "{found:#?}");
    for wanted in wanted {
        assert!(
            found.iter().any(|problem| problem.contains(wanted)),
            "want {wanted}: {found:#?}"
        );
    }
}

#[test]
fn defaults_lie_under_each_service_and_stay_out_of_each_others_way() {
    let config = toml(PLACES).load().unwrap();
    assert_eq!(config.services.len(), 2);
    let market = &config.services["market-data"];
    let orders = &config.services["orders"];
    let postgres = &market.postgres.as_ref().unwrap().pool;
    assert_eq!(postgres.max_connections, Some(12));
    assert_eq!(postgres.acquire_timeout_ms, Some(1_500));
    assert_eq!(
        market.mongodb.as_ref().unwrap().pool.database.as_deref(),
        Some("market")
    );
    let postgres = &orders.postgres.as_ref().unwrap().pool;
    assert_eq!(postgres.max_connections, Some(3));
    assert_eq!(postgres.acquire_timeout_ms, Some(1_500));
    assert!(orders.mongodb.is_none());
    assert_eq!(config.service, None);
    assert!(!format!("{config:?}").contains("canary"));
}

#[test]
fn later_sources_win_whatever_their_spelling() {
    let config = toml(PLACES)
        .variables(
            "POOLS_",
            [
                (
                    "POOLS_SERVICES__MARKET_DATA__POSTGRES__MAX_CONNECTIONS",
                    "20",
                ),
                (
                    "POOLS_SERVICES__MARKET_DATA__POSTGRES__ACQUIRE_TIMEOUT_MS",
                    "7",
                ),
                ("POOLS_SERVICE", "orders"),
                ("OTHER_SERVICES__X", "1"),
            ],
        )
        .set("services.marketData.postgres.acquireTimeoutMs", 8)
        .load()
        .unwrap();
    let postgres = &config.services["market-data"]
        .postgres
        .as_ref()
        .unwrap()
        .pool;
    assert_eq!(postgres.max_connections, Some(20));
    assert_eq!(postgres.acquire_timeout_ms, Some(8));
    assert_eq!(config.own_service().unwrap(), "orders");
}

#[test]
fn the_json_of_the_typescript_layer_is_read_as_it_is() {
    let figment = Figment::from(Json::string(
        r#"{
            "services": {
                "marketData": {
                    "postgres": {
                        "url": "postgres://app@localhost/market",
                        "dynamic": {
                            "enabled": true, "minSize": 5, "maxSize": 100,
                            "scaleUpThreshold": 70, "scaleDownThreshold": 30,
                            "scaleUpIncrement": 10, "scaleDownIncrement": 5,
                            "evaluationInterval": 10000
                        }
                    }
                }
            }
        }"#,
    ));
    let config = FactoryConfig::from_figment(&figment).unwrap();
    assert_eq!(config.own_service().unwrap(), "market-data");
    let postgres = &config.services["market-data"]
        .postgres
        .as_ref()
        .unwrap()
        .pool;
    let seed = DynamicPoolConfig {
        enabled: true,
        ..DynamicPoolConfig::default()
    };
    assert_eq!(postgres.dynamic, Some(seed));
}

#[test]
fn five_mistakes_in_three_sources_are_one_error_with_five_places() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pools.json");
    let json = r#"{"services": {"market-data": {
        "postgres": {"url": "postgres://a:canary-71@h/db", "maxSise": 3, "acquireTimeoutMs": "soon"},
        "mongodb": {"uri": 5}
    }}}"#;
    std::fs::write(&file, json).unwrap();
    let sources = toml("[defaults.postgres]\nmax_connecting = -1")
        .file(&file)
        .variables(
            "POOLS_",
            [("POOLS_SERVICES__MARKET_DATA__MONGODB__DATABSE", "canary")],
        );
    let file = file.display().to_string();
    check(
        sources,
        &[
            "`defaults.postgres.max_connecting` in the test: has a value out of range: want u32",
            &format!("`services.market-data.postgres.maxSise` in file {file}: is not a known key"),
            &format!(
                "`services.market-data.postgres.acquireTimeoutMs` in file {file}: is text: want u64"
            ),
            &format!("`services.market-data.mongodb.uri` in file {file}: is a whole number"),
            "`POOLS_SERVICES__MARKET_DATA__MONGODB__DATABSE` in the environment: is not a known \
             key: did you mean `database`?",
        ],
    );
}

#[test]
fn what_the_adapters_object_to_is_part_of_the_same_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pools.yaml");
    let yaml = "services:\n  quotes:\n    postgres:\n      url: 'postgres://u:canary-71@h/db?sslmod=require'\n      \
                connectTimeoutMs: 0\n    mongodb:\n      uri: 'mongodb://u:canary-71@h/?maxIdleTimeMS=5'\n      \
                idleTimeoutMs: 60000\n      max_connections: 300\n      ceiling: 200\n";
    std::fs::write(&file, yaml).unwrap();
    let sources = toml("[defaults.mongodb]\ndatabase = 'not a name'")
        .file(&file)
        .variables(
            "POOLS_",
            [
                ("POOLS_SERVICES__QUOTES__POSTGRES__MAX_CONNECTING", "0"),
                ("POOLS_SERVICES__QUOTES__MONGODB__ACQUIRE_TIMEOUT_MS", "0"),
            ],
        );
    let file = format!("in file {}", file.display());
    check(
        sources,
        &[
            "`defaults.mongodb.database` in the test: database `not a name`: the name has one",
            &format!("`services.quotes.postgres.url` {file}: url: unknown parameter `sslmod`"),
            &format!("`services.quotes.postgres.connectTimeoutMs` {file}: connect_timeout is zero"),
            &format!("`services.quotes.mongodb.max_connections` {file}: max 300 is above ceiling"),
            &format!("`services.quotes.mongodb.uri` {file}: the URI says maxIdleTimeMS=5"),
            "`POOLS_SERVICES__QUOTES__POSTGRES__MAX_CONNECTING` in the environment: max_connecting",
            "`POOLS_SERVICES__QUOTES__MONGODB__ACQUIRE_TIMEOUT_MS` in the environment: acquire",
        ],
    );
}

#[test]
fn contradictions_are_found_where_they_stand() {
    check(
        toml(
            r#"
            [services.a.postgres]
            url = "postgres://app@localhost/a"
            dynamic = { minSize = 9, maxSize = 4, scaleUpIncrement = 0 }
            [services.b.mongodb]
            uri = "mongodb://localhost/b"
            min_connections = 30
            "#,
        ),
        &[
            "`services.a.postgres.dynamic.minSize` in the test and \
             `services.a.postgres.dynamic.maxSize` in the test: minSize 9 and maxSize 4",
            "`services.a.postgres.dynamic.scaleUpIncrement` in the test: scaleUpIncrement is 0",
            "`services.b.mongodb.min_connections` in the test: min 30 is above max 10",
        ],
    );
}

#[test]
fn unknown_tables_and_missing_urls_are_named() {
    check(
        toml(
            r#"
            sevice = "a"
            [defaults.redis]
            [services.a.postgres]
            max_connections = 3
            [services.a.mysql]
            url = "canary"
            [services.b]
            mongodb = 3
            "#,
        ),
        &[
            "`sevice` in the test: is not a known key: did you mean `service`?",
            "`defaults.redis`",
            "`services.a.postgres.url`: is not set in any source",
            "`services.a.mysql` in the test: is not a known key",
            "`services.b.mongodb` in the test: is a whole number: want a table of keys",
            "`services.b.mongodb.uri`: is not set in any source",
        ],
    );
}

#[test]
fn a_malformed_url_is_named_with_its_source_and_without_its_password() {
    check(
        FactoryConfig::sources().server_urls(&[("POSTGRES_URL", "postgres://u:canary@h:70000/x")]),
        &["`POSTGRES_URL` in the environment: url: not a URL: invalid port number"],
    );
}

#[test]
fn urls_alone_make_the_default_service() {
    let config = FactoryConfig::sources()
        .server_urls(&[
            ("MONGODB_URL", "mongodb://localhost/market"),
            ("POSTGRES_URL", "postgres://localhost/market"),
        ])
        .load()
        .unwrap();
    assert_eq!(config.own_service().unwrap(), "default");
    let service = &config.services["default"];
    assert!(service.mongodb.is_some());
    assert_eq!(
        service.postgres.as_ref().unwrap().origin,
        "`POSTGRES_URL` in the environment"
    );
}

#[test]
fn a_service_has_what_the_defaults_lead_to() {
    let config = FactoryConfig::sources()
        .server_urls(&[("POSTGRES_URL", "postgres://localhost/market")])
        .toml("the test", "[defaults.mongodb]\ndatabase = 'x'\n[services.a]\n[services.b.postgres]\nmax_connections = 2")
        .load()
        .unwrap();
    for name in ["a", "b"] {
        assert!(config.services[name].postgres.is_some(), "{name}");
        assert!(config.services[name].mongodb.is_none(), "{name}");
    }
    let error = config.own_service().unwrap_err().to_string();
    assert!(error.contains("`a`, `b`"), "{error}");
}

#[test]
fn text_from_the_environment_is_a_number_only_where_one_is_wanted() {
    let config = toml(PLACES)
        .variables(
            "POOLS_",
            [
                ("POOLS_SERVICES__ORDERS__POSTGRES__PASSWORD", "0123"),
                ("POOLS_SERVICES__ORDERS__POSTGRES__MAX_WAITERS", "44"),
                (
                    "POOLS_SERVICES__ORDERS__POSTGRES__DYNAMIC",
                    "{enabled=true, minSize=1, maxSize=2}",
                ),
                ("POOLS_DRAIN_TIMEOUT_MS", "250"),
            ],
        )
        .load()
        .unwrap();
    let postgres = &config.services["orders"].postgres.as_ref().unwrap().pool;
    assert!(postgres.password.is_some());
    assert_eq!(postgres.max_waiters, Some(44));
    assert_eq!(postgres.dynamic.unwrap().max_size, 2);
    assert_eq!(config.drain_timeout, Duration::from_millis(250));
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let broken = [
        write("a.toml", "[services.a]\npassword = 'canary-71\n"),
        write("b.json", "{\"url\": \"canary-71\""),
        write("c.yaml", "a: [canary-71\n"),
        write("d.toml", "canary-71"),
        write("e.yaml", "canary-71"),
        write("f.json", "\"canary-71\""),
    ];
    for path in &broken {
        let found = problems(FactoryConfig::sources().file(path));
        let wanted = format!("file {}: could not be parsed", path.display());
        assert!(found[0].contains(&wanted), "{found:?}");
        assert_eq!(found.len(), 1, "{found:?}");
    }
    let found = problems(
        FactoryConfig::sources()
            .file(&broken[0])
            .file(&broken[1])
            .file(folder.path().join("none.toml"))
            .file(write("pools.ini", "canary")),
    );
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn a_file_that_cannot_be_parsed_does_not_hide_the_mistakes_of_other_sources() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pools.yaml");
    std::fs::write(&file, "services: [canary-71\n").unwrap();
    // What is nowhere, a URL or the service itself, may stand in the file.
    let sources = toml(
        "service = 'elsewhere'\n[budgets.main]\nserver = 'db.example'\nmax_connections = 5\n\
         [services.a.postgres]\nmaxSise = 3",
    )
    .file(&file)
    .file(folder.path().join("none.toml"))
    .variables("POOLS_", [("POOLS_DRAIN_TIMEOUT_MS", "soon")]);
    check(
        sources,
        &[
            &format!("file {}: could not be parsed", file.display()),
            "none.toml: could not be read",
            "`POOLS_DRAIN_TIMEOUT_MS` in the environment: is text: want u64",
            "`services.a.postgres.maxSise` in the test: is not a known key",
        ],
    );
}

#[test]
fn one_key_spelt_twice_in_one_source_is_told() {
    check(
        toml(
            "[services.a.postgres]\nurl = 'postgres://h/d'\nmaxConnections = 3\nmax_connections = 4",
        ),
        &[
            "`services.a.postgres.maxConnections` and `services.a.postgres.max_connections` in the test",
        ],
    );
}

#[test]
fn a_figment_of_ones_own_keeps_the_names_of_its_files() {
    let figment = Figment::new().merge(Toml::string("[services.a.postgres]\nurl = 5\nmaxSise = 1"));
    let error = FactoryConfig::from_figment(&figment)
        .unwrap_err()
        .to_string();
    for wanted in [
        "`services.a.postgres.url`",
        "`services.a.postgres.maxSise`",
        "TOML",
    ] {
        assert!(error.contains(wanted), "{error}");
    }
}

#[test]
fn a_budget_is_shared_by_the_pools_that_lead_to_its_server() {
    let config = toml(
        "[budgets.main]\nserver = 'DB.example:5432'\nmaxConnections = 30\n\
         [budgets.documents]\nserver = 'db.example:27017'\nmax_connections = 5\n\
         [services.a.postgres]\nurl = 'postgres://u@db.example/a'\n\
         [services.b.postgres]\nurl = 'postgres://u@db.example:5433/b'\n\
         [services.c.postgres]\nurl = 'postgres://u@standby.example,db.example/c'\n\
         [services.b.mongodb]\nuri = 'mongodb://other,db.example/b'",
    )
    .variables("POOLS_", [("POOLS_BUDGETS__MAIN__MAX_CONNECTIONS", "12")])
    .load()
    .unwrap();
    assert_eq!(config.budgets["main"].max_connections.get(), 12);
    let postgres = |name: &str| config.services[name].postgres.as_ref().unwrap();
    assert_eq!(postgres("a").budget.as_deref(), Some("main"));
    assert_eq!(postgres("b").budget, None);
    // One of its hosts is that server.
    assert_eq!(postgres("c").budget.as_deref(), Some("main"));
    let mongodb = config.services["b"].mongodb.as_ref().unwrap();
    assert_eq!(mongodb.budget.as_deref(), Some("documents"));
}

#[test]
fn a_budget_that_nobody_shares_or_that_is_too_small_is_a_mistake() {
    check(
        toml(
            "[budgets.one]\nserver = 'db.exmaple'\nmax_connections = 3\n\
             [budgets.two]\nserver = 'db.example:5432'\nmax_connections = 3\n\
             [budgets.three]\nserver = 'db.example'\nmaxConections = 0\n\
             [budgets.four]\nserver = 'db.example'\nmax_connections = 9\n\
             [services.a.postgres]\nurl = 'postgres://u@db.example/a'\nmin_connections = 4",
        ),
        &[
            "`budgets.one.server` in the test: no pool leads there: pools lead to db.example:5432",
            "`budgets.two.max_connections` in the test: 3 is below the minimum 4 of `services.a",
            "`budgets.two.server` in the test: `services.a.postgres` has the budget `four` already",
            "`budgets.three.maxConections` in the test: is not a known key: did you mean `max_conn",
            "`budgets.three.max_connections`: is not set in any source",
        ],
    );
}
