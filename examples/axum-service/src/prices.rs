//! What the service is about: prices in PostgreSQL, and a note of each change in MongoDB.

use std::sync::Arc;

use mongodb::bson::{Document, doc};
use pool_mongo::MongoPool;
use pool_postgres::PostgresPool;
use serde::{Deserialize, Serialize};

#[derive(Debug, Deserialize, Serialize, sqlx::FromRow)]
pub(crate) struct Price {
    pub(crate) symbol: String,
    pub(crate) price: f64,
}

/// Reads and writes prices. Its table is made with it.
pub(crate) struct Prices {
    postgres: Arc<PostgresPool>,
    mongodb: Arc<MongoPool>,
}

impl Prices {
    /// What it takes is what the container gives it.
    pub(crate) async fn create(
        postgres: Arc<PostgresPool>,
        mongodb: Arc<MongoPool>,
    ) -> Result<Self, sqlx::Error> {
        // Instances that start together take turns: `if not exists` alone is a race between them.
        let table = "select pg_advisory_xact_lock(hashtext('prices')); \
            create table if not exists prices (symbol text primary key, price float8)";
        sqlx::raw_sql(table).execute(&*postgres).await?;
        Ok(Self { postgres, mongodb })
    }

    pub(crate) async fn of(&self, symbol: &str) -> Result<Option<Price>, sqlx::Error> {
        sqlx::query_as("select symbol, price from prices where symbol = $1")
            .bind(symbol)
            .fetch_optional(&*self.postgres)
            .await
    }

    pub(crate) async fn set(&self, price: &Price) -> anyhow::Result<()> {
        let mut transaction = self.postgres.begin().await?;
        sqlx::query(
            "insert into prices values ($1, $2) on conflict (symbol) do update set price = $2",
        )
        .bind(&price.symbol)
        .bind(price.price)
        .execute(&mut *transaction)
        .await?;
        let note = doc! { "symbol": &price.symbol, "price": price.price };
        let lease = self.mongodb.acquire().await?;
        lease.collection("changes").insert_one(note).await?;
        transaction.commit().await?;
        Ok(())
    }

    pub(crate) async fn changes(&self, symbol: &str) -> anyhow::Result<u64> {
        let lease = self.mongodb.acquire().await?;
        let changes = lease.collection::<Document>("changes");
        Ok(changes.count_documents(doc! { "symbol": symbol }).await?)
    }
}
