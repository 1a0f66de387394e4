//! MongoDB: pool-mongo, and the official driver's own pool.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};
use pool_core::PoolEvents;
use pool_mongo::MongoPool;

use crate::meter::Meter;
use crate::subjects::{HOLD, HOT, Kind, MAX, MIN, ROWS, SIZING, Server, Subject, any_rows};

const DATABASE: &str = "bench_sizing";

/// How long a socket above the minimum is idle until the driver closes it. The driver looks twice a
/// second; its own default is never, pool-mongo's 60 s, which is longer than a run.
const SOCKETS_IDLE: Duration = Duration::from_secs(2);

/// The driver has two connections to each server beside those of its pool: one waits for the
/// server's state to change, one measures the round trip ("Server Monitoring", MongoDB driver
/// specifications). They carry the same name.
const MONITORS: u32 = 2;

/// The server, over a client of its own.
pub struct MongoServer {
    url: String,
    client: Client,
    /// What `hello` waits for a change of; it never comes.
    topology_version: Document,
}

impl MongoServer {
    /// A command that the server answers after [`HOLD`].
    fn hold(topology_version: &Document) -> Document {
        let wait = i64::try_from(HOLD.as_millis()).unwrap_or(i64::MAX);
        doc! { "hello": 1, "topologyVersion": topology_version, "maxAwaitTimeMS": wait }
    }
}

impl Server for MongoServer {
    const PERIOD: Duration = Duration::from_millis(50);

    async fn prepare(url: &str) -> Result<Self> {
        let mut options = ClientOptions::parse(url).await?;
        options.app_name = Some("sizing-witness".to_owned());
        let client = Client::with_options(options)?;
        let hello = doc! { "hello": 1 };
        let answer = client.database("admin").run_command(hello).await?;
        let topology_version = answer
            .get_document("topologyVersion")
            .context("the server is older than 4.4: it cannot wait in `hello`")?
            .clone();
        let database = client.database(DATABASE);
        database.drop().await?;
        for (name, rows) in [("rows", ROWS), ("hot", HOT)] {
            let rows = (0..rows).map(|id| doc! { "_id": id, "value": id });
            let collection = database.collection::<Document>(name);
            collection.insert_many(rows).await?;
        }
        Ok(Self {
            url: url.to_owned(),
            client,
            topology_version,
        })
    }

    async fn count(&self, application: &str) -> Result<u32> {
        let pipeline = [
            doc! { "$currentOp": { "allUsers": true, "idleConnections": true } },
            doc! { "$match": { "appName": application, "connectionId": { "$exists": true } } },
            doc! { "$group": { "_id": "$connectionId" } },
            doc! { "$count": "connections" },
        ];
        let mut counted = self.client.database("admin").aggregate(pipeline).await?;
        let count: u32 = match counted.try_next().await? {
            Some(counted) => counted.get_i32("connections")?.try_into()?,
            None => 0,
        };
        Ok(count.saturating_sub(MONITORS))
    }

    async fn clear(&self) -> Result<()> {
        self.client.database(DATABASE).drop().await?;
        Ok(())
    }
}

pub struct Mongo {
    pool: Pool,
    hold: Document,
}

enum Pool {
    Ours(MongoPool),
    Driver(Client),
}

impl Subject for Mongo {
    const DATABASE: &'static str = "mongo";
    const PEER: &'static str = "driver";
    const TELLS_ALL_WAITS: bool = false;
    type Server = MongoServer;

    async fn open(
        server: &MongoServer,
        kind: Kind,
        application: &str,
        meter: &Arc<Meter>,
    ) -> Result<Self> {
        let pool = if kind == Kind::Peer {
            Pool::Driver(driver(&server.url, application, meter).await?)
        } else {
            let builder = MongoPool::builder(server.url.as_str())
                .name(application)
                .database(DATABASE);
            let builder = match kind.fixed() {
                Some(size) => builder.limits(size, size).ceiling(MAX),
                None => builder
                    .ceiling(MAX)
                    .idle_timeout(SOCKETS_IDLE)
                    .dynamic(SIZING),
            };
            let pool = builder.build().await?;
            pool.warmup_pool().await?;
            Pool::Ours(pool)
        };
        Ok(Self {
            pool,
            hold: MongoServer::hold(&server.topology_version),
        })
    }

