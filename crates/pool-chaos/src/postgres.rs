//! This project's pool over PostgreSQL, and a witness with a connection of its own.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use pool_core::{AcquireError, AcquireErrorKind, ConnectionEvents, ListenerResult, Step};
use pool_postgres::{PgPooledConnection, PostgresPool};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::load::Patience;
use crate::scenario::MAX;
use crate::subject::{Failure, Subject, Witness, value_of};

/// `pool-postgres`.
#[derive(Debug)]
pub struct Postgres {
    pool: PostgresPool,
}

impl Postgres {
    /// A pool on the server behind `url`.
    ///
    /// # Panics
    ///
    /// The URL is malformed.
    #[must_use]
    pub fn new(url: &str, patience: Patience) -> Self {
        let pool = PostgresPool::builder(url)
            .expect("the URL is good")
            .name("chaos")
            .limits(0, MAX)
            .acquire_timeout(patience.acquire)
            // So that callers live to learn why an attempt has failed.
            .connect_timeout(patience.acquire.mul_f64(0.8))
            .build()
            .expect("the settings are good");
        Self { pool }
    }
}

impl Subject for Postgres {
    type Guard = PgPooledConnection;

    fn name(&self) -> &'static str {
        "pool-postgres"
    }

    async fn acquire(&self) -> Result<Self::Guard, Failure> {
        let acquired = self.pool.acquire().await;
        acquired.map_err(|error| failed(&error, error.to_string()))
    }

    async fn write(&self, guard: &mut Self::Guard, row: i64) -> Result<(), Failure> {
        let insert = sqlx::query("insert into chaos_rows values ($1, $2)")
            .bind(row)
            .bind(value_of(row));
        let inserted = insert.execute(guard).await;
        inserted.map(drop).map_err(Failure::because)
    }

    async fn read(&self, guard: &mut Self::Guard, row: i64) -> Result<Option<i64>, Failure> {
        let query = sqlx::query_scalar("select v from chaos_rows where n = $1").bind(row);
        query.fetch_optional(guard).await.map_err(Failure::because)
    }

    fn open(&self) -> Option<u32> {
        let counts = self.pool.counts();
        Some(counts.idle + counts.active + counts.closing)
    }

    fn resize(&self, max: u32) -> bool {
        self.pool.set_limits(0, max).is_ok()
    }

    fn rest(&self) {
        self.pool.evict_idle();
    }

    fn add_hanging_listener(&self) -> bool {
        self.pool.add_listener(Hangs);
        true
    }

    async fn close(&self, deadline: Duration) {
        self.pool.close(deadline).await;
    }
}

/// Whether the engine's error says what is wrong.
pub(crate) fn failed(error: &AcquireError, text: String) -> Failure {
    let has_cause = match error.kind() {
        AcquireErrorKind::Timeout(Step::Connect) => {
            error.last_connect_error().is_some() || error.oldest_connect().is_some()
        }
        AcquireErrorKind::Timeout(Step::Return) => {
            error.oldest_holder().is_some() || text.contains("being cleaned")
        }
        _ => true,
    };
    Failure { text, has_cause }
}

/// A listener that never returns.
pub(crate) struct Hangs;

#[async_trait::async_trait]
impl ConnectionEvents for Hangs {
    async fn on_connect(&self) -> ListenerResult {
        std::future::pending().await
    }

    async fn on_disconnect(&self) -> ListenerResult {
        std::future::pending().await
    }
}

/// The server's administrator.
#[derive(Debug)]
pub struct PostgresWitness {
    url: String,
}

impl PostgresWitness {
    /// Over the server's own URL.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
        }
    }

    /// What subjects connect with, through a proxy.
    #[must_use]
    pub fn subject_url(&self, proxy: SocketAddr) -> String {
        format!("postgres://chaos:right@{proxy}/postgres?sslmode=disable")
    }

    /// A connection, as soon as the server gives one.
    async fn connection(&self) -> PgConnection {
        for _ in 0..600 {
            let connect = PgConnection::connect(&self.url);
            if let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_secs(5), connect).await
            {
                return connection;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server lets its administrator in");
    }

    async fn execute(&self, sql: &'static str) {
        let mut connection = self.connection().await;
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection);
        done.await.expect("the administrator may do this");
    }
}

impl Witness for PostgresWitness {
    async fn prepare(&self) {
        self.execute(
            "create role chaos login password 'right';
             create table chaos_rows (n bigint primary key, v bigint not null);
             grant select, insert on chaos_rows to chaos;",
        )
        .await;
    }

    async fn connections(&self) -> u32 {
        let mut connection = self.connection().await;
        let sql = "select count(*) from pg_stat_activity where usename = 'chaos'";
        let count: i64 = sqlx::query_scalar(sql)
            .fetch_one(&mut connection)
            .await
            .expect("the administrator may see them");
        count.try_into().unwrap_or(u32::MAX)
    }

    async fn present(&self, rows: &[i64]) -> HashSet<i64> {
        let mut connection = self.connection().await;
        let found: Vec<(i64, i64)> =
            sqlx::query_as("select n, v from chaos_rows where n = any($1)")
                .bind(rows)
                .fetch_all(&mut connection)
                .await
                .expect("the administrator may see them");
        let right = found
            .into_iter()
            .filter(|(row, value)| *value == value_of(*row));
        right.map(|(row, _)| row).collect()
    }

    async fn accepting(&self) {
        drop(self.connection().await);
    }

    async fn set_password(&self, right: bool) {
        self.execute(if right {
            "alter role chaos password 'right'"
        } else {
            "alter role chaos password 'another'"
        })
        .await;
    }

    async fn set_full(&self, full: bool) -> bool {
        self.execute(if full {
            "alter role chaos connection limit 0"
        } else {
            "alter role chaos connection limit -1"
        })
        .await;
        true
    }
}
