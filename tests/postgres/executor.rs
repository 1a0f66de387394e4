//! Queries straight on the pool, as sqlx users write them.

use futures_util::TryStreamExt as _;
use pool_postgres::{PgPooledConnection, PostgresPool};
use sqlx::{Acquire, Executor as _, FromRow, PgExecutor, Row as _};

use crate::server;

#[derive(FromRow, Debug, PartialEq)]
struct Bar {
    symbol: String,
    close: f64,
}

#[tokio::test]
async fn every_method_of_the_executor_works_on_the_pool() {
    let Some((builder, mut server)) = server::pool("executor").await else {
        return;
    };
    let table = server.table().await;
    let pool = builder.limits(0, 2).build().unwrap();
    let insert = format!("insert into {table} select generate_series(1, 10)");
    let done = sqlx::query(sqlx::AssertSqlSafe(insert))
        .execute(&pool)
        .await
        .unwrap();
    assert_eq!(done.rows_affected(), 10);

    let select = format!("select n from {table} where n <= $1 order by n");
    let select = || sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(select.clone()));
    assert_eq!(select().bind(3).fetch_all(&pool).await.unwrap(), [1, 2, 3]);
    assert_eq!(select().bind(1).fetch_one(&pool).await.unwrap(), 1);
    assert_eq!(select().bind(0).fetch_optional(&pool).await.unwrap(), None);
    assert!(matches!(
        select().bind(0).fetch_one(&pool).await,
        Err(sqlx::Error::RowNotFound)
    ));
    let sum = select()
        .bind(10)
        .fetch(&pool)
        .try_fold(0, async |sum, n| Ok(sum + n));
    assert_eq!(sum.await.unwrap(), 55);

    let bar: Bar = sqlx::query_as("select 'SPY' as symbol, 1.5::float8 as close")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(
        bar,
        Bar {
            symbol: "SPY".to_owned(),
            close: 1.5
        }
    );

    let rows = pool
        .fetch_all("select 1; select 2; select 3")
        .await
        .unwrap();
    assert_eq!(rows.len(), 3, "a string is sent as a script");
    let statement = (&pool)
        .prepare(sqlx::SqlSafeStr::into_sql_str("select $1::int4"))
        .await
        .unwrap();
    assert_eq!(sqlx::Statement::columns(&statement).len(), 1);
    let described = (&pool)
        .describe(sqlx::SqlSafeStr::into_sql_str("select 1::int8 as n"))
        .await
        .unwrap();
    assert_eq!(described.columns().len(), 1);
    assert_eq!(pool.counts().active, 0, "everything came back");
    assert_eq!(server.connections().await, 1);
}

#[tokio::test]
async fn a_stream_holds_its_connection_until_it_ends() {
    let Some((builder, _server)) = server::pool("stream").await else {
        return;
    };
    let pool = builder.limits(0, 1).build().unwrap();
    let mut rows = sqlx::query("select generate_series(1, 3) as n").fetch(&pool);
    assert_eq!(
        pool.counts().total,
        0,
        "nothing happens before the first poll"
    );
    for wanted in 1..=3 {
        let row = rows.try_next().await.unwrap().unwrap();
        assert_eq!(row.get::<i32, _>("n"), wanted);
        assert_eq!(pool.counts().active, 1);
    }
    assert!(rows.try_next().await.unwrap().is_none());
    assert_eq!(
        pool.counts().active,
        0,
        "back at the end, before the stream is dropped"
    );
    drop(rows);
}

async fn generic<'c>(executor: impl PgExecutor<'c>) -> i32 {
    sqlx::query_scalar("select 42")
        .fetch_one(executor)
        .await
        .unwrap()
}

async fn acquiring<'c>(from: impl Acquire<'c, Database = sqlx::Postgres>) -> i32 {
    let mut connection = from.acquire().await.unwrap();
    generic(&mut *connection).await
}

#[tokio::test]
async fn generic_code_takes_pools_guards_and_transactions() {
    let Some((builder, _server)) = server::pool("generic").await else {
        return;
    };
    let pool = builder.limits(0, 2).build().unwrap();
    assert_eq!(generic(&pool).await, 42);
    assert_eq!(acquiring(&pool).await, 42);
    let mut guard: PgPooledConnection = pool.acquire().await.unwrap();
    assert_eq!(generic(&mut *guard).await, 42);
    assert_eq!(generic(&mut guard).await, 42);
    assert_eq!(acquiring(&mut guard).await, 42);
    let mut transaction = pool.begin().await.unwrap();
    assert_eq!(generic(&mut *transaction).await, 42);
    assert_eq!(generic(&mut transaction).await, 42);
    assert_eq!(acquiring(&mut transaction).await, 42);
    transaction.commit().await.unwrap();

    let refused = Acquire::begin(&pool).await.unwrap_err().to_string();
    assert!(refused.contains("PostgresPool::begin"), "{refused}");
    // sqlx's own `Transaction`, for functions that ask for one.
    let own: sqlx::Transaction<'_, sqlx::Postgres> = Acquire::begin(&mut guard).await.unwrap();
    own.commit().await.unwrap();
}

#[tokio::test]
async fn migrations_run_on_the_pool() {
    let Some((builder, mut server)) = server::pool("migrate").await else {
        return;
    };
    let table = server.table().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("1_first.sql"),
        format!("insert into {table} values (7)"),
    )
    .unwrap();
    let mut migrator = sqlx::migrate::Migrator::new(folder.path()).await.unwrap();
    let history = format!("{}_history", table.trim_matches('"'));
    migrator.dangerous_set_table_name(format!("\"{history}\""));
    let pool = builder.limits(0, 1).build().unwrap();
    migrator.run(&pool).await.unwrap();
    migrator.run(&pool).await.unwrap(); // applied once
    assert_eq!(
        server
            .number(&format!("select sum(n)::int8 from {table}"))
            .await,
        7
    );
    assert_eq!(pool.counts().active, 0);
    server.execute(&format!("drop table \"{history}\"")).await;
}

#[tokio::test]
async fn futures_are_send_and_static_where_sqlx_has_them_so() {
    let Some((builder, _server)) = server::pool("send").await else {
        return;
    };
    let pool: PostgresPool = builder.limits(0, 2).build().unwrap();
    let task = tokio::spawn(async move {
        let mut transaction = pool.begin().await?;
        sqlx::query("select 1").execute(&mut *transaction).await?;
        let mut inner = transaction.begin().await?;
        sqlx::query("select 1").execute(&mut inner).await?;
        inner.commit().await?;
        transaction.commit().await?;
        sqlx::query("select 1")
            .fetch(&pool)
            .try_collect::<Vec<_>>()
            .await
    });
    assert_eq!(task.await.unwrap().unwrap().len(), 1);
}
