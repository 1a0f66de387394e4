//! PostgreSQL: pool-postgres, and sqlx's own pool.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use pool_core::PoolEvents;
use pool_postgres::PostgresPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Executor as _, PgConnection, PgPool};
use tokio::sync::Mutex;

use crate::meter::Meter;
use crate::subjects::{
    CONNECTING, HOLD, HOT, Kind, MAX, MIN, ROWS, SIZING, Server, Subject, any_rows,
};

/// Holds the connection and reads a row.
const OPERATE: &str = "select value from bench_sizing.rows, pg_sleep($2) where id = $1";

const READ: &str = "select value from bench_sizing.rows where id = $1";
const CHANGE: &str = "update bench_sizing.hot set count = count + 1 where id = $1";

/// The server, over a connection of its own.
pub struct PostgresServer {
    options: PgConnectOptions,
    connection: Mutex<PgConnection>,
}

impl Server for PostgresServer {
    const PERIOD: Duration = Duration::from_millis(20);

    async fn prepare(url: &str) -> Result<Self> {
        let options = PgConnectOptions::from_str(url)?;
        let mut connection = options
            .clone()
            .application_name("sizing-witness")
            .connect()
            .await?;
        connection
            .execute(
                "set client_min_messages = warning;
                 drop schema if exists bench_sizing cascade;
                 create schema bench_sizing;
                 create table bench_sizing.rows (id int primary key, value int not null);
                 create table bench_sizing.hot (id int primary key, count bigint not null)
                     with (fillfactor = 20);",
            )
            .await?;
        for (table, rows) in [("rows", ROWS), ("hot", HOT)] {
            let fill = format!(
                "insert into bench_sizing.{table} select id, id from generate_series(0, {rows} - 1) id"
            );
            connection.execute(sqlx::AssertSqlSafe(fill)).await?;
        }
        connection.execute("analyze bench_sizing.rows").await?;
        Ok(Self {
            options,
            connection: Mutex::new(connection),
        })
    }

    async fn count(&self, application: &str) -> Result<u32> {
        let count: i64 =
            sqlx::query_scalar("select count(*) from pg_stat_activity where application_name = $1")
                .bind(application)
                .fetch_one(&mut *self.connection.lock().await)
                .await?;
        Ok(count.try_into()?)
    }

    async fn clear(&self) -> Result<()> {
        let mut connection = self.connection.lock().await;
        connection
            .execute("set client_min_messages = warning; drop schema bench_sizing cascade")
            .await?;
        Ok(())
    }
}

pub enum Postgres {
    Ours(PostgresPool),
    Sqlx(PgPool),
}

impl Subject for Postgres {
    const DATABASE: &'static str = "postgres";
    const PEER: &'static str = "sqlx";
    const TELLS_ALL_WAITS: bool = true;
    type Server = PostgresServer;

    async fn open(
        server: &PostgresServer,
        kind: Kind,
        application: &str,
        _meter: &Arc<Meter>,
    ) -> Result<Self> {
        let options = server.options.clone().application_name(application);
        if kind == Kind::Peer {
            let pool = PgPoolOptions::new()
                .min_connections(MIN)
                .max_connections(MAX)
                .connect_with(options)
                .await?;
            return Ok(Self::Sqlx(pool));
        }
        let builder = PostgresPool::from_options(options);
        let builder = match kind.fixed() {
            Some(size) => builder.limits(size, size),
            None => builder.dynamic(SIZING).max_connecting(CONNECTING),
        };
        let pool = builder.build()?;
        pool.warmup_pool().await?;
        Ok(Self::Ours(pool))
    }

    async fn operate(&self, meter: &Meter) -> Result<()> {
        let (row, _) = any_rows();
        let hold = sqlx::query_scalar(OPERATE)
            .bind(row)
            .bind(HOLD.as_secs_f64());
        let turn = meter.asks();
        let value: i32 = match self {
            Self::Ours(pool) => {
                let mut connection = pool.acquire().await?;
                let _holding = turn.served();
                hold.fetch_one(&mut *connection).await?
            }
            Self::Sqlx(pool) => {
                let mut connection = pool.acquire().await?;
                let _holding = turn.served();
                hold.fetch_one(&mut *connection).await?
            }
        };
        ensure!(value == row, "row {row} has {value}");
        Ok(())
    }

    async fn resize(&self, connections: u32) -> Result<()> {
        let Self::Ours(pool) = self else {
            bail!("sqlx's pool has one size");
        };
        pool.set_limits(connections, connections)?;
        pool.warmup_pool().await?;
        Ok(())
    }

    async fn contend(&self) -> Result<()> {
        let Self::Ours(pool) = self else {
            bail!("the server is measured through a pool that can be resized");
        };
        let (row, hot) = any_rows();
        let mut connection = pool.acquire().await?;
        let value: i32 = sqlx::query_scalar(READ)
            .bind(row)
            .fetch_one(&mut *connection)
            .await?;
        ensure!(value == row, "row {row} has {value}");
        let changed = sqlx::query(CHANGE)
            .bind(hot)
            .execute(&mut *connection)
            .await?;
        ensure!(changed.rows_affected() == 1, "row {hot} is gone");
        Ok(())
    }

    fn leases(&self) -> Option<u32> {
        None
    }

    fn events(&self) -> Option<PoolEvents> {
        match self {
            Self::Ours(pool) => Some(pool.subscribe()),
            Self::Sqlx(_) => None,
        }
    }

    async fn close(&self) {
        match self {
            Self::Ours(pool) => {
                pool.close(Duration::from_secs(5)).await;
            }
            Self::Sqlx(pool) => pool.close().await,
        }
    }
}
