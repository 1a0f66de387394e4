//! Pools registered in a container that holds other services as well.

use std::error::Error as _;
use std::time::Duration;

use connection_factory::FactoryConfig;
use connection_factory::pool_mongo::MongoPool;
use connection_factory::pool_postgres::PostgresPool;
use operation_context::{SetupError, register_pools};
use service_container::{Container, ContainerBuilder, DisposeOptions, DisposeReport};
use tokio::time::sleep;

/// Takes 35 s to be disposed of, more than a container has by default.
struct Slow;

fn config(drain_timeout_ms: u64) -> FactoryConfig {
    FactoryConfig::sources()
        .set("drain_timeout_ms", drain_timeout_ms)
        .set("services.a.postgres.url", "postgres://app@127.0.0.1:9/a")
        .load()
        .unwrap()
}

async fn disposed(register: impl FnOnce(&mut ContainerBuilder)) -> DisposeReport {
    let mut builder = Container::builder();
    builder
        .value(Slow)
        .on_dispose(|_| sleep(Duration::from_secs(35)))
        .dispose_timeout(Duration::from_secs(60));
    register(&mut builder);
    let container = builder.build().unwrap();
    match container.dispose().await {
        Ok(report) => report,
        Err(unclean) => unclean.into_report(),
    }
}

#[tokio::test(start_paused = true)]
async fn the_container_has_time_for_what_its_pools_may_take() {
    // 10 s for tasks, and 21 s for each of the pool and the factory.
    let report = disposed(|builder| register_pools(builder, config(20_000)).unwrap()).await;
    assert_eq!(report.elapsed, Duration::from_secs(35), "{report}");
    assert!(report.is_clean(), "{report}");
    // 10 s and twice 2 s are less than the default.
    let report = disposed(|builder| register_pools(builder, config(1_000)).unwrap()).await;
    assert_eq!(report.elapsed, Duration::from_secs(30), "{report}");
    assert!(!report.is_clean(), "{report}");
    // Without an end.
    let report = disposed(|builder| register_pools(builder, config(u64::MAX)).unwrap()).await;
    assert!(report.is_clean(), "{report}");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_about_disposal_holds_whenever_it_is_said() {
    let options = DisposeOptions::default().deadline(Duration::from_secs(5));
    let first = disposed(|builder| {
        builder.dispose_options(options);
        register_pools(builder, config(20_000)).unwrap();
    })
    .await;
    let last = disposed(|builder| {
        register_pools(builder, config(20_000)).unwrap();
        builder.dispose_options(options);
    })
    .await;
    for report in [first, last] {
        assert_eq!(report.elapsed, Duration::from_secs(5), "{report}");
        assert_eq!(report.failures().len(), 1, "{report}");
    }
}

#[tokio::test]
async fn a_configuration_that_does_not_say_which_service_this_is_registers_nothing() {
    let config = FactoryConfig::sources()
        .set("defaults.postgres.url", "postgres://app@127.0.0.1:9/a")
        .set("services.a.postgres.max_connections", 1)
        .set("services.b.postgres.max_connections", 1)
        .load()
        .unwrap();
    let mut builder = Container::builder();
    let error = register_pools(&mut builder, config).unwrap_err();
    assert!(matches!(error, SetupError::Config(_)), "{error}");
    assert!(!builder.contains::<connection_factory::ConnectionFactory>());
}

/// As long as a caller waits for a connection, and as a container waits for a service by default: the
/// pool has the last word all the same, for it knows why.
#[tokio::test]
async fn a_pool_that_cannot_be_made_says_why_before_the_container_loses_patience() {
    let time = Duration::from_secs(1);
    let config = FactoryConfig::sources()
        .set("services.a.postgres.url", "postgres://app@127.0.0.1:9/a")
        .set("services.a.postgres.min_connections", 1)
        .set("services.a.postgres.acquire_timeout_ms", 1_000)
        .set("services.a.mongodb.uri", "mongodb://127.0.0.1:9/a")
        .set("services.a.mongodb.acquire_timeout_ms", 1_000)
        .load()
        .unwrap();
    let mut builder = Container::builder();
    builder.create_timeout(time);
    register_pools(&mut builder, config).unwrap();
    let container = builder.build().unwrap();
    let postgres = container.get::<PostgresPool>().await.map(drop).unwrap_err();
    let mongodb = container.get::<MongoPool>().await.map(drop).unwrap_err();
    for error in [postgres, mongodb] {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        assert!(text.contains("127.0.0.1:9"), "{text}");
        assert!(text.contains("refused"), "{text}");
    }
    container.dispose().await.unwrap();
}