    async fn operate(&self, meter: &Meter) -> Result<()> {
        let hold = self.hold.clone();
        match &self.pool {
            Pool::Ours(pool) => {
                let turn = meter.asks();
                let lease = pool.acquire().await?;
                let _holding = turn.served();
                lease.other_database("admin").run_command(hold).await?;
            }
            // Its events move the meter.
            Pool::Driver(client) => {
                client.database("admin").run_command(hold).await?;
            }
        }
        Ok(())
    }

    async fn resize(&self, connections: u32) -> Result<()> {
        let Pool::Ours(pool) = &self.pool else {
            bail!("the driver's pool has one size");
        };
        pool.set_limits(connections, connections)?;
        pool.warmup_pool().await?;
        Ok(())
    }

    async fn contend(&self) -> Result<()> {
        let Pool::Ours(pool) = &self.pool else {
            bail!("the server is measured through a pool that can be resized");
        };
        let lease = pool.acquire().await?;
        contend(lease.database()).await
    }

    fn leases(&self) -> Option<u32> {
        match &self.pool {
            Pool::Ours(pool) => Some(pool.counts().total),
            Pool::Driver(_) => None,
        }
    }

    fn events(&self) -> Option<PoolEvents> {
        match &self.pool {
            Pool::Ours(pool) => Some(pool.subscribe()),
            Pool::Driver(_) => None,
        }
    }

    async fn close(&self) {
        match &self.pool {
            Pool::Ours(pool) => {
                pool.close(Duration::from_secs(5)).await;
            }
            Pool::Driver(client) => client.clone().shutdown().immediate(true).await,
        }
    }
}

/// The driver with its own pool, whose minimum is open. Its events say how long a checkout waited.
async fn driver(url: &str, application: &str, meter: &Arc<Meter>) -> Result<Client> {
    let mut options = ClientOptions::parse(url).await?;
    options.app_name = Some(application.to_owned());
    options.min_pool_size = Some(MIN);
    options.max_pool_size = Some(MAX);
    let meter = Arc::clone(meter);
    options.cmap_event_handler = Some(EventHandler::callback(move |event| match event {
        CmapEvent::ConnectionCheckoutStarted(_) => meter.in_line(1),
        CmapEvent::ConnectionCheckoutFailed(_) => meter.in_line(-1),
        CmapEvent::ConnectionCheckedOut(event) => {
            meter.in_line(-1);
            meter.held(1);
            meter.waited(Instant::now() - event.duration, event.duration);
        }
        CmapEvent::ConnectionCheckedIn(_) => meter.held(-1),
        _ => {}
    }));
    let client = Client::with_options(options)?;
    // Before the first heartbeat warming would do nothing, and when a connect fails it hangs.
    let ping = doc! { "ping": 1 };
    client.database("admin").run_command(ping).await?;
    tokio::time::timeout(Duration::from_secs(30), client.warm_connection_pool())
        .await
        .context("warm_connection_pool hangs")?;
    Ok(client)
}

async fn contend(database: &Database) -> Result<()> {
    let (row, hot) = any_rows();
    let rows = database.collection::<Document>("rows");
    let found = rows.find_one(doc! { "_id": row }).await?;
    let value = found.context("the row is gone")?.get_i32("value")?;
    ensure!(value == row, "row {row} has {value}");
    let changed = database
        .collection::<Document>("hot")
        .update_one(doc! { "_id": hot }, doc! { "$inc": { "count": 1_i64 } })
        .await?;
    ensure!(changed.matched_count == 1, "row {hot} is gone");
    Ok(())
}
