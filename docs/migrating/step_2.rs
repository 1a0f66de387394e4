//! Step 2: the first crate is handed its operation; the second does not know of containers yet.

use connection_factory::FactoryConfig;
use operation_context::{OperationContext, setup_service_container};

use crate::migrating::{AnyError, Place};

mod prices {
    use operation_context::OperationContext;

    use super::AnyError;

    pub(super) async fn set(
        context: &OperationContext,
        symbol: &str,
        price: f64,
    ) -> Result<(), AnyError> {
        sqlx::query("insert into migrating values ($1, $2)")
            .bind(symbol)
            .bind(price)
            .execute(context.postgres().await?)
            .await?;
        Ok(())
    }

    pub(super) async fn highest(context: &OperationContext, symbol: &str) -> Result<f64, AnyError> {
        let query = sqlx::query_scalar("select max(price) from migrating where symbol = $1");
        Ok(query
            .bind(symbol)
            .fetch_one(context.postgres().await?)
            .await?)
    }
}

mod notes {
    use mongodb::bson::{Document, doc};
    use operation_context::OperationContext;

    use super::{AnyError, config};

    // Nobody passes a container here: each call has pools of its own, which end with it.
    pub(super) async fn note_all(symbol: &str, times: u32) -> Result<u64, AnyError> {
        let context = OperationContext::create("notes", "note_all").config(config()?);
        context
            .run(async |context| {
                let notes = context.mongodb().await?.acquire().await?;
                let notes = notes.collection::<Document>("notes");
                for _ in 0..times {
                    notes.insert_one(doc! { "symbol": symbol }).await?;
                }
                Ok(notes.count_documents(doc! { "symbol": symbol }).await?)
            })
            .await
    }
}

fn config() -> Result<FactoryConfig, AnyError> {
    let config = FactoryConfig::sources()
        .set("services.prices.postgres.url", &Place::get().postgres)
        .set("services.prices.mongodb.uri", &Place::get().mongodb)
        .set("services.prices.mongodb.database", "migrating")
        .load()?;
    Ok(config)
}

pub(crate) async fn serve(symbol: &str) -> Result<(f64, u64), AnyError> {
    let container = setup_service_container(config()?).await?;
    let context = OperationContext::create("prices", "serve").container(&container);
    for price in [3.0, 5.0, 4.0] {
        prices::set(&context, symbol, price).await?;
    }
    let highest = prices::highest(&context, symbol).await?;
    context.dispose().await?;
    let noted = notes::note_all(symbol, 3).await?;
    container.dispose().await?;
    Ok((highest, noted))
}
