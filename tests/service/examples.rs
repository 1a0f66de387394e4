//! The three usage examples of the layer that this one replaces, as programs against real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mongodb::bson::{Document, doc};
use operation_context::{OperationContext, setup_service_container};
use pool_core::{DynamicPoolConfig, DynamicSizing as _, EventHandlers};

use crate::support::servers;

#[tokio::test(flavor = "multi_thread")]
async fn basic_setup() {
    let Some(servers) = servers() else { return };
    let config = servers.config("example_basic");
    // Set up the service container with connection pools.
    let container = setup_service_container(config).await.unwrap();

    // Create an operation context with the container.
    let context = OperationContext::create("handler", "operation").container(&container);

    // Use the databases normally.
    let mongodb = context.mongodb().await.unwrap().acquire().await.unwrap();
    let data = mongodb.collection::<Document>("data");
    data.insert_one(doc! { "symbol": "AAPL" }).await.unwrap();
    let found = data
        .find_one(doc! { "symbol": "AAPL" })
        .await
        .unwrap()
        .unwrap();
    assert_eq!(found.get_str("symbol"), Ok("AAPL"));
    mongodb.database().drop().await.unwrap();
    drop(mongodb);
    let sum: i32 = sqlx::query_scalar("SELECT 20 + 22")
        .fetch_one(context.postgres().await.unwrap())
        .await
        .unwrap();
    assert_eq!(sum, 42);

    // Clean up when done.
    context.dispose().await.unwrap();
    container.dispose().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn dynamic_pool_configuration() {
    let Some(servers) = servers() else { return };
    let config = servers.config("example_dynamic");
    let context = OperationContext::create("handler", "operation").config(config);
    let dynamic_config = DynamicPoolConfig {
        enabled: true,
        min_size: 5,
        max_size: 100,
        scale_up_threshold: 70.0,
        scale_down_threshold: 30.0,
        scale_up_increment: 10,
        scale_down_increment: 5,
        evaluation_interval: 10_000,
    };
    let postgres = context.postgres().await.unwrap();
    let mongodb = context.mongodb().await.unwrap();
    postgres.set_dynamic_pool_config(dynamic_config).unwrap();
    mongodb.set_dynamic_pool_config(dynamic_config).unwrap();
    postgres.warmup_pool().await.unwrap();
    mongodb.warmup_pool().await.unwrap();
    for metrics in [postgres.pool_metrics(), mongodb.pool_metrics()] {
        assert_eq!((metrics.min, metrics.max), (5, 100), "{metrics:?}");
        assert!(metrics.total_connections >= 5, "{metrics:?}");
    }
    context.dispose().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn monitoring_pool_health() {
    let Some(servers) = servers() else { return };
    let config = servers.config("example_monitoring");
    let context = OperationContext::create("handler", "operation").config(config);
    let postgres = context.postgres().await.unwrap();

    // Get the current metrics.
    let held = postgres.acquire().await.unwrap();
    let metrics = postgres.pool_metrics();
    let seen = (
        metrics.active_connections,
        metrics.total_connections,
        metrics.waiting_requests,
    );
    assert_eq!(seen, (1, 1, 0));
    drop(held);

    // Listen to events.
    let connected = Arc::new(AtomicU32::new(0));
    let counting = Arc::clone(&connected);
    postgres.add_listener(
        EventHandlers::new()
            .on_error(|error| panic!("pool error: {error}"))
            .on_connect(move || {
                counting.fetch_add(1, Ordering::Relaxed);
            }),
    );
    postgres.set_limits(3, 10).unwrap();
    postgres.warmup_pool().await.unwrap();
    for _ in 0..100 {
        if connected.load(Ordering::Relaxed) == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(connected.load(Ordering::Relaxed), 2);
    assert_eq!(postgres.pool_metrics().counters.listener_failures, 0);
    context.dispose().await.unwrap();
}
