//! Whatever a caller leaves behind, the next one does not meet it.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use pool_core::{CloseReason, Liveness};
use sqlx::PgConnection;

use crate::server;

#[tokio::test]
async fn a_cancelled_query_is_ended_at_the_server_and_delays_nobody() {
    let Some((builder, mut server)) = server::pool("cancel-sleep").await else {
        return;
    };
    let pool = builder.limits(1, 1).build().unwrap();
    pool.warmup_pool().await.unwrap();
    let began = Instant::now();
    let query = sqlx::query("select pg_sleep(60)").execute(&pool);
    tokio::time::timeout(Duration::from_millis(100), query)
        .await
        .unwrap_err();
    let answer: i32 = sqlx::query_scalar("select 1")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(answer, 1);
    assert!(began.elapsed() < server::SOON, "{:?}", began.elapsed());
    server::until("it is back", || pool.counts().idle == 1).await;
    assert_eq!(server.running().await, 0, "nobody sleeps at the server");
    server.settles_at(1).await;
    let counters = pool.pool_metrics().counters;
    assert_eq!(
        (counters.opened, counters.recycled),
        (1, 1),
        "the connection was kept"
    );
}

#[tokio::test]
async fn a_stream_dropped_half_way_leaves_no_row_to_the_next() {
    let Some((builder, _server)) = server::pool("half-stream").await else {
        return;
    };
    let pool = builder.limits(0, 1).build().unwrap();
    for rows in [10, 100_000] {
        let sql = format!("select n, repeat('x', 100) from generate_series(1, {rows}) n");
        let mut stream = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch(&pool);
        stream.try_next().await.unwrap().unwrap();
        drop(stream);
        let answer: i32 = sqlx::query_scalar("select -7")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(answer, -7);
    }
}

#[tokio::test]
async fn a_guard_dropped_in_a_panic_goes_back() {
    let Some((builder, mut server)) = server::pool("panic").await else {
        return;
    };
    let pool = builder.limits(0, 1).build().unwrap();
    let task = tokio::spawn({
        let pool = pool.clone();
        async move {
            let mut transaction = pool.begin().await.unwrap();
            sqlx::query("create temp table t (n int) on commit drop")
                .execute(&mut transaction)
                .await
                .unwrap();
            std::panic::panic_any("as the test wants it");
        }
    });
    task.await.unwrap_err();
    sqlx::query("select 1").execute(&pool).await.unwrap();
    server::until("it is back", || pool.counts().idle == 1).await;
    assert_eq!(server.in_transaction().await, 0);
}

#[tokio::test]
async fn a_cancelled_acquire_loses_nothing() {
    let Some((builder, mut server)) = server::pool("cancel-acquire").await else {
        return;
    };
    let pool = builder.limits(0, 2).build().unwrap();
    for _ in 0..50 {
        let acquire = pool.acquire();
        let _ = tokio::time::timeout(Duration::from_micros(50), acquire).await;
    }
    let all = [pool.acquire().await.unwrap(), pool.acquire().await.unwrap()];
    assert_eq!(server.connections().await, 2);
    drop(all);
    assert_eq!(pool.counts().idle, 2);
}

#[tokio::test]
async fn a_copy_that_was_not_finished_costs_its_connection_and_nothing_else() {
    let Some((builder, mut server)) = server::pool("half-copy").await else {
        return;
    };
    let table = server.table().await;
    let pool = builder.limits(0, 1).build().unwrap();
    let statement = format!("copy {table} from stdin");
    {
        let mut guard = pool.acquire().await.unwrap();
        let mut copy = guard.copy_in_raw(&statement).await.unwrap();
        copy.send(b"1\n2\n").await.unwrap();
    }
    let answer: i32 = sqlx::query_scalar("select 5")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(answer, 5, "the answer is the query's own");
    assert_eq!(
        server
            .number(&format!("select count(*) from {table}"))
            .await,
        0
    );
    assert_eq!(pool.pool_metrics().counters.closed.broken, 1);
}

#[tokio::test]
async fn backends_that_are_terminated_are_replaced() {
    let Some((builder, mut server)) = server::pool("terminated").await else {
        return;
    };
    let pool = builder
        .limits(3, 3)
        .liveness(Liveness::Always)
        .build()
        .unwrap();
    pool.warmup_pool().await.unwrap();
    let mut events = pool.subscribe();
    server
        .execute(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = '{}'",
            pool.name()
        ))
        .await;
    for _ in 0..10 {
        sqlx::query("select 1").execute(&pool).await.unwrap();
    }
    server::until("the minimum is back", || pool.counts().idle == 3).await;
    server.settles_at(3).await;
    let mut invalid = 0;
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_millis(50), events.next()).await
    {
        if let pool_core::PoolEvent::Disconnected { reason, .. } = event {
            assert_eq!(reason, CloseReason::Invalid);
            invalid += 1;
        }
    }
    assert!(invalid >= 1);
}

#[tokio::test]
async fn a_backend_terminated_at_work_is_not_lent_again() {
    let Some((builder, mut server)) = server::pool("terminated-busy").await else {
        return;
    };
    let pool = builder.limits(0, 1).build().unwrap();
    let query = tokio::spawn({
        let pool = pool.clone();
        async move { sqlx::query("select pg_sleep(600)").execute(&pool).await }
    });
    // Not while it is being opened, which would only be tried again.
    while server.asleep().await == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server
        .execute(&format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = '{}'",
            pool.name()
        ))
        .await;
    let error = query.await.unwrap().unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "57P01");
    sqlx::query("select 1").execute(&pool).await.unwrap();
    assert_eq!(pool.pool_metrics().counters.closed.broken, 1);
}

