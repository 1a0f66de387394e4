//! Reloads of what pools share, of clients, of secrets in files, and of several at once.

use std::time::Duration;

use connection_factory::{ConnectionFactory, Database, PoolStatus};
use mongodb::bson::{Document, doc};
use pool_testkit::{Fault, FaultProxy};

use crate::support::{PATIENCE, application, servers};

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_shrinks_grows_and_goes_while_it_is_shared() {
    let Some(servers) = servers() else { return };
    let name = "reload_budget";
    let (_, address) = servers.postgres.rsplit_once('@').unwrap();
    let server = address.split(['/', '?']).next().unwrap();
    let with = |budget: Option<u32>| {
        let sources = servers.only_postgres(name);
        let sources = match budget {
            Some(max) => sources
                .set("budgets.main.server", server)
                .set("budgets.main.max_connections", max),
            None => sources,
        };
        sources.load().unwrap()
    };
    let factory = ConnectionFactory::new(with(Some(6)));
    let pool = factory.postgres("test").await.unwrap();
    let mut held = Vec::new();
    for _ in 0..6 {
        held.push(pool.acquire().await.unwrap());
    }
    let refused = tokio::time::timeout(Duration::from_millis(100), pool.acquire()).await;
    assert!(refused.is_err(), "the budget is used up");

    // No holder is interrupted; what comes back is closed.
    let report = factory.reload(with(Some(3))).await.unwrap();
    assert!(report.changed.is_empty(), "the pool is as it was: {report}");
    assert_eq!(factory.budgets()[0].max_connections, 3);
    for connection in &mut held {
        sqlx::query("select 1")
            .execute(&mut **connection)
            .await
            .unwrap();
    }
    held.clear();
    assert_eq!(servers.count(&application(name), 3).await, 3);

    factory.reload(with(Some(5))).await.unwrap();
    for _ in 0..5 {
        held.push(pool.acquire().await.unwrap());
    }
    assert_eq!(servers.count(&application(name), 5).await, 5);

    let report = factory.reload(with(None)).await.unwrap();
    assert_eq!(report.changed[0].what, ["budget"], "{report}");
    assert!(factory.budgets().is_empty());
    for _ in 5..10 {
        held.push(pool.acquire().await.unwrap());
    }
    assert_eq!(servers.count(&application(name), 10).await, 10);
    drop(held);
    assert!(factory.drain(PATIENCE).await.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_mongodb_client_is_made_from_brings_another_client() {
    let Some(servers) = servers() else { return };
    let with = |idle_timeout_ms: u64, ceiling: u32| {
        servers
            .sources("reload_client")
            .set("services.test.mongodb.idle_timeout_ms", idle_timeout_ms)
            .set("services.test.mongodb.ceiling", ceiling)
            .load()
            .unwrap()
    };
    let factory = ConnectionFactory::new(with(60_000, 20));
    let pool = factory.mongodb("test").await.unwrap();
    let old = pool.acquire().await.unwrap();
    let insert = async |lease: &pool_mongo::MongoLease, by: &str| {
        let notes = lease.collection::<Document>("notes");
        notes.insert_one(doc! { "by": by }).await.unwrap();
        notes.count_documents(doc! {}).await.unwrap()
    };
    assert_eq!(insert(&old, "the old client").await, 1);

    let report = factory.reload(with(30_000, 40)).await.unwrap();
    assert_eq!(report.changed.len(), 1, "{report}");
    let changed = &report.changed[0];
    assert_eq!(
        (changed.database, &*changed.what),
        (Database::Mongodb, &["client"][..])
    );
    assert!(changed.replaces_connections, "{report}");
    assert_eq!(pool.ceiling(), 40);
    // A lease of the old client goes on beside those of the new one.
    assert_eq!(insert(&old, "the old client again").await, 2);
    let new = pool.acquire().await.unwrap();
    assert_eq!(insert(&new, "the new client").await, 3);
    drop(old);
    assert_eq!(insert(&new, "the new client alone").await, 4);
    new.database().drop().await.unwrap();
    drop(new);

    let report = factory.reload(with(30_000, 40)).await.unwrap();
    assert!(report.changed.is_empty(), "{report}");
    assert!(factory.drain(PATIENCE).await.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_at_the_same_time_take_turns_and_leave_one_of_them_in_force() {
    let Some(servers) = servers() else { return };
    let with = |max: u32| {
        servers
            .sources("reload_turns")
            .set("services.test.postgres.max_connections", max)
            .set("services.test.postgres.acquire_timeout_ms", 20_000 + max)
            .set("services.test.mongodb.max_connections", max)
            .load()
            .unwrap()
    };
    let factory = ConnectionFactory::new(with(1));
    let postgres = factory.postgres("test").await.unwrap();
    let mongodb = factory.mongodb("test").await.unwrap();
    for round in 0..10 {
        let reloads: Vec<_> = (2..12)
            .map(|max| {
                let (factory, config) = (factory.clone(), with(max + round));
                tokio::spawn(async move { factory.reload(config).await })
            })
            .collect();
        for reload in reloads {
            reload.await.unwrap().unwrap();
        }
        let settings = factory.config();
        let settings = settings.services["test"].postgres.as_ref().unwrap();
        let max = settings.pool.max_connections.unwrap();
        let timeout = postgres.runtime_settings().acquire_timeout;
        assert_eq!(
            (postgres.limits().max(), mongodb.limits().max(), timeout),
            (max, max, Duration::from_millis(u64::from(20_000 + max)))
        );
    }
    assert!(factory.drain(PATIENCE).await.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_rotated_in_its_file_is_taken_by_the_next_reload() {
    let Some(servers) = servers() else { return };
    let name = "reload_secret";
    let user = application(name);
    let (_, address) = servers.postgres.rsplit_once('@').unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("user.secret");
    let rotate = async |password: &str, statement: &str| {
        let statement = format!("{statement} role {user} login password '{password}'");
        servers.run(statement).await;
        std::fs::write(&file, format!("{password}\n")).unwrap();
    };
    servers.run(format!("drop role if exists {user}")).await;
    rotate("first", "create").await;
    let loaded = || {
        servers
            .only_postgres(name)
            .set(
                "services.test.postgres.url",
                format!("postgres://{user}@{address}"),
            )
            .set(
                "services.test.postgres.password_file",
                file.to_str().unwrap(),
            )
            .load()
    };
    let factory = ConnectionFactory::new(loaded().unwrap());
    let pool = factory.postgres("test").await.unwrap();
    let held = pool.acquire().await.unwrap();

    rotate("second", "alter").await;
    let report = factory.reload(loaded().unwrap()).await.unwrap();
    assert_eq!(report.changed[0].what, ["credentials"], "{report}");
    drop(held);
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(pool.acquire().await.expect("the new password is used"));
    }
    assert_eq!(pool.pool_metrics().counters.closed.total(), 0);
    drop(all);

    // A secret that is not there any more leaves in force what there is.
    std::fs::remove_file(&file).unwrap();
    let error = loaded().unwrap_err().to_string();
    assert!(
        error.contains("`services.test.postgres.password_file`") && error.contains(".secret"),
        "{error}"
    );
    assert!(factory.drain(PATIENCE).await.clean);
    servers.run(format!("drop role {user}")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_tells_of_a_server_that_is_down_and_of_one_that_is_back() {
    let Some(servers) = servers() else { return };
    let (start, rest) = servers.postgres.rsplit_once('@').unwrap();
    let (server, database) = rest.split_once('/').unwrap();
    let proxy = FaultProxy::start(server.parse().unwrap()).await.unwrap();
    let url = format!("{start}@{}/{database}", proxy.address());
    let config = servers
        .sources("health_down")
        .set("services.test.postgres.url", url)
        .set("services.test.postgres.connect_timeout_ms", 500)
        .load()
        .unwrap();
    let factory = ConnectionFactory::new(config);
    factory.postgres("test").await.unwrap();
    factory.mongodb("test").await.unwrap();
    let within = Duration::from_secs(2);
    assert!(factory.health(within).await.is_healthy());

    proxy.set(Fault::Refuse).await;
    proxy.cut_all().await;
    let health = factory.health(within).await;
    let PoolStatus::Down(reason) = &health.pools[0].status else {
        panic!("{health:?}");
    };
    assert!(
        !format!("{reason} {reason:?}").contains("postgres:"),
        "no password"
    );
    assert!(
        matches!(health.pools[1].status, PoolStatus::Up),
        "{health:?}"
    );
    assert!(!health.is_healthy() && health.elapsed < PATIENCE);

    proxy.set(Fault::Pass).await;
    let began = std::time::Instant::now();
    while !factory.health(within).await.is_healthy() {
        assert!(began.elapsed() < PATIENCE, "it is back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(factory.drain(PATIENCE).await.clean);
}
