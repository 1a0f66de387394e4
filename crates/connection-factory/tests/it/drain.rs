//! The end of a factory.

use std::time::Duration;

use connection_factory::{ConnectionFactory, FactoryConfig};

#[tokio::test(start_paused = true)]
async fn a_drain_may_have_all_the_time_there_is() {
    let config = FactoryConfig::sources()
        .set("services.a.postgres.url", "postgres://app@127.0.0.1:9/a")
        .load()
        .unwrap();
    let factory = ConnectionFactory::new(config);
    let report = factory.drain(Duration::MAX).await;
    assert!(report.clean && report.pools.is_empty(), "{report}");
    assert_eq!(report.elapsed, Duration::ZERO);
}
