//! What the factory asks of a pool, so that it treats both kinds alike.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use pool_core::{PoolEvents, SharedError};
use pool_mongo::MongoPool;
use pool_postgres::PostgresPool;

use crate::any_pool::AnyPool;
use crate::config::{FactoryConfig, MongoSettings, PostgresSettings};
use crate::factory::{Pools, Slot};
use crate::{CreateErrorKind, Database};

/// Why a pool could not be made, without the names that the factory adds.
pub(crate) type Failure = (CreateErrorKind, SharedError);

/// A pool of either kind.
pub(crate) trait Managed: Clone + Send + Sync + 'static {
    const DATABASE: Database;
    type Settings: Clone + Send + 'static;

    /// The settings for `service`, with where they come from.
    fn settings<'c>(config: &'c FactoryConfig, service: &str) -> Option<&'c Self::Settings>;
    fn origin(settings: &Self::Settings) -> &str;
    /// The budget that it shares.
    fn budget(settings: &Self::Settings) -> Option<&str>;

    /// Builds the pool; one that shares a budget has nothing of it yet.
    fn build(
        settings: Self::Settings,
        service: &str,
    ) -> impl Future<Output = Result<Self, Failure>> + Send;

    /// Opens its minimum, and makes sure that the server lets it in when the minimum is zero.
    fn warm_up(&self) -> impl Future<Output = Result<(), Failure>> + Send;

    fn close(&self, deadline: Duration) -> impl Future<Output = ()> + Send;
    fn is_closed(&self) -> bool;
    fn into_any(self) -> AnyPool;
    fn subscribe(&self) -> PoolEvents;

    /// The pools of this kind.
    fn slots(pools: &mut Pools) -> &mut HashMap<Arc<str>, Slot<Self>>;
}

fn settings_failure(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    (CreateErrorKind::Settings, Arc::new(error))
}

fn connect_failure(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    (CreateErrorKind::Connect, Arc::new(error))
}

impl Managed for PostgresPool {
    const DATABASE: Database = Database::Postgresql;
    type Settings = PostgresSettings;

    fn settings<'c>(config: &'c FactoryConfig, service: &str) -> Option<&'c PostgresSettings> {
        config.services.get(service)?.postgres.as_ref()
    }

    fn origin(settings: &PostgresSettings) -> &str {
        &settings.origin
    }

    fn budget(settings: &PostgresSettings) -> Option<&str> {
        settings.budget.as_deref()
    }

    async fn build(settings: PostgresSettings, service: &str) -> Result<Self, Failure> {
        let named = settings.pool.name.is_some();
        let mut builder = settings.pool.builder().map_err(settings_failure)?;
        if !named {
            builder = builder.name(format!("{service}/{}", Self::DATABASE));
        }
        if settings.budget.is_some() {
            builder = builder.allowance(0);
        }
        builder.build().map_err(settings_failure)
    }

    async fn warm_up(&self) -> Result<(), Failure> {
        let report = self.warmup_pool().await.map_err(connect_failure)?;
        if report.open == 0 {
            drop(self.acquire().await.map_err(connect_failure)?);
        }
        Ok(())
    }

    async fn close(&self, deadline: Duration) {
        self.close(deadline).await;
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    fn into_any(self) -> AnyPool {
        AnyPool::Postgres(self)
    }

    fn subscribe(&self) -> PoolEvents {
        self.subscribe()
    }

    fn slots(pools: &mut Pools) -> &mut HashMap<Arc<str>, Slot<Self>> {
        &mut pools.postgres
    }
}

impl Managed for MongoPool {
    const DATABASE: Database = Database::Mongodb;
    type Settings = MongoSettings;

    fn settings<'c>(config: &'c FactoryConfig, service: &str) -> Option<&'c MongoSettings> {
        config.services.get(service)?.mongodb.as_ref()
    }

    fn origin(settings: &MongoSettings) -> &str {
        &settings.origin
    }

    fn budget(settings: &MongoSettings) -> Option<&str> {
        settings.budget.as_deref()
    }

    async fn build(settings: MongoSettings, service: &str) -> Result<Self, Failure> {
        let mut pool = settings.pool;
        pool.name
            .get_or_insert_with(|| format!("{service}/{}", Self::DATABASE));
        let mut builder = pool.into_builder();
        if settings.budget.is_some() {
            builder = builder.allowance(0);
        }
        builder.build().await.map_err(settings_failure)
    }

    async fn warm_up(&self) -> Result<(), Failure> {
        // One round trip is made whatever the minimum.
        self.warmup_pool().await.map_err(connect_failure)?;
        Ok(())
    }

    async fn close(&self, deadline: Duration) {
        self.close(deadline).await;
    }

    fn is_closed(&self) -> bool {
        self.is_closed()
    }

    fn into_any(self) -> AnyPool {
        AnyPool::Mongodb(self)
    }

    fn subscribe(&self) -> PoolEvents {
        self.subscribe()
    }

    fn slots(pools: &mut Pools) -> &mut HashMap<Arc<str>, Slot<Self>> {
        &mut pools.mongodb
    }
}
