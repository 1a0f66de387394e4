//! Another configuration while the pools run.

use std::time::Duration;

use connection_factory::{
    ConfigSources, ConnectionFactory, Database, PoolStatus, ReloadError, ReloadReason,
};
use mongodb::bson::{Document, doc};
use pool_core::DynamicSizing as _;

use crate::support::{PATIENCE, Servers, application, servers};

fn sources(servers: &Servers, name: &str) -> ConfigSources {
    servers
        .sources(name)
        .set("services.test.postgres.min_connections", 2)
        .set("services.test.mongodb.max_connections", 5)
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_times_change_and_no_connection_is_dropped() {
    let Some(servers) = servers() else { return };
    let name = "reload_sizes";
    let factory = ConnectionFactory::new(sources(&servers, name).load().unwrap());
    let postgres = factory.postgres("test").await.unwrap();
    let mongodb = factory.mongodb("test").await.unwrap();
    let held = postgres.acquire().await.unwrap();
    let lease = mongodb.acquire().await.unwrap();
    let opened = postgres.pool_metrics().counters.opened;

    let report = factory
        .reload(
            sources(&servers, name)
                .set("services.test.postgres.max_connections", 30)
                .set("services.test.postgres.acquire_timeout_ms", 700)
                .set("services.test.mongodb.dynamic.enabled", true)
                .set("services.test.mongodb.dynamic.minSize", 1)
                .set("services.test.mongodb.dynamic.maxSize", 7)
                .set("services.test.mongodb.acquire_timeout_ms", 800)
                .load()
                .unwrap(),
        )
        .await
        .unwrap();
    let changed: Vec<_> = report
        .changed
        .iter()
        .map(|pool| (pool.database, pool.what.clone(), pool.replaces_connections))
        .collect();
    let both = vec!["sizes", "times"];
    assert_eq!(
        changed,
        [
            (Database::Postgresql, both.clone(), false),
            (Database::Mongodb, both, false)
        ],
        "{report}"
    );
    assert_eq!(postgres.limits().max(), 30);
    assert_eq!(
        postgres.runtime_settings().acquire_timeout,
        Duration::from_millis(700)
    );
    assert_eq!(mongodb.limits().max(), 7);
    assert!(mongodb.dynamic_pool_config().unwrap().enabled);
    let metrics = postgres.pool_metrics();
    assert_eq!(metrics.counters.opened, opened);
    assert_eq!(metrics.counters.closed.total(), 0);
    lease
        .collection::<Document>("kept")
        .insert_one(doc! { "lease": "still works" })
        .await
        .unwrap();
    lease.database().drop().await.unwrap();
    drop((held, lease));

    // What an operator has set meanwhile stays, if the configuration says nothing else about it.
    postgres.set_limits(0, 4).unwrap();
    let same = (*factory.config()).clone();
    let report = factory.reload(same).await.unwrap();
    assert!(report.changed.is_empty(), "{report}");
    assert_eq!(postgres.limits().max(), 4);
    assert!(factory.drain(PATIENCE).await.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_password_costs_no_connection_and_a_wrong_one_changes_nothing() {
    let Some(servers) = servers() else { return };
    let name = "reload_password";
    let user = application(name);
    servers
        .run(format!(
            "drop role if exists {user}; create role {user} login password 'first'"
        ))
        .await;
    let (_, address) = servers.postgres.rsplit_once('@').unwrap();
    let with = |password: &str, max: u32| {
        sources(&servers, name)
            .set(
                "services.test.postgres.url",
                format!("postgres://{user}@{address}"),
            )
            .set("services.test.postgres.password", password)
            .set("services.test.postgres.max_connections", max)
            .load()
            .unwrap()
    };
    let factory = ConnectionFactory::new(with("first", 5));
    let pool = factory.postgres("test").await.unwrap();
    let held = pool.acquire().await.unwrap();

    servers
        .run(format!("alter role {user} password 'second'"))
        .await;
    let refused = factory.reload(with("canary", 9)).await.unwrap_err();
    let text = refused.to_string();
    assert!(
        text.contains("28P01") && text.contains("service `test`"),
        "{text}"
    );
    assert!(!text.contains("canary"), "{text}");
    assert_eq!(pool.limits().max(), 5, "nothing has changed");

    let report = factory.reload(with("second", 9)).await.unwrap();
    assert_eq!(report.changed[0].what, ["credentials", "sizes"], "{report}");
    drop(held);
    let mut all = Vec::new();
    for _ in 0..9 {
        all.push(pool.acquire().await.unwrap());
    }
    let counters = pool.pool_metrics().counters;
    assert_eq!((counters.opened, counters.closed.total()), (9, 0));
    drop(all);
    assert!(factory.drain(PATIENCE).await.clean);
    servers.run(format!("drop role {user}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_database_replaces_connections_as_they_come_back() {
    let Some(servers) = servers() else { return };
    let name = "reload_moved";
    let (server, database) = servers.postgres.rsplit_once('/').unwrap();
    assert_ne!(database, "template1");
    let config = |database: &str| {
        sources(&servers, name)
            .set("services.test.postgres.url", format!("{server}/{database}"))
            .load()
            .unwrap()
    };
    let factory = ConnectionFactory::new(config(database));
    let pool = factory.postgres("test").await.unwrap();
    let mut held = pool.acquire().await.unwrap();
    let report = factory.reload(config("template1")).await.unwrap();
    assert!(report.changed[0].replaces_connections, "{report}");
    // Who has a connection keeps it, and who comes gets one of the other kind.
    let asked = "select current_database()";
    let kept: String = sqlx::query_scalar(asked)
        .fetch_one(&mut *held)
        .await
        .unwrap();
    assert_eq!(kept, database);
    let new: String = sqlx::query_scalar(asked).fetch_one(&pool).await.unwrap();
    assert_eq!(new, "template1");
    drop(held);
    assert!(factory.drain(PATIENCE).await.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn several_hosts_stay_several_and_what_they_must_be_stays_asked() {
    let Some(servers) = servers() else { return };
    let name = "reload_hosts";
    // A port where nobody listens, before the server.
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let (start, rest) = servers.postgres.rsplit_once('@').unwrap();
    let (server, database) = rest.split_once('/').unwrap();
    let config = |hosts: String, attrs: &str| {
        let url = format!("{start}@{hosts}/{database}?target_session_attrs={attrs}");
        sources(&servers, name)
            .set("services.test.postgres.url", url)
            .load()
            .unwrap()
    };
    let factory = ConnectionFactory::new(config(server.to_owned(), "any"));
    let pool = factory.postgres("test").await.unwrap();
    let first = pool.acquire().await.unwrap().backend_pid();

    let both = format!("{gone},{server}");
    let refused = factory.reload(config(both.clone(), "standby")).await;
    let text = refused.unwrap_err().to_string();
    assert!(
        text.contains("a primary: want standby") && text.contains(&gone.to_string()),
        "{text}"
    );
    assert_eq!(pool.address(), format!("{server}/{database}"), "{text}");

    let report = factory.reload(config(both.clone(), "primary")).await;
    let report = report.expect("one of the hosts is there");
    assert_eq!(report.changed[0].what, ["url"], "{report}");
    assert_eq!(pool.address(), format!("{both}/{database}"));
    let second = pool.acquire().await.expect("the other host serves");
    assert_ne!(second.backend_pid(), first);
    drop(second);
    assert!(factory.drain(PATIENCE).await.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_change_is_refused_for_all_and_a_service_that_is_gone_is_closed() {
    let Some(servers) = servers() else { return };
    let name = "reload_fixed";
    let factory = ConnectionFactory::new(sources(&servers, name).load().unwrap());
    let postgres = factory.postgres("test").await.unwrap();
    let mongodb = factory.mongodb("test").await.unwrap();
    let error = factory
        .reload(
            sources(&servers, name)
                .set("services.test.postgres.init_sql", "set timezone = 'UTC'")
                .set("services.test.mongodb.database", "elsewhere")
                .set("services.test.mongodb.max_connections", 50)
                .load()
                .unwrap(),
        )
        .await
        .unwrap_err();
    let ReloadError::Pools(problems) = &error else {
        panic!("{error}");
    };
    let fixed: Vec<_> = problems
        .iter()
        .map(|problem| match problem.reason {
            ReloadReason::Fixed(setting) => setting,
            _ => panic!("{problem}"),
        })
        .collect();
    assert_eq!(fixed, ["init_sql", "database"], "{error}");
    assert_eq!(mongodb.limits().max(), 5);

    // Both are up; then the configuration has only one of them.
    let health = factory.health(PATIENCE).await;
    assert!(health.is_healthy(), "{health:?}");
    let only = servers.only_postgres(name).load().unwrap();
    let report = factory.reload(only).await.unwrap();
    assert_eq!(report.removed.len(), 1, "{report}");
    assert!(report.removed[0].clean && mongodb.is_closed() && !postgres.is_closed());
    assert_eq!(factory.pool_metrics().len(), 1);
    assert!(factory.mongodb("test").await.is_err());
    assert!(factory.drain(PATIENCE).await.clean);
    let closed = factory
        .reload(sources(&servers, name).load().unwrap())
        .await;
    assert!(matches!(closed, Err(ReloadError::Closed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_what_is_up_busy_and_closed() {
    let Some(servers) = servers() else { return };
    let config = sources(&servers, "health")
        .set("services.test.postgres.min_connections", 0)
        .set("services.test.postgres.max_connections", 1)
        .load()
        .unwrap();
    let factory = ConnectionFactory::new(config);
    assert!(factory.health(PATIENCE).await.pools.is_empty());
    let postgres = factory.postgres("test").await.unwrap();
    let mongodb = factory.mongodb("test").await.unwrap();
    let health = factory.health(PATIENCE).await;
    let up = |at: usize| matches!(health.pools[at].status, PoolStatus::Up);
    assert!(up(0) && up(1) && health.is_healthy(), "{health:?}");

    let held = postgres.acquire().await.unwrap();
    mongodb.close(Duration::from_secs(5)).await;
    let health = factory.health(Duration::from_millis(300)).await;
    assert!(
        matches!(health.pools[0].status, PoolStatus::Busy(_)),
        "{health:?}"
    );
    assert!(
        matches!(health.pools[1].status, PoolStatus::Closed),
        "{health:?}"
    );
    assert!(!health.is_healthy());
    drop(held);
    assert!(factory.drain(PATIENCE).await.clean);
}
