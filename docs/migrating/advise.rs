//! Sizing by load: watched first, switched on later.

use std::time::Duration;

use pool_core::sizing::SizingMode;
use pool_core::{DynamicPoolConfig, DynamicSizing as _};
use pool_postgres::PostgresPool;

use crate::migrating::{AnyError, Place};

/// What sizing would do with a pool, without doing it.
pub(crate) async fn watch(pool: &PostgresPool) -> Result<String, AnyError> {
    pool.set_sizing_mode(SizingMode::Advise);
    pool.set_dynamic_pool_config(DynamicPoolConfig {
        enabled: true,
        min_size: 2,
        max_size: 40,
        evaluation_interval: 50,
        ..DynamicPoolConfig::default()
    })?;
    // In production: days. Each decision is kept with what led to it.
    while pool.sizing_decisions().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(pool.explain().to_string())
}

/// The same configuration, from now on in force.
pub(crate) fn switch_on(pool: &PostgresPool) {
    pool.set_sizing_mode(SizingMode::Apply);
}

pub(crate) async fn serve() -> Result<(), AnyError> {
    let pool = PostgresPool::builder(&Place::get().postgres)?
        .limits(0, 10)
        .build()?;
    let advice = watch(&pool).await?;
    assert!(advice.contains("only advises"), "{advice}");
    assert_eq!(pool.limits().max(), 10, "nothing has changed: {advice}");
    switch_on(&pool);
    assert_eq!(pool.limits().max(), 40);
    pool.close(Duration::from_secs(10)).await;
    Ok(())
}
