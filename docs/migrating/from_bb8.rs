//! From bb8: the manager stays, the engine changes; then it moves into the container.

use std::sync::Arc;
use std::time::Duration;

use bb8_postgres::PostgresConnectionManager;
use bb8_postgres::tokio_postgres::NoTls;
use pool_core::Pool;
use pool_core::bb8::Bb8Manager;
use service_container::{BoxError, Container};

use crate::migrating::{AnyError, Place};

type BbPool = Pool<Bb8Manager<PostgresConnectionManager<NoTls>>>;

async fn pool(url: &str) -> Result<BbPool, BoxError> {
    let manager = PostgresConnectionManager::new_from_stringlike(url, NoTls)?;
    // was: bb8::Pool::builder().max_size(20).min_idle(Some(2)).build(manager).await?
    let pool = Pool::builder(Bb8Manager::new(manager))
        .limits(2, 20)
        .build()?;
    pool.warmup_pool().await?;
    Ok(pool)
}

pub(crate) async fn serve(symbol: &str) -> Result<f64, AnyError> {
    let mut builder = Container::builder();
    builder
        .singleton(|| pool(&Place::get().postgres))
        .on_dispose(|pool: Arc<BbPool>| async move {
            let report = pool.close(Duration::from_secs(10)).await;
            if report.clean {
                Ok(())
            } else {
                Err(report.to_string())
            }
        });
    let container = builder.build()?;

    let pool = container.get::<BbPool>().await?;
    let client = pool.acquire().await?; // was: pool.get().await?
    let statement = "select max(price) from migrating where symbol = $1";
    let highest = client.query_one(statement, &[&symbol]).await?.get(0);
    drop(client);
    drop(pool);
    container.dispose().await?;
    Ok(highest)
}
