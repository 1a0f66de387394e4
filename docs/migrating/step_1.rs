//! Step 1: one pool at a time changes its type; who uses it does not notice.

use crate::migrating::{AnyError, Place};

mod prices {
    use pool_postgres::PostgresPool;
    use tokio::sync::OnceCell;

    use super::{AnyError, Place};

    static POOL: OnceCell<PostgresPool> = OnceCell::const_new();

    async fn pool() -> Result<&'static PostgresPool, AnyError> {
        let connect = || async {
            let pool = PostgresPool::builder(&Place::get().postgres)?
                .limits(2, 20)
                .build()?;
            pool.warmup_pool().await?;
            Ok(pool)
        };
        POOL.get_or_try_init(connect).await
    }

    pub(super) async fn set(symbol: &str, price: f64) -> Result<(), AnyError> {
        sqlx::query("insert into migrating values ($1, $2)")
            .bind(symbol)
            .bind(price)
            .execute(pool().await?)
            .await?;
        Ok(())
    }

    pub(super) async fn highest(symbol: &str) -> Result<f64, AnyError> {
        let query = sqlx::query_scalar("select max(price) from migrating where symbol = $1");
        Ok(query.bind(symbol).fetch_one(pool().await?).await?)
    }
}

mod notes {
    use mongodb::bson::{Document, doc};
    use pool_mongo::{MongoLease, MongoPool};
    use tokio::sync::OnceCell;

    use super::{AnyError, Place};

    static POOL: OnceCell<MongoPool> = OnceCell::const_new();

    async fn lease() -> Result<MongoLease, AnyError> {
        let connect = || {
            MongoPool::builder(Place::get().mongodb.clone())
                .database("migrating")
                .build()
        };
        Ok(POOL.get_or_try_init(connect).await?.acquire().await?)
    }

    pub(super) async fn note(symbol: &str) -> Result<(), AnyError> {
        let notes = lease().await?;
        notes
            .collection("notes")
            .insert_one(doc! { "symbol": symbol })
            .await?;
        Ok(())
    }

    pub(super) async fn count(symbol: &str) -> Result<u64, AnyError> {
        let notes = lease().await?;
        let notes = notes.collection::<Document>("notes");
        Ok(notes.count_documents(doc! { "symbol": symbol }).await?)
    }
}

pub(crate) async fn serve(symbol: &str) -> Result<(f64, u64), AnyError> {
    for price in [3.0, 5.0, 4.0] {
        prices::set(symbol, price).await?;
        notes::note(symbol).await?;
    }
    Ok((prices::highest(symbol).await?, notes::count(symbol).await?))
}
