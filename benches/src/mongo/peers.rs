//! The ways to an operation that are compared, each as its users set it up.

use std::future::Future;
use std::hint::black_box;
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use mongodb::bson::{Document, doc};
use mongodb::event::EventHandler;
use mongodb::options::ClientOptions;
use mongodb::{Client, Collection};
use pool_mongo::MongoPool;

pub const DATABASE: &str = "pool_mongo_bench";
const ROWS: &str = "rows";
const WRITTEN: &str = "written";

/// How many rows there are to find.
pub const STOCK: i32 = 1_000;

/// One way to run operations on a server.
pub trait Peer: Send + Sync + Sized + 'static {
    /// The name in reports.
    const NAME: &'static str;

    /// A client that uses `connections` at the most, none of them open yet.
    fn build(uri: &str, connections: u32) -> impl Future<Output = Result<Self>> + Send;

    /// Opens them.
    fn warm(&self, connections: u32) -> impl Future<Output = Result<()>> + Send;

    fn find_one(&self, id: i32) -> impl Future<Output = Result<()>> + Send;

    fn insert(&self, row: Document) -> impl Future<Output = Result<()>> + Send;

    fn close(self) -> impl Future<Output = ()> + Send;
}

/// The official driver with its own pool, and handles that are made once.
pub struct Driver {
    client: Client,
    rows: Collection<Document>,
    written: Collection<Document>,
}

impl Peer for Driver {
    const NAME: &'static str = "driver";

    async fn build(uri: &str, connections: u32) -> Result<Self> {
        let client = Client::with_options(options(uri, connections).await?)?;
        let database = client.database(DATABASE);
        Ok(Self {
            rows: database.collection(ROWS),
            written: database.collection(WRITTEN),
            client,
        })
    }

    async fn warm(&self, _connections: u32) -> Result<()> {
        warm(&self.client).await
    }

    async fn find_one(&self, id: i32) -> Result<()> {
        let row = self.rows.find_one(doc! { "_id": id }).await?;
        row.map(drop).context("the row is there")
    }

    async fn insert(&self, row: Document) -> Result<()> {
        self.written.insert_one(row).await?;
        Ok(())
    }

    async fn close(self) {
        self.client.shutdown().immediate(true).await;
    }
}

/// The driver with its own pool, told to report what its connections do, and a handle for each
/// operation: what leases are built on, without the leases.
pub struct Watched(Client);

impl Peer for Watched {
    const NAME: &'static str = "driver, watched";

    async fn build(uri: &str, connections: u32) -> Result<Self> {
        let mut options = options(uri, connections).await?;
        options.cmap_event_handler = Some(EventHandler::callback(|event| {
            black_box(event);
        }));
        Ok(Self(Client::with_options(options)?))
    }

    async fn warm(&self, _connections: u32) -> Result<()> {
        warm(&self.0).await
    }

    async fn find_one(&self, id: i32) -> Result<()> {
        let database = self.0.database(DATABASE);
        let rows = database.collection::<Document>(ROWS);
        let row = rows.find_one(doc! { "_id": id }).await?;
        row.map(drop).context("the row is there")
    }

    async fn insert(&self, row: Document) -> Result<()> {
        let database = self.0.database(DATABASE);
        let written = database.collection::<Document>(WRITTEN);
        written.insert_one(row).await?;
        Ok(())
    }

    async fn close(self) {
        self.0.shutdown().immediate(true).await;
    }
}

async fn options(uri: &str, connections: u32) -> Result<ClientOptions> {
    let mut options = ClientOptions::parse(uri).await?;
    options.max_pool_size = Some(connections);
    options.min_pool_size = Some(connections);
    Ok(options)
}

async fn warm(client: &Client) -> Result<()> {
    // Before the first heartbeat it would do nothing, and when a connect fails it hangs.
    let ping = doc! { "ping": 1 };
    client.database("admin").run_command(ping).await?;
    tokio::time::timeout(Duration::from_secs(30), client.warm_connection_pool())
        .await
        .context("warm_connection_pool hangs")
}

/// A lease for each operation.
pub struct Leases(MongoPool);

impl Leases {
    /// Takes a lease and gives it back: what an operation pays on top.
    pub async fn lease(&self) -> Result<()> {
        drop(self.0.acquire().await?);
        Ok(())
    }
}

impl Peer for Leases {
    const NAME: &'static str = "pool-mongo";

    async fn build(uri: &str, connections: u32) -> Result<Self> {
        let pool = MongoPool::builder(uri)
            .database(DATABASE)
            .limits(connections, connections)
            .ceiling(connections)
            .build();
        Ok(Self(pool.await?))
    }

    async fn warm(&self, _connections: u32) -> Result<()> {
        self.0.warmup_pool().await?;
        Ok(())
    }

    async fn find_one(&self, id: i32) -> Result<()> {
        let lease = self.0.acquire().await?;
        let rows = lease.collection::<Document>(ROWS);
        let row = rows.find_one(doc! { "_id": id }).await?;
        row.map(drop).context("the row is there")
    }

    async fn insert(&self, row: Document) -> Result<()> {
        let lease = self.0.acquire().await?;
        lease
            .collection::<Document>(WRITTEN)
            .insert_one(row)
            .await?;
        Ok(())
    }

    async fn close(self) {
        self.0.close(Duration::from_secs(5)).await;
    }
}

/// Puts the rows there that the loads look for.
pub async fn stock(uri: &str) -> Result<()> {
    let database = Client::with_uri_str(uri).await?.database(DATABASE);
    database.drop().await?;
    let rows = (0..STOCK).map(|id| doc! { "_id": id, "symbol": "AAPL", "price": 187.5 });
    database
        .collection::<Document>(ROWS)
        .insert_many(rows)
        .await?;
    Ok(())
}

/// Removes them, and what the loads have written.
pub async fn clear(uri: &str) -> Result<()> {
    let database = Client::with_uri_str(uri).await?.database(DATABASE);
    database.drop().await?;
    Ok(())
}

/// As many operations at once.
pub async fn burst<P: Peer>(peer: &P, operations: i32) -> Result<()> {
    try_join_all((0..operations).map(|id| peer.find_one(id))).await?;
    Ok(())
}
