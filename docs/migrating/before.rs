//! Before: two crates of a service, each with a global of its own.

use crate::migrating::{AnyError, Place};

mod prices {
    use sqlx::PgPool;
    use tokio::sync::OnceCell;

    use super::{AnyError, Place};

    static POOL: OnceCell<PgPool> = OnceCell::const_new();

    async fn pool() -> Result<&'static PgPool, sqlx::Error> {
        POOL.get_or_try_init(|| PgPool::connect(&Place::get().postgres))
            .await
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
    use mongodb::Client;
    use mongodb::bson::{Document, doc};
    use tokio::sync::OnceCell;

    use super::{AnyError, Place};

    static CLIENT: OnceCell<Client> = OnceCell::const_new();

    async fn notes() -> Result<mongodb::Collection<Document>, mongodb::error::Error> {
        let connect = || Client::with_uri_str(&Place::get().mongodb);
        let client = CLIENT.get_or_try_init(connect).await?;
        Ok(client.database("migrating").collection("notes"))
    }

    pub(super) async fn note(symbol: &str) -> Result<(), AnyError> {
        notes().await?.insert_one(doc! { "symbol": symbol }).await?;
        Ok(())
    }

    pub(super) async fn count(symbol: &str) -> Result<u64, AnyError> {
        let notes = notes().await?;
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
