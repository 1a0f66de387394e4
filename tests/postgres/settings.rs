//! Settings of a pool as its connections show them: the statement cache, and the service's hooks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use pool_core::{ReleaseCheck, SharedError};
use pool_postgres::PostgresPool;
use sqlx::{AssertSqlSafe, Executor as _};

use crate::server;

#[tokio::test]
async fn a_connection_keeps_as_many_statements_as_its_cache_has_room_for() {
    for (room, wanted) in [(Some(1), 1), (Some(7), 7), (None, 20)] {
        let Some((builder, _server)) = server::pool("statements").await else {
            return;
        };
        let builder = builder.limits(0, 1);
        let builder = match room {
            Some(room) => builder.statement_cache_capacity(room),
            None => builder,
        };
        let pool = builder.build().unwrap();
        for n in 0..20 {
            let sql = AssertSqlSafe(format!("select {n}"));
            let answer: i32 = sqlx::query_scalar(sql).fetch_one(&pool).await.unwrap();
            assert_eq!(answer, n);
        }
        let mut guard = pool.acquire().await.unwrap();
        let rows = guard.fetch_all("select from pg_prepared_statements").await;
        assert_eq!(rows.unwrap().len(), wanted, "with room for {room:?}");
    }
}

#[test]
fn a_statement_cache_without_room_is_turned_down() {
    let url = "postgres://app@localhost/market";
    let error = PostgresPool::builder(url)
        .unwrap()
        .statement_cache_capacity(0)
        .build()
        .unwrap_err()
        .to_string();
    assert!(error.contains("want at least 1"), "{error}");
    let in_url = format!("{url}?statement-cache-capacity=0");
    let error = PostgresPool::builder(&in_url).unwrap_err().to_string();
    assert!(error.contains("want at least 1"), "{error}");
}

#[tokio::test]
async fn hooks_prepare_check_and_judge_connections() {
    let Some((builder, mut server)) = server::pool("hooks").await else {
        return;
    };
    let (connects, checks) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let pool = builder
        .limits(0, 1)
        .init_sql("set lock_timeout = '77ms'")
        .after_connect({
            let connects = Arc::clone(&connects);
            move |connection| {
                connects.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move {
                    // After `init_sql`, whose work it sees.
                    let sql =
                        "select set_config('app.tenant', current_setting('lock_timeout'), false)";
                    let set = connection.execute(sql).await;
                    set.map(drop)
                        .map_err(|error| Arc::new(error) as SharedError)
                })
            }
        })
        .before_acquire({
            let checks = Arc::clone(&checks);
            move |connection, _| {
                checks.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move {
                    let sql = "select 1 / (current_setting('app.tenant') <> 'broken')::int";
                    let checked = connection.execute(sql).await;
                    checked
                        .map(drop)
                        .map_err(|error| Arc::new(error) as SharedError)
                })
            }
        })
        .on_release(|_, info| {
            if info.age > Duration::from_secs(3_600) {
                ReleaseCheck::Broken
            } else {
                ReleaseCheck::Clean
            }
        })
        .build()
        .unwrap();
    let tenant =
        || sqlx::query_scalar::<_, String>("select current_setting('app.tenant')").fetch_one(&pool);
    assert_eq!(tenant().await.unwrap(), "77ms");
    assert_eq!(checks.load(Ordering::SeqCst), 0, "a new one needs no check");
    assert_eq!(tenant().await.unwrap(), "77ms");
    assert_eq!(checks.load(Ordering::SeqCst), 1);

    // Turned down before it is lent, and replaced without an error to the caller.
    pool.execute("set app.tenant = 'broken'").await.unwrap();
    assert_eq!(tenant().await.unwrap(), "77ms", "of another connection");
    assert_eq!(connects.load(Ordering::SeqCst), 2);
    let closed = pool.pool_metrics().counters.closed;
    assert_eq!(closed.refused, 1, "{closed:?}");
    server.settles_at(1).await;
}

#[tokio::test]
async fn a_hook_can_have_what_comes_back_cleaned_or_closed() {
    for (judgement, opened, recycled, broken) in [
        (ReleaseCheck::Clean, 1, 0, 0),
        (ReleaseCheck::Dirty, 1, 3, 0),
        (ReleaseCheck::Broken, 3, 0, 3),
    ] {
        let Some((builder, mut server)) = server::pool("on-release").await else {
            return;
        };
        let pool = builder.limits(0, 1).on_release(move |_, _| judgement);
        let pool = pool.build().unwrap();
        for _ in 0..3 {
            pool.execute("select 1").await.unwrap();
        }
        server::until("all is settled", || pool.counts().active == 0).await;
        server.settles_at(u32::from(broken == 0)).await;
        let counters = pool.pool_metrics().counters;
        assert_eq!(
            (counters.opened, counters.recycled, counters.closed.broken),
            (opened, recycled, broken),
            "{judgement:?}"
        );
    }
}

#[tokio::test]
async fn a_hook_that_fails_is_a_failed_connect_that_says_so() {
    let Some((builder, _server)) = server::pool("hook-fails").await else {
        return;
    };
    let pool = builder
        .limits(0, 1)
        .acquire_timeout(Duration::from_secs(2))
        .after_connect(|connection| {
            Box::pin(async move {
                let failed = connection.execute("select wrong").await;
                failed
                    .map(drop)
                    .map_err(|error| Arc::new(error) as SharedError)
            })
        })
        .build()
        .unwrap();
    let error = pool.acquire().await.unwrap_err().to_string();
    assert!(error.contains("after_connect: "), "{error}");
    assert!(error.contains("\"wrong\" does not exist"), "{error}");
    let codes = pool.pool_metrics().connect_failure_codes;
    assert!(codes.contains_key("42703"), "{codes:?}");
}
