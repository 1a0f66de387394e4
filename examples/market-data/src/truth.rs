//! What the servers themselves count, over connections of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use connection_factory::{Database, FactoryConfig};
use futures_util::TryStreamExt as _;
use mongodb::bson::doc;
use pool_mongo::MongoPool;
use pool_postgres::PostgresPool;
use tokio_util::sync::CancellationToken;

use crate::arguments::RunNames;
use crate::subject::{PerSubject, SUBJECTS};

/// Between two counts.
const PERIOD: Duration = Duration::from_millis(250);

/// Before a peak is looked at again.
const AGAIN: Duration = Duration::from_millis(30);

/// The driver opens two connections to each server beside those of its pool, one that waits for
/// the server's state to change and one that measures the round trip ("Server Monitoring", MongoDB
/// driver specifications). They carry the same application name.
const MONITORS_PER_MONGODB_SERVER: u32 = 2;

/// Counts the connections of the pools at the servers.
pub(crate) struct Observer {
    postgres: PostgresPool,
    mongodb: MongoPool,
    /// The most sockets that MongoDB's driver opens for the pool, whatever its limits are.
    ceiling: u32,
    application: String,
    counts: PerSubject<Counts>,
}

/// What one server has counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    now: AtomicU32,
    peak: AtomicU32,
    samples: AtomicU64,
}

impl Counts {
    pub(crate) fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    pub(crate) fn peak(&self) -> u32 {
        self.peak.load(Ordering::Relaxed)
    }

    pub(crate) fn samples(&self) -> u64 {
        self.samples.load(Ordering::Relaxed)
    }
}

impl Observer {
    /// Connects to the servers of `config` under another name.
    pub(crate) async fn connect(config: &FactoryConfig, names: &RunNames) -> Result<Self> {
        let service = config.own_service()?;
        let service = &config.services[service];
        let mut postgres = service
            .postgres
            .as_ref()
            .context("no PostgreSQL is configured: set POSTGRES_URL")?
            .pool
            .clone();
        postgres.application_name = Some(names.observer.clone());
        postgres.name = Some(names.observer.clone());
        (postgres.min_connections, postgres.max_connections) = (Some(0), Some(1));
        (postgres.dynamic, postgres.init_sql) = (None, None);
        let mut mongodb = service
            .mongodb
            .as_ref()
            .context("no MongoDB is configured: set MONGODB_URL")?
            .pool
            .clone();
        mongodb.name = Some(names.observer.clone());
        let ceiling = mongodb.ceiling.unwrap_or(0);
        (mongodb.min_connections, mongodb.max_connections) = (0, 1);
        mongodb.dynamic = None;
        Ok(Self {
            postgres: PostgresPool::from_config(&postgres)?,
            mongodb: MongoPool::from_config(mongodb).await?,
            ceiling,
            application: names.application.clone(),
            counts: PerSubject::default(),
        })
    }

    /// How many connections the server may count, where `maximum` was the largest in force. The bound on
    /// leases is none on sockets: an operation that begins before the last one's socket is back opens
    /// another, up to the ceiling.
    pub(crate) fn allowed(&self, database: Database, maximum: u32) -> u32 {
        match database {
            Database::Mongodb => maximum.max(self.ceiling) + MONITORS_PER_MONGODB_SERVER,
            _ => maximum,
        }
    }

    pub(crate) fn counts(&self, database: Database) -> &Counts {
        self.counts.of(database)
    }

    /// Counts until `stop`.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) -> Result<()> {
        let mut ticks = tokio::time::interval(PERIOD);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            for database in SUBJECTS {
                let counts = self.counts.of(database);
                let mut now = self.count(database).await?;
                if now > counts.peak() {
                    // A server ends its side a moment after a client has said goodbye: a new peak
                    // is one that is still there when looked at again.
                    tokio::time::sleep(AGAIN).await;
                    now = now.min(self.count(database).await?);
                }
                counts.now.store(now, Ordering::Relaxed);
                counts.peak.fetch_max(now, Ordering::Relaxed);
                counts.samples.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Waits until the server counts no connection of the pools any more, for five seconds at the
    /// most; returns how many are left.
    pub(crate) async fn wait_until_gone(&self, database: Database) -> Result<u32> {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
        loop {
            let left = self.count(database).await?;
            if left == 0 || tokio::time::Instant::now() >= deadline {
                return Ok(left);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn close(&self) {
        let deadline = Duration::from_secs(5);
        self.postgres.close(deadline).await;
        self.mongodb.close(deadline).await;
    }

    async fn count(&self, database: Database) -> Result<u32> {
        let counted = match database {
            Database::Mongodb => self.count_mongodb().await,
            _ => self.count_postgres().await,
        };
        counted.with_context(|| format!("could not count the connections at {database}"))
    }

    async fn count_postgres(&self) -> Result<u32> {
        let count: i64 =
            sqlx::query_scalar("select count(*) from pg_stat_activity where application_name = $1")
                .bind(&self.application)
                .fetch_one(&self.postgres)
                .await?;
        Ok(count.try_into()?)
    }

    async fn count_mongodb(&self) -> Result<u32> {
        let lease = self.mongodb.acquire().await?;
        let pipeline = [
            doc! { "$currentOp": { "allUsers": true, "idleConnections": true } },
            doc! { "$match": { "appName": &self.application, "connectionId": { "$exists": true } } },
            doc! { "$group": { "_id": "$connectionId" } },
            doc! { "$count": "connections" },
        ];
        let mut counted = lease.other_database("admin").aggregate(pipeline).await?;
        match counted.try_next().await? {
            Some(counted) => Ok(counted.get_i32("connections")?.try_into()?),
            None => Ok(0),
        }
    }
}
