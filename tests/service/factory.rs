//! Pools made exactly once, told of together, ended together.

use std::time::Duration;

use connection_factory::{ConnectionFactory, CreateErrorKind, Database};
use pool_core::PoolEvent;
use tokio::time::timeout;

use crate::support::{PATIENCE, application, servers};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_first_callers_make_one_pool() {
    let Some(servers) = servers() else { return };
    let name = "factory_once";
    let config = servers
        .sources(name)
        .set("services.test.postgres.min_connections", 2)
        .load()
        .unwrap();
    let factory = ConnectionFactory::new(config);
    let mut events = factory.subscribe();
    let callers: Vec<_> = (0..1_000)
        .map(|_| {
            let factory = factory.clone();
            tokio::spawn(
                async move { factory.postgres("test").await.map(|pool| pool.counts().max) },
            )
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap(), 10);
    }
    assert_eq!(factory.pool_metrics().len(), 1);
    assert_eq!(servers.count(&application(name), 2).await, 2);

    let report = timeout(PATIENCE, factory.drain(Duration::from_secs(10)))
        .await
        .unwrap();
    assert!(report.clean, "{report}");
    assert_eq!(servers.count(&application(name), 0).await, 0);
    drop(factory);
    let mut created = 0;
    while let Some(event) = timeout(PATIENCE, events.next()).await.unwrap() {
        created += u32::from(matches!(event.event, PoolEvent::PoolCreated));
        assert_eq!(
            (&*event.service, event.database),
            ("test", Database::Postgresql)
        );
    }
    assert_eq!(created, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_first_caller_takes_nothing_from_the_others() {
    let Some(servers) = servers() else { return };
    let factory = ConnectionFactory::new(servers.config("factory_cancel"));
    // The first caller is polled once, so that the attempt is his, and dropped.
    let mut first = Box::pin(factory.postgres("test"));
    assert!(futures_util::poll!(&mut first).is_pending());
    let second = factory.postgres("test");
    drop(first);
    let pool = timeout(PATIENCE, second).await.unwrap().unwrap();
    assert!(pool.ready());
    assert_eq!(factory.pool_metrics().len(), 1);
    assert!(factory.drain(Duration::from_secs(10)).await.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_shared_by_its_attempt_and_forgotten_by_the_next() {
    let Some(servers) = servers() else { return };
    let config = servers
        .sources("factory_failure")
        .set("services.test.postgres.password", "wrong-canary-17")
        .load()
        .unwrap();
    let factory = ConnectionFactory::new(config);
    let mut events = factory.subscribe();
    let ask = || async { factory.postgres("test").await.unwrap_err() };
    let errors = futures_util::future::join_all((0..50).map(|_| ask())).await;
    for error in &errors {
        assert_eq!(error.kind(), CreateErrorKind::Connect);
        assert!(!crate::support::chain(error).contains("canary"));
    }
    // A second attempt is a new one.
    assert_eq!(ask().await.kind(), CreateErrorKind::Connect);
    assert!(factory.pool_metrics().is_empty());
    assert!(factory.drain(Duration::from_secs(5)).await.pools.is_empty());
    drop(factory);
    let mut created = 0;
    while let Some(event) = timeout(PATIENCE, events.next()).await.unwrap() {
        assert!(!format!("{event:?}").contains("canary"), "{event:?}");
        created += u32::from(matches!(event.event, PoolEvent::PoolCreated));
    }
    assert_eq!(created, 2, "one pool for each of the two attempts");
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_ends_the_last_made_first_and_makes_no_more() {
    let Some(servers) = servers() else { return };
    let factory = ConnectionFactory::new(servers.config("factory_drain"));
    factory.mongodb("test").await.unwrap();
    let postgres = factory.postgres("test").await.unwrap();
    let services: Vec<_> = factory
        .pool_metrics()
        .iter()
        .map(|pool| pool.database)
        .collect();
    assert_eq!(services, [Database::Mongodb, Database::Postgresql]);

    let held = postgres.acquire().await.unwrap();
    let began = std::time::Instant::now();
    // A tenth of it is left to the other pool.
    let report = factory.drain(Duration::from_secs(8)).await;
    assert!(began.elapsed() < PATIENCE, "{report}");
    assert!(!report.clean, "{report}");
    let order: Vec<_> = report.pools.iter().map(|pool| pool.database).collect();
    assert_eq!(order, [Database::Postgresql, Database::Mongodb]);
    assert!(!report.pools[0].clean && report.pools[1].clean, "{report}");
    assert_eq!(report.pools[0].report.in_use.len(), 1);

    let error = factory.mongodb("test").await.unwrap_err();
    assert_eq!(error.kind(), CreateErrorKind::Closed);
    drop(held);
    let report = factory.drain(Duration::from_secs(5)).await;
    assert!(report.clean, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn drain_gives_up_a_pool_that_is_being_made() {
    // Nothing answers at that address.
    let config = connection_factory::FactoryConfig::sources()
        .set(
            "services.test.postgres.url",
            "postgres://app@192.0.2.1/market",
        )
        .load()
        .unwrap();
    let factory = ConnectionFactory::new(config);
    let asking = {
        let factory = factory.clone();
        tokio::spawn(async move { factory.postgres("test").await.map(drop).unwrap_err() })
    };
    while !asking.is_finished() && !format!("{factory:?}").contains("making: 1") {
        tokio::task::yield_now().await;
    }
    let began = std::time::Instant::now();
    let report = factory.drain(PATIENCE).await;
    assert!(report.clean, "{report}");
    assert!(began.elapsed() < PATIENCE, "{report}");
    assert_eq!(asking.await.unwrap().kind(), CreateErrorKind::Closed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pool_that_its_user_closed_is_made_anew() {
    let Some(servers) = servers() else { return };
    let factory = ConnectionFactory::new(servers.config("factory_anew"));
    let first = factory.postgres("test").await.unwrap();
    first.close(Duration::from_secs(5)).await;
    let second = factory.postgres("Test").await.unwrap();
    assert!(second.ready() && !second.is_closed());
    assert_eq!(factory.pool_metrics().len(), 1);
    assert!(factory.drain(Duration::from_secs(10)).await.clean);
}
