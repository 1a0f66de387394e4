//! This project's pool over PostgreSQL, and a witness with a connection of its own.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use pool_core::{AcquireError, AcquireErrorKind, Step};
use pool_postgres::{PgPooledConnection, PostgresPool};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use test_servers::Server;
use tokio::sync::Mutex;

use crate::befall::MAX;
use crate::consumers::{Hangs, SlowConsumers};
use crate::load::Patience;
use crate::stage::{Place, Stage};
use crate::subject::{Failure, Subject, Witness, value_of};

/// How many connects may be under way at once.
const MAX_CONNECTING: u32 = 4;

/// The first pause after a failed connect, and the longest.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(500));

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
            .max_connecting(MAX_CONNECTING)
            .backoff(BACKOFF.0, BACKOFF.1)
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

    fn taken(&self) -> Option<u32> {
        let counts = self.pool.counts();
        Some(counts.active + counts.waiting)
    }

    fn attempts_allowed(&self) -> Option<f64> {
        Some(2.0 * f64::from(MAX_CONNECTING) / BACKOFF.1.as_secs_f64())
    }

    fn resize(&self, max: u32) -> bool {
        self.pool.set_limits(0, max).is_ok()
    }

    fn rest(&self) {
        self.pool.evict_idle();
    }

    async fn add_slow_consumers(&self) -> Option<SlowConsumers> {
        let hangs = Hangs::default();
        let calls = hangs.calls();
        self.pool.add_listener(hangs);
        Some(SlowConsumers::of(self.pool.clone(), calls).await)
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

/// The server's administrator.
#[derive(Debug)]
pub struct PostgresWitness {
    url: String,
    /// Where the replica is, if there is one: the same user opens it.
    replica: Option<String>,
    /// Connections of somebody else's that leave no room for the subject's.
    others: Mutex<Vec<PgConnection>>,
}

impl PostgresWitness {
    /// Over the server's own URL.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            replica: None,
            others: Mutex::default(),
        }
    }

    /// A stage of a primary and its replica. Nothing is acknowledged before the replica has it.
    ///
    /// # Panics
    ///
    /// As [`Stage::new`]; or the replica does not follow.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the servers end.
    pub async fn stage_of_pair(primary: Server, replica: Server) -> Stage<Self> {
        let witness = Self {
            replica: Some(replica.url().to_owned()),
            ..Self::new(primary.url())
        };
        let stage = Stage::new(Place::Pair { primary, replica }, witness).await;
        stage.witness.wait_for_replica().await;
        stage
    }

    /// Lets the primary acknowledge what its replica has as well, and nothing before that.
    async fn wait_for_replica(&self) {
        // A statement that waits for a replica cannot be the one that says so.
        for sql in [
            "alter system set synchronous_standby_names = '*'",
            "select pg_reload_conf()",
        ] {
            self.execute(sql).await;
        }
        let mut connection = self.connection(&self.url).await;
        for _ in 0..200 {
            let sql = "select count(*) from pg_stat_replication where sync_state = 'sync'";
            let count: i64 = sqlx::query_scalar(sql)
                .fetch_one(&mut connection)
                .await
                .expect("the administrator may see them");
            if count == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the replica follows");
    }

    /// What subjects connect with, through a proxy.
    #[must_use]
    pub fn subject_url(&self, proxy: SocketAddr) -> String {
        // Which only says something where there are several servers; sqlx does not know it.
        let writes = match self.replica {
            Some(_) => "&target_session_attrs=read-write",
            None => "",
        };
        format!("postgres://chaos:right@{proxy}/postgres?sslmode=disable{writes}")
    }

    /// A connection, as soon as the server gives one.
    async fn connection(&self, url: &str) -> PgConnection {
        for _ in 0..600 {
            let connect = PgConnection::connect(url);
            if let Ok(Ok(connection)) = tokio::time::timeout(Duration::from_secs(5), connect).await
            {
                return connection;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server lets its administrator in");
    }

    async fn execute(&self, sql: &'static str) {
        let mut connection = self.connection(&self.url).await;
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection);
        done.await.expect("the administrator may do this");
    }
}

impl Witness for PostgresWitness {
    async fn prepare(&self) {
        self.execute(
            "create role chaos login password 'right';
             create table chaos_rows (n bigint primary key, v bigint not null);
             grant select, insert on chaos_rows to chaos;
             create role others login password 'others';",
        )
        .await;
    }

    async fn connections(&self) -> u32 {
        let mut count = 0;
        for url in [Some(&self.url), self.replica.as_ref()]
            .into_iter()
            .flatten()
        {
            let mut connection = self.connection(url).await;
            let sql = "select count(*) from pg_stat_activity where usename = 'chaos'";
            let here: i64 = sqlx::query_scalar(sql)
                .fetch_one(&mut connection)
                .await
                .expect("the administrator may see them");
            count += here;
        }
        count.try_into().unwrap_or(u32::MAX)
    }

    async fn present(&self, rows: &[i64]) -> HashSet<i64> {
        // After a failover, the truth is what the new primary has.
        let mut connection = self
            .connection(self.replica.as_ref().unwrap_or(&self.url))
            .await;
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
        let url = self.replica.as_ref().unwrap_or(&self.url);
        let mut connection = self.connection(url).await;
        let write = "create temporary table taken ()";
        sqlx::raw_sql(write)
            .execute(&mut connection)
            .await
            .expect("the server takes writes");
    }

    async fn switch_over(&self, away: Duration) {
        let replica = self.replica.as_ref().expect("there is a replica");
        for sql in [
            "alter system set default_transaction_read_only = on",
            "select pg_reload_conf()",
        ] {
            self.execute(sql).await;
        }
        tokio::time::sleep(away).await;
        let mut connection = self.connection(replica).await;
        let promoted: bool = sqlx::query_scalar("select pg_promote(true, 30)")
            .fetch_one(&mut connection)
            .await
            .expect("the administrator may do this");
        assert!(promoted, "the replica takes over");
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
        let mut others = self.others.lock().await;
        if !full {
            for other in others.drain(..) {
                other.close().await.expect("it says goodbye");
            }
            return true;
        }
        let options: PgConnectOptions = self.url.parse().expect("the URL is good");
        let options = options.username("others").password("others");
        // What the subject has given up is free a little later.
        let mut full_since = 0;
        while full_since < 5 {
            match PgConnection::connect_with(&options).await {
                Ok(other) => others.push(other),
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("53300") => {
                    full_since += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
        true
    }
}
