//! Warm-up, checkout, return, metrics, shutdown.

use std::time::Duration;

use pool_core::AcquireErrorKind;
use pool_postgres::PostgresPool;

use crate::server;

#[tokio::test]
async fn warm_up_opens_the_minimum_and_only_then_is_the_pool_ready() {
    let Some((builder, mut server)) = server::pool("warm-up").await else {
        return;
    };
    let pool = builder.limits(7, 10).max_connecting(7).build().unwrap();
    assert!(!pool.ready());
    let report = pool.warmup_pool().await.unwrap();
    assert!(pool.ready());
    assert_eq!((report.wanted, report.open, report.failures), (7, 7, 0));
    assert_eq!(report.validated, 7);
    assert_eq!(server.connections().await, 7);
    assert_eq!(pool.counts().idle, 7);
}

#[tokio::test]
async fn a_connection_is_lent_again_and_its_work_is_measured() {
    let Some((builder, mut server)) = server::pool("reuse").await else {
        return;
    };
    let pool = builder.limits(0, 3).build().unwrap();
    let mut pids = Vec::new();
    for _ in 0..20 {
        let mut connection = pool.acquire().await.unwrap();
        let pid: i32 = sqlx::query_scalar("select pg_backend_pid() from pg_sleep(0.002)")
            .fetch_one(&mut *connection)
            .await
            .unwrap();
        assert_eq!(pid, connection.backend_pid());
        pids.push(pid);
    }
    pids.dedup();
    assert_eq!(
        pids.len(),
        1,
        "one caller after another needs one connection"
    );
    assert_eq!(server.connections().await, 1);
    let metrics = pool.pool_metrics();
    assert_eq!(metrics.total_connections, 1);
    assert_eq!(metrics.counters.acquired, 20);
    assert_eq!(metrics.counters.returned, 20);
    assert_eq!(
        metrics.counters.recycled, 0,
        "clean connections need no cleaning"
    );
    assert!(
        (2.0..1_000.0).contains(&metrics.avg_response_time),
        "{metrics:?}"
    );
    assert!(metrics.last_used.is_some() && metrics.errors == 0);
}

#[tokio::test]
async fn close_waits_for_holders_and_the_server_sees_nobody_afterwards() {
    let Some((builder, mut server)) = server::pool("close").await else {
        return;
    };
    let pool = builder.limits(4, 4).build().unwrap();
    pool.warmup_pool().await.unwrap();
    let held = pool.acquire().await.unwrap();
    let closing = tokio::spawn({
        let pool = pool.clone();
        async move { pool.close(Duration::from_secs(5)).await }
    });
    server::until("three are closed", || pool.counts().total == 1).await;
    assert_eq!(
        pool.acquire().await.unwrap_err().kind(),
        AcquireErrorKind::Closed
    );
    let error = sqlx::query("select 1").execute(&pool).await.unwrap_err();
    let acquire = PostgresPool::acquire_error(&error).expect("it carries the original");
    assert_eq!(acquire.kind(), AcquireErrorKind::Closed);
    drop(held);
    let report = closing.await.unwrap();
    assert!(report.clean, "{report}");
    assert_eq!(report.closed, 4);
    server.settles_at(0).await;
}

#[tokio::test]
async fn a_pool_whose_last_handle_is_dropped_closes() {
    let Some((builder, mut server)) = server::pool("last-handle").await else {
        return;
    };
    let pool = builder.limits(3, 3).build().unwrap();
    pool.warmup_pool().await.unwrap();
    let held = pool.acquire().await.unwrap();
    drop(pool);
    server.settles_at(1).await;
    drop(held);
    server.settles_at(0).await;
}

#[tokio::test]
async fn a_guard_is_static_and_can_be_dropped_outside_a_runtime() {
    let Some((builder, mut server)) = server::pool("outside").await else {
        return;
    };
    let pool = builder.limits(0, 1).build().unwrap();
    let guard = pool.acquire().await.unwrap();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    assert_eq!(pool.counts().idle, 1);
    let detached = pool.acquire().await.unwrap().detach();
    assert_eq!(pool.counts().total, 0);
    assert_eq!(server.connections().await, 1, "it is the caller's now");
    drop(detached);
    server.settles_at(0).await;
}

#[tokio::test]
async fn session_settings_come_from_init_sql_and_leave_by_reset_sql() {
    let Some((builder, _server)) = server::pool("session").await else {
        return;
    };
    let pool = builder
        .limits(1, 1)
        .init_sql("set application_name = 'changed'; set search_path = pg_catalog")
        .reset_sql("reset lock_timeout")
        .build()
        .unwrap();
    let show = async |name: &'static str| -> String {
        sqlx::query_scalar("select current_setting($1)")
            .bind(name)
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    assert_eq!(show("search_path").await, "pg_catalog");
    sqlx::query("set lock_timeout = '123ms'")
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(
        show("lock_timeout").await,
        "0",
        "the next caller sees a reset session"
    );
    assert_eq!(pool.pool_metrics().counters.opened, 1);
}
