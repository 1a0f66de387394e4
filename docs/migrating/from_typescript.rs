//! From the TypeScript layer: its JSON, and its three calls.

use connection_factory::FactoryConfig;
use mongodb::bson::{Document, doc};
use operation_context::{OperationContext, setup_service_container};

use crate::migrating::{AnyError, Place};

/// As it stands there, in `camelCase`.
const POOLS_JSON: &str = r#"{
    "services": {
        "marketData": {
            "postgres": {
                "dynamic": {
                    "enabled": true, "minSize": 1, "maxSize": 20,
                    "scaleUpThreshold": 70, "scaleDownThreshold": 30,
                    "scaleUpIncrement": 10, "scaleDownIncrement": 5,
                    "evaluationInterval": 10000
                }
            },
            "mongodb": { "database": "migrating" }
        }
    }
}"#;

pub(crate) async fn serve(symbol: &str) -> Result<(f64, u64), AnyError> {
    let file = std::env::temp_dir().join(format!("pools-{}.json", std::process::id()));
    std::fs::write(&file, POOLS_JSON)?;
    let config = FactoryConfig::sources()
        .set("defaults.postgres.url", &Place::get().postgres)
        .set("defaults.mongodb.uri", &Place::get().mongodb)
        .file(&file)
        .load()?;
    std::fs::remove_file(&file)?;

    // const container = await setupServiceContainer();
    let container = setup_service_container(config).await?;
    // const context = OperationContext.create('handler', 'operation', { container });
    let context = OperationContext::create("handler", "operation").container(&container);

    // await context.mongodb.collection('notes').countDocuments({ symbol })
    let mongodb = context.mongodb().await?.acquire().await?;
    let notes = mongodb.collection::<Document>("notes");
    let noted = notes.count_documents(doc! { "symbol": symbol }).await?;
    drop(mongodb);
    // await context.postgres.query('select max(price) ...', [symbol])
    let highest = sqlx::query_scalar("select max(price) from migrating where symbol = $1")
        .bind(symbol)
        .fetch_one(context.postgres().await?)
        .await?;

    // await context.dispose();
    context.dispose().await?;
    container.dispose().await?;
    Ok((highest, noted))
}