#[tokio::test]
async fn copy_in_and_out_leave_a_connection_that_is_used_again() {
    let Some((builder, mut server)) = server::pool("copy").await else {
        return;
    };
    let table = server.table().await;
    let pool = builder.limits(0, 1).build().unwrap();
    {
        let mut guard = pool.acquire().await.unwrap();
        let mut copy = guard
            .copy_in_raw(&format!("copy {table} from stdin"))
            .await
            .unwrap();
        for n in 0..1_000 {
            copy.send(format!("{n}\n").as_bytes()).await.unwrap();
        }
        assert_eq!(copy.finish().await.unwrap(), 1_000);
        let copy = guard
            .copy_in_raw(&format!("copy {table} from stdin"))
            .await
            .unwrap();
        copy.abort("not needed").await.unwrap();
        let mut copy = guard
            .copy_in_raw(&format!("copy {table} from stdin"))
            .await
            .unwrap();
        copy.send(b"5\n").await.unwrap();
        let error = copy.finish().await.unwrap_err(); // a second 5
        assert!(error.as_database_error().unwrap().is_unique_violation());
        guard
            .copy_in_raw("copy nowhere from stdin")
            .await
            .unwrap_err();
        let out = guard
            .copy_out_raw(&format!("copy {table} to stdout"))
            .await
            .unwrap();
        let bytes: Vec<_> = out.try_collect::<Vec<_>>().await.unwrap().concat();
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1_000);
    }
    let sum: i64 = sqlx::query_scalar("select 7::int8")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(sum, 7);
    assert_eq!(
        pool.pool_metrics().counters.opened,
        1,
        "kept through all of it"
    );
}

#[tokio::test]
async fn a_copy_out_that_is_dropped_or_fails_never_answers_the_next_query() {
    let Some((builder, mut server)) = server::pool("half-copy-out").await else {
        return;
    };
    let pool = builder.limits(0, 1).build().unwrap();
    {
        let mut guard = pool.acquire().await.unwrap();
        let all = "copy (select n, pg_sleep(0.001) from generate_series(1, 60000) n) to stdout";
        let mut out = guard.copy_out_raw(all).await.unwrap();
        out.try_next().await.unwrap().unwrap();
    }
    let answer: i32 = sqlx::query_scalar("select 5")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(answer, 5);
    server.settles_at(1).await; // the copy of a minute was ended
    {
        let mut transaction = pool.begin().await.unwrap();
        transaction
            .copy_out_raw("copy nowhere to stdout")
            .await
            .unwrap_err();
        let error = sqlx::query("select 1")
            .execute(&mut transaction)
            .await
            .unwrap_err();
        assert!(error.to_string().contains("COPY"), "{error}");
        transaction.commit().await.unwrap_err();
    }
    let answer: i32 = sqlx::query_scalar("select 6")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(answer, 6);
    assert_eq!(pool.pool_metrics().counters.closed.broken, 2);
}

/// Half a `COPY` by sqlx's own method, which keeps no book of it, and neither can the pool. The server
/// sends some 8 KB at a time, so the rest is still to come.
async fn half_a_copy_of_sqlx(connection: &mut PgConnection) {
    let rows = "select n, repeat('x', 1000), pg_sleep(0.001) from generate_series(1, 300) n";
    let sql = format!("copy ({rows}) to stdout");
    let mut out = connection.copy_out_raw(&sql).await.unwrap();
    out.try_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn half_a_copy_by_sqlx_is_found_where_a_connection_is_checked_or_cleaned() {
    for found in ["checked", "cleaned"] {
        let Some((builder, _server)) = server::pool("copy-of-sqlx").await else {
            return;
        };
        let checked = found == "checked";
        let liveness = if checked {
            Liveness::Always
        } else {
            Liveness::Never
        };
        let builder = builder.limits(0, 1).liveness(liveness);
        let pool = builder.cancel_after(None).build().unwrap();
        let five = || sqlx::query_scalar::<_, i32>("select 5").fetch_one(&pool);
        assert_eq!(five().await.unwrap(), 5); // prepared from now on
        {
            let mut guard = pool.acquire().await.unwrap();
            half_a_copy_of_sqlx(&mut guard).await;
            if !checked {
                // It meets the rest of the copy, and leaves its own answer.
                let error = sqlx::query("select 6").execute(&mut *guard).await;
                let error = error.unwrap_err();
                assert!(matches!(error, sqlx::Error::Protocol(_)), "{error}");
            }
        }
        assert_eq!(five().await.unwrap(), 5, "{found}");
        assert_eq!(five().await.unwrap(), 5, "{found}");
        let closed = pool.pool_metrics().counters.closed;
        let wanted = if checked { (1, 0) } else { (0, 1) };
        assert_eq!((closed.invalid, closed.broken), wanted, "{found}");
    }
}

/// What the crate's documentation says of it.
#[tokio::test]
async fn half_a_copy_by_sqlx_fails_the_next_statement_and_gives_it_no_row() {
    let Some((builder, _server)) = server::pool("copy-of-sqlx").await else {
        return;
    };
    let builder = builder.limits(0, 1).liveness(Liveness::Never);
    let pool = builder.build().unwrap();
    let five = || sqlx::query_scalar::<_, i32>("select 5").fetch_one(&pool);
    assert_eq!(five().await.unwrap(), 5); // prepared from now on
    half_a_copy_of_sqlx(&mut pool.acquire().await.unwrap()).await;
    let error = five().await.unwrap_err();
    assert!(matches!(error, sqlx::Error::Protocol(_)), "{error}");
    assert_eq!(five().await.unwrap(), 5);
    assert_eq!(pool.pool_metrics().counters.closed.broken, 1);
}
