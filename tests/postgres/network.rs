//! A network that swallows, resets and delays.

use std::time::Duration;

use pool_core::Liveness;
use pool_postgres::{PostgresPool, PostgresPoolBuilder};
use pool_testkit::{Fault, FaultProxy};
use sqlx::postgres::PgPoolOptions;

use crate::server::{self, Server};

const SHORT: Duration = Duration::from_millis(300);

async fn behind_a_proxy(test: &str) -> Option<(PostgresPoolBuilder, FaultProxy, Server)> {
    let (_, server) = server::pool(test).await?;
    let (options, proxy) = server::behind_a_proxy().await?;
    let builder = PostgresPool::from_options(options)
        .name(server.name())
        .acquire_timeout(server::SOON)
        .connect_timeout(server::SOON)
        .validate_timeout(SHORT)
        .recycle_timeout(SHORT)
        .close_timeout(SHORT);
    Some((builder, proxy, server))
}

#[tokio::test]
async fn a_silent_socket_on_release_loses_no_capacity() {
    let Some((builder, proxy, _server)) = behind_a_proxy("mute-release").await else {
        return;
    };
    let pool = builder.limits(0, 2).build().unwrap();
    let mut held = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    proxy.set(Fault::Blackhole).await;
    for connection in &mut held {
        let query = sqlx::query("select 1").execute(&mut **connection);
        tokio::time::timeout(Duration::from_millis(50), query)
            .await
            .unwrap_err();
    }
    drop(held);
    proxy.set(Fault::Pass).await;
    let again = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    drop(again);
    server::until("both places are there", || pool.counts().idle == 2).await;
    assert_eq!(pool.pool_metrics().counters.recycle_failures, 2);
}

#[tokio::test]
async fn a_silent_socket_on_acquire_is_replaced_within_the_same_acquire() {
    let Some((builder, proxy, mut server)) = behind_a_proxy("mute-acquire").await else {
        return;
    };
    let pool = builder
        .limits(0, 1)
        .liveness(Liveness::Always)
        .build()
        .unwrap();
    let old = pool.acquire().await.unwrap().backend_pid();
    proxy.set(Fault::Blackhole).await;
    let acquire = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    proxy.set(Fault::Pass).await;
    let connection = acquire.await.unwrap().expect("one acquire sees it through");
    assert_ne!(connection.backend_pid(), old);
    assert_eq!(pool.pool_metrics().counters.validation_failures, 1);
    assert_eq!(pool.counts().total, 1);
    drop(connection);
    proxy.cut_all().await; // the server's end of the old socket
    server.settles_at(0).await;
}

/// What the first test here holds for this pool, beside it: sqlx issue 4349.
#[tokio::test]
async fn sqlx_alone_loses_its_place_to_a_silent_socket() {
    let Some((options, proxy)) = server::behind_a_proxy().await else {
        return;
    };
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .acquire_timeout(Duration::from_secs(2))
        .connect_lazy_with(options);
    let connection = pool.acquire().await.unwrap();
    proxy.set(Fault::Blackhole).await;
    drop(connection);
    // Meanwhile the ping that sqlx sends at a release is swallowed.
    pool.acquire().await.expect_err("nothing passes");
    proxy.set(Fault::Pass).await;
    let acquired = pool.acquire().await;
    assert!(
        matches!(acquired, Err(sqlx::Error::PoolTimedOut)),
        "sqlx has become better, and this comparison is over: {acquired:?}"
    );
}

#[tokio::test]
async fn connections_that_are_reset_are_replaced() {
    let Some((builder, proxy, mut server)) = behind_a_proxy("reset").await else {
        return;
    };
    let pool = builder
        .limits(2, 2)
        .liveness(Liveness::Always)
        .build()
        .unwrap();
    pool.warmup_pool().await.unwrap();
    proxy.cut_all().await;
    for _ in 0..5 {
        sqlx::query("select 1")
            .execute(&pool)
            .await
            .expect("checked before it is lent");
    }
    server::until("the minimum is back", || pool.counts().idle == 2).await;
    server.settles_at(2).await;
}
