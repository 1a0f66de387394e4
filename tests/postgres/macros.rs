//! The macros of sqlx that look at statements when they are compiled, on pools, guards and
//! transactions.
//!
//! What they know of the database stands in `tests/.sqlx`. To write it anew after a change of a
//! statement: a database to which `postgres/pg_task` has been applied, and from the workspace's root
//! `SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$PWD/tests/.sqlx DATABASE_URL=... cargo check -p
//! integration-tests --test postgres` with an empty folder.

use sqlx::{Acquire, Executor as _};

use crate::server;

#[derive(Debug, PartialEq)]
struct Setting {
    name: String,
    unit: Option<String>,
    enum_values: Option<Vec<String>>,
}

#[tokio::test]
async fn checked_statements_run_on_pools_guards_and_transactions() {
    let Some((builder, mut server)) = server::pool("macros").await else {
        return;
    };
    let schema = format!("\"{}\"", server.name());
    server.execute(&format!("create schema {schema}")).await;
    let pool = builder
        .limits(0, 2)
        .init_sql(format!("set search_path = {schema}"))
        .build()
        .unwrap();
    sqlx::migrate!("postgres/pg_task").run(&pool).await.unwrap();
    sqlx::migrate!("postgres/pg_task").run(&pool).await.unwrap(); // applied once

    let sum = sqlx::query_scalar!(r#"select $1::int8 + $2::int8 as "sum!""#, 40, 2);
    assert_eq!(sum.fetch_one(&pool).await.unwrap(), 42);
    let row = sqlx::query!(
        "select oid, typname::text from pg_type where typname = $1",
        "int4"
    );
    let row = row.fetch_one(&pool).await.unwrap();
    assert_eq!((row.oid.0, row.typname.as_deref()), (23, Some("int4")));
    let setting = async |executor: &mut sqlx::PgConnection| {
        sqlx::query_as!(
            Setting,
            r#"select name as "name!", unit, enumvals as enum_values
               from pg_settings where name = $1"#,
            "wal_level",
        )
        .fetch_one(executor)
        .await
        .unwrap()
    };
    let mut guard = pool.acquire().await.unwrap();
    let wal_level = setting(&mut guard).await;
    assert_eq!(
        (wal_level.name.as_str(), &wal_level.unit),
        ("wal_level", &None)
    );
    assert!(
        wal_level
            .enum_values
            .unwrap()
            .contains(&"replica".to_owned())
    );
    drop(guard);

    let mut transaction = pool.begin().await.unwrap();
    let id = sqlx::query_scalar!("insert into pg_task (step) values ($1) returning id", "one")
        .fetch_one(&mut transaction)
        .await
        .unwrap();
    let task = sqlx::query!("select step, tried, error from pg_task where id = $1", id)
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
    assert_eq!(
        (task.step.as_str(), task.tried, task.error),
        ("one", 0, None)
    );
    let outside = sqlx::query_scalar!(r#"select count(*) as "count!" from pg_task"#);
    assert_eq!(outside.fetch_one(&pool).await.unwrap(), 0);
    transaction.commit().await.unwrap();
    let mut guard = pool.acquire().await.unwrap();
    let connection = Acquire::acquire(&mut guard).await.unwrap();
    let deleted = connection
        .execute(sqlx::query!("delete from pg_task where id = $1", id))
        .await
        .unwrap();
    assert_eq!(deleted.rows_affected(), 1);
    drop(guard);
    assert_eq!(pool.counts().active, 0);
    server
        .execute(&format!("drop schema {schema} cascade"))
        .await;
}
