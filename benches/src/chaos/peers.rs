//! The peers, each as its users set it up, with the same numbers.

use std::time::Duration;

use anyhow::{Context as _, Result};
use deadpool_postgres::{Manager, PoolError, Runtime};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use pool_chaos::{
    CONNECT_TIMEOUT, Failure, Patience, Subject, read_document, value_of, write_document,
};
use sqlx::postgres::{PgPool, PgPoolOptions};

const MAX: u32 = 8;

/// `sqlx::PgPool`.
pub struct Sqlx(PgPool);

impl Sqlx {
    pub fn new(url: &str, patience: Patience) -> Result<Self> {
        let pool = PgPoolOptions::new()
            .max_connections(MAX)
            .acquire_timeout(patience.acquire)
            .connect_lazy(url)?;
        Ok(Self(pool))
    }
}

impl Subject for Sqlx {
    type Guard = sqlx::pool::PoolConnection<sqlx::Postgres>;

    fn name(&self) -> &'static str {
        "sqlx"
    }

    async fn acquire(&self) -> Result<Self::Guard, Failure> {
        self.0.acquire().await.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => Failure::without_cause(error),
            other => Failure::because(other),
        })
    }

    async fn write(&self, guard: &mut Self::Guard, row: i64) -> Result<(), Failure> {
        let insert = sqlx::query("insert into chaos_rows values ($1, $2)")
            .bind(row)
            .bind(value_of(row));
        let inserted = insert.execute(&mut **guard).await;
        inserted.map(drop).map_err(Failure::because)
    }

    async fn read(&self, guard: &mut Self::Guard, row: i64) -> Result<Option<i64>, Failure> {
        let query = sqlx::query_scalar("select v from chaos_rows where n = $1").bind(row);
        let found = query.fetch_optional(&mut **guard).await;
        found.map_err(Failure::because)
    }

    fn open(&self) -> Option<u32> {
        Some(self.0.size())
    }

    async fn close(&self, deadline: Duration) {
        let _ = tokio::time::timeout(deadline, self.0.close()).await;
    }
}

/// `deadpool-postgres`.
pub struct Deadpool(deadpool_postgres::Pool);

impl Deadpool {
    pub fn new(url: &str, patience: Patience) -> Result<Self> {
        let manager = Manager::new(url.parse()?, tokio_postgres::NoTls);
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(MAX as usize)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(patience.acquire))
            .create_timeout(Some(patience.acquire))
            .recycle_timeout(Some(patience.acquire))
            .build()
            .context("deadpool")?;
        Ok(Self(pool))
    }
}

impl Subject for Deadpool {
    type Guard = deadpool_postgres::Object;

    fn name(&self) -> &'static str {
        "deadpool-postgres"
    }

    async fn acquire(&self) -> Result<Self::Guard, Failure> {
        self.0.get().await.map_err(|error| match error {
            PoolError::Timeout(_) => Failure::without_cause(error),
            other => Failure::because(other),
        })
    }

    async fn write(&self, guard: &mut Self::Guard, row: i64) -> Result<(), Failure> {
        let insert = "insert into chaos_rows values ($1, $2)";
        let inserted = guard.execute(insert, &[&row, &value_of(row)]).await;
        inserted.map(drop).map_err(Failure::because)
    }

    async fn read(&self, guard: &mut Self::Guard, row: i64) -> Result<Option<i64>, Failure> {
        let query = "select v from chaos_rows where n = $1";
        let found = guard.query_opt(query, &[&row]).await;
        Ok(found.map_err(Failure::because)?.map(|row| row.get(0)))
    }

    fn open(&self) -> Option<u32> {
        u32::try_from(self.0.status().size).ok()
    }

    fn resize(&self, max: u32) -> bool {
        self.0.resize(max as usize);
        true
    }

    async fn close(&self, _deadline: Duration) {
        self.0.close();
    }
}

/// The official MongoDB driver with its own pool: it has no acquire, so none is late.
pub struct Driver {
    client: Client,
    database: Database,
}

impl Driver {
    pub async fn new(uri: &str, patience: Patience) -> Result<Self> {
        let mut options = ClientOptions::parse(uri).await?;
        options.max_pool_size = Some(MAX);
        options.connect_timeout = Some(CONNECT_TIMEOUT);
        options.server_selection_timeout = Some(patience.acquire);
        let client = Client::with_options(options)?;
        let database = client.database("chaos");
        Ok(Self { client, database })
    }
}

impl Subject for Driver {
    type Guard = ();

    fn name(&self) -> &'static str {
        "driver"
    }

    async fn acquire(&self) -> Result<(), Failure> {
        Ok(())
    }

    async fn write(&self, _guard: &mut (), row: i64) -> Result<(), Failure> {
        let written = write_document(&self.database, row).await;
        written.map_err(Failure::because)
    }

    async fn read(&self, _guard: &mut (), row: i64) -> Result<Option<i64>, Failure> {
        let read = read_document(&self.database, row).await;
        read.map_err(Failure::because)
    }

    fn open(&self) -> Option<u32> {
        None
    }

    async fn close(&self, deadline: Duration) {
        let shutdown = self.client.clone().shutdown().immediate(true);
        let _ = tokio::time::timeout(deadline, async { shutdown.await }).await;
    }
}
