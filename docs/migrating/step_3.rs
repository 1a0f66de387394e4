//! Step 3: both crates take what they need from the container; no global is left.

use std::sync::Arc;

use connection_factory::FactoryConfig;
use operation_context::{OperationContext, register_pools};
use service_container::{Container, sync};

use crate::migrating::{AnyError, Place};

mod prices {
    use std::sync::Arc;

    use pool_postgres::PostgresPool;

    use super::AnyError;

    pub(super) struct Prices {
        pub(super) pool: Arc<PostgresPool>,
    }

    impl Prices {
        pub(super) async fn set(&self, symbol: &str, price: f64) -> Result<(), AnyError> {
            sqlx::query("insert into migrating values ($1, $2)")
                .bind(symbol)
                .bind(price)
                .execute(&*self.pool)
                .await?;
            Ok(())
        }

        pub(super) async fn highest(&self, symbol: &str) -> Result<f64, AnyError> {
            let query = sqlx::query_scalar("select max(price) from migrating where symbol = $1");
            Ok(query.bind(symbol).fetch_one(&*self.pool).await?)
        }
    }
}

mod notes {
    use std::sync::Arc;

    use mongodb::bson::{Document, doc};
    use pool_mongo::MongoPool;

    use super::AnyError;

    pub(super) struct Notes {
        pub(super) pool: Arc<MongoPool>,
    }

    impl Notes {
        pub(super) async fn note(&self, symbol: &str) -> Result<(), AnyError> {
            let lease = self.pool.acquire().await?;
            lease
                .collection("notes")
                .insert_one(doc! { "symbol": symbol })
                .await?;
            Ok(())
        }

        pub(super) async fn count(&self, symbol: &str) -> Result<u64, AnyError> {
            let lease = self.pool.acquire().await?;
            let notes = lease.collection::<Document>("notes");
            Ok(notes.count_documents(doc! { "symbol": symbol }).await?)
        }
    }
}

fn setup(config: FactoryConfig) -> Result<Container, AnyError> {
    let mut builder = Container::builder();
    register_pools(&mut builder, config)?;
    // What a closure takes is what it depends on: `build` says what is missing.
    builder.singleton(sync(|pool| prices::Prices { pool }));
    builder.singleton(sync(|pool| notes::Notes { pool }));
    Ok(builder.build()?)
}

pub(crate) async fn serve(symbol: &str) -> Result<(f64, u64), AnyError> {
    let config = FactoryConfig::sources()
        .set("services.prices.postgres.url", &Place::get().postgres)
        .set("services.prices.mongodb.uri", &Place::get().mongodb)
        .set("services.prices.mongodb.database", "migrating")
        .load()?;
    let container = setup(config)?;
    let context = OperationContext::create("prices", "serve").container(&container);
    let served = context
        .run(async |context| {
            let prices: Arc<prices::Prices> = context.service().await?;
            let notes: Arc<notes::Notes> = context.service().await?;
            for price in [3.0, 5.0, 4.0] {
                prices.set(symbol, price).await?;
                notes.note(symbol).await?;
            }
            Ok::<_, AnyError>((prices.highest(symbol).await?, notes.count(symbol).await?))
        })
        .await?;
    container.dispose().await?;
    Ok(served)
}
