//! The table of `postgres/read-write-mix`: the S&P 500 day by day.

use std::sync::Arc;

use sqlx::{Connection as _, Executor as _, PgConnection};

/// The same file that the market-data example serves.
const HISTORY: &str = include_str!("../../../examples/market-data/data/sp500-2000.csv");

/// The history at the server, in a schema of its own, and its days here.
pub struct Table {
    /// Each day with its closing price.
    pub days: Arc<[(String, f64)]>,
}

impl Table {
    /// Creates the table and fills it; one of an earlier run that did not end is replaced.
    pub async fn load(url: &str) -> anyhow::Result<Self> {
        let mut connection = PgConnection::connect(url).await?;
        connection
            .execute(
                "set client_min_messages = warning;
                 drop schema if exists bench_postgres cascade;
                 create schema bench_postgres;
                 create table bench_postgres.history (
                     date date primary key,
                     open float8 not null, high float8 not null, low float8 not null,
                     close float8 not null, adjclose float8 not null, volume bigint not null
                 );
                 create table bench_postgres.notes (
                     id bigint generated always as identity primary key,
                     date date not null references bench_postgres.history,
                     text text not null
                 )",
            )
            .await?;
        let mut copy = connection
            .copy_in_raw("copy bench_postgres.history from stdin (format csv, header)")
            .await?;
        copy.send(HISTORY.as_bytes()).await?;
        copy.finish().await?;
        connection.execute("analyze bench_postgres.history").await?;
        let days: Vec<(String, f64)> =
            sqlx::query_as("select date::text, close from bench_postgres.history order by date")
                .fetch_all(&mut connection)
                .await?;
        anyhow::ensure!(
            days.len() + 1 == HISTORY.lines().count(),
            "rows are missing"
        );
        connection.close().await?;
        Ok(Self { days: days.into() })
    }

    pub async fn drop(self, url: &str) -> anyhow::Result<()> {
        let mut connection = PgConnection::connect(url).await?;
        connection
            .execute("set client_min_messages = warning; drop schema bench_postgres cascade")
            .await?;
        connection.close().await?;
        Ok(())
    }
}
