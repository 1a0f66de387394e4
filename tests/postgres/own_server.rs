//! A server that a test has for itself, to be frozen, killed or given certificates.

use pool_postgres::PostgresPool;
use sqlx::Connection as _;
use test_servers::{Environment, PostgresOptions, Server};

/// A server of the test's own; `None`, after saying so, when the suite runs without servers.
pub(crate) async fn start() -> Option<Server> {
    integration_tests::postgres_url()?;
    Some(
        blocking(|| {
            let environment = Environment::from_env()
                .expect("the environment is good")
                .without_given_servers();
            PostgresOptions::default()
                .start(&environment)
                .expect("a second server starts like the first")
        })
        .await,
    )
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work)
        .await
        .expect("it did not panic")
}

/// Runs statements on the server as its superuser.
pub(crate) async fn execute(server: &Server, sql: &str) {
    let mut connection = sqlx::PgConnection::connect(server.url())
        .await
        .expect("the server is ours");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await
        .expect("the statements are good");
    connection.close().await.expect("it says goodbye");
}

/// How many connections of the pool the server has.
pub(crate) async fn connections(server: &Server, pool: &PostgresPool) -> u32 {
    let mut connection = sqlx::PgConnection::connect(server.url())
        .await
        .expect("the server is ours");
    let count: i64 =
        sqlx::query_scalar("select count(*) from pg_stat_activity where application_name = $1")
            .bind(pool.name())
            .fetch_one(&mut connection)
            .await
            .expect("it answers");
    connection.close().await.expect("it says goodbye");
    u32::try_from(count).expect("a test opens few connections")
}
