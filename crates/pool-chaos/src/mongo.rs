//! This project's leases over MongoDB, and a witness with clients of its own.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::options::{ReadConcern, WriteConcern};
use mongodb::{Client, Database};
use pool_core::PoolControl as _;
use pool_mongo::{LeaseError, MongoLease, MongoPool};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use crate::befall::MAX;
use crate::consumers::{Hangs, SlowConsumers};
use crate::load::Patience;
use crate::postgres::failed;
use crate::subject::{Failure, Subject, Witness, value_of};

/// How long the driver keeps a socket that nobody uses.
pub const MAX_IDLE: Duration = Duration::from_secs(5);

/// How long the driver waits for one answer while it looks for the server: it looks again half a
/// second later, so this and that half second are what a recovery can take after a packet filter.
pub const CONNECT_TIMEOUT: Duration = Duration::from_millis(400);

/// How many sockets the driver may open at once.
const MAX_CONNECTING: u32 = 2;

/// The longest pause of the engine after a failed connect: its default.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The two connections by which the driver watches a server are tried every half second each
/// (`minHeartbeatFrequencyMS` of its specification), whatever a pool does.
const MONITORS_PER_S: f64 = 4.0;

const DATABASE: &str = "chaos";
const ROWS: &str = "rows";

/// `pool-mongo`.
#[derive(Debug)]
pub struct Leases {
    pool: MongoPool,
}

impl Leases {
    /// A pool on the servers of `uri`.
    ///
    /// # Panics
    ///
    /// The URI is malformed.
    pub async fn new(uri: &str, patience: Patience) -> Self {
        let pool = MongoPool::builder(uri)
            .name("chaos")
            .database(DATABASE)
            .limits(0, MAX)
            .max_connecting(MAX_CONNECTING)
            .connect_timeout(CONNECT_TIMEOUT)
            .acquire_timeout(patience.acquire)
            .idle_timeout(MAX_IDLE)
            .build()
            .await
            .expect("the settings are good");
        Self { pool }
    }
}

impl Subject for Leases {
    type Guard = MongoLease;

    fn name(&self) -> &'static str {
        "pool-mongo"
    }

    async fn acquire(&self) -> Result<MongoLease, Failure> {
        let acquired = self.pool.acquire().await;
        acquired.map_err(|error: LeaseError| match error.acquire_error() {
            Some(cause) if error.connect_error().is_none() => failed(cause, error.to_string()),
            Some(_) => Failure::because(error),
            None => Failure::because(error),
        })
    }

    async fn write(&self, lease: &mut MongoLease, row: i64) -> Result<(), Failure> {
        write(lease, row).await.map_err(Failure::because)
    }

    async fn read(&self, lease: &mut MongoLease, row: i64) -> Result<Option<i64>, Failure> {
        read(lease, row).await.map_err(Failure::because)
    }

    fn open(&self) -> Option<u32> {
        Some(self.pool.sockets().iter().map(|server| server.open).sum())
    }

    fn taken(&self) -> Option<u32> {
        let counts = self.pool.counts();
        Some(counts.active + counts.waiting)
    }

    fn attempts_allowed(&self) -> Option<f64> {
        let connects = 2.0 * f64::from(MAX_CONNECTING) / LONGEST_PAUSE.as_secs_f64();
        Some(connects + MONITORS_PER_S)
    }

    fn resize(&self, max: u32) -> bool {
        self.pool.set_limits(0, max).is_ok()
    }

    fn may_open_more(&self) -> bool {
        true
    }

    fn rest(&self) {
        self.pool.evict_idle();
    }

    async fn add_slow_consumers(&self) -> Option<SlowConsumers> {
        let hangs = Hangs::default();
        let calls = hangs.calls();
        self.pool.add_listener(hangs);
        Some(SlowConsumers::of(self.pool.clone(), calls).await)
    }

    async fn close(&self, deadline: Duration) {
        self.pool.close(deadline).await;
    }
}

/// Writes a row that the majority has.
///
/// # Errors
///
/// The driver's.
pub async fn write(database: &Database, row: i64) -> mongodb::error::Result<()> {
    let rows = database.collection::<Document>(ROWS);
    let insert = rows
        .insert_one(doc! { "_id": row, "v": value_of(row) })
        .write_concern(WriteConcern::majority());
    insert.await.map(drop)
}

/// Reads a row.
///
/// # Errors
///
/// The driver's.
pub async fn read(database: &Database, row: i64) -> mongodb::error::Result<Option<i64>> {
    let rows = database.collection::<Document>(ROWS);
    let found = rows.find_one(doc! { "_id": row }).await?;
    Ok(found.and_then(|row| row.get_i64("v").ok()))
}

/// The servers' administrator.
#[derive(Debug)]
pub struct MongoWitness {
    /// Finds the primary.
    all: Client,
    /// One for each member.
    each: Vec<Client>,
    /// Where the first member is.
    address: String,
    /// Connections of somebody else's that leave no room for the subject's.
    others: Mutex<Vec<TcpStream>>,
}

impl MongoWitness {
    /// Over the servers' own URL.
    ///
    /// # Panics
    ///
    /// The URL is malformed.
    pub async fn new(url: &str) -> Self {
        let client = async |url: &str| Client::with_uri_str(url).await.expect("the URL is good");
        let (user, hosts) = parts(url);
        let mut each = Vec::new();
        for host in hosts.split(',') {
            let direct = format!("mongodb://{user}@{host}/?directConnection=true&authSource=admin");
            each.push(client(&direct).await);
        }
        Self {
            all: client(url).await,
            each,
            address: hosts.split(',').next().unwrap_or_default().to_owned(),
            others: Mutex::default(),
        }
    }

    /// What subjects connect with: through a proxy to one server, or, given a URL of a replica
    /// set, to its members.
    #[must_use]
    pub fn subject_uri(&self, proxy: SocketAddr, replica_set: Option<&str>) -> String {
        let user = "chaos:right";
        match replica_set {
            None => format!("mongodb://{user}@{proxy}/?directConnection=true&authSource=admin"),
            Some(url) => {
                let (_, hosts) = parts(url);
                format!("mongodb://{user}@{hosts}/?replicaSet=rs0&authSource=admin")
            }
        }
    }
}

/// User information and hosts.
fn parts(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (user, rest) = rest.rsplit_once('@').unwrap_or_default();
    (user, rest.split('/').next().unwrap_or_default())
}

/// How many connections of the subjects one member has. A member that has just come back does not
/// answer before it has caught up with the others.
async fn connections_of(member: &Client) -> usize {
    let pipeline = [
        doc! { "$currentOp": { "allUsers": true, "idleConnections": true } },
        doc! { "$match": { "effectiveUsers.user": "chaos" } },
        doc! { "$group": { "_id": "$connectionId" } },
    ];
    let admin = member.database("admin");
    let mut last = None;
    for _ in 0..300 {
        let found = async {
            let found = admin.aggregate(pipeline.clone()).await?;
            found.try_collect::<Vec<Document>>().await
        };
        match found.await {
            Ok(found) => return found.len(),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the administrator may see them: {last:?}");
}

impl Witness for MongoWitness {
    async fn prepare(&self) {
        let create = doc! {
            "createUser": "chaos", "pwd": "right",
            "roles": [{ "role": "readWrite", "db": DATABASE }],
        };
        let admin = self.all.database("admin");
        admin
            .run_command(create)
            .await
            .expect("the administrator may do this");
        let rows = self.all.database(DATABASE);
        rows.create_collection(ROWS)
            .await
            .expect("the administrator may do this");
    }

    async fn connections(&self) -> u32 {
        let mut count = 0;
        for member in &self.each {
            count += connections_of(member).await;
        }
        count.try_into().unwrap_or(u32::MAX)
    }

    async fn present(&self, rows: &[i64]) -> HashSet<i64> {
        let all = self.all.database(DATABASE).collection::<Document>(ROWS);
        let found: Vec<Document> = all
            .find(doc! { "_id": { "$in": rows } })
            .read_concern(ReadConcern::majority())
            .await
            .expect("the administrator may see them")
            .try_collect()
            .await
            .expect("the server answers");
        let row_of = |found: Document| {
            let (row, value) = (found.get_i64("_id").ok()?, found.get_i64("v").ok()?);
            (value == value_of(row)).then_some(row)
        };
        found.into_iter().filter_map(row_of).collect()
    }

    async fn accepting(&self) {
        let rows = self.all.database("witness").collection::<Document>(ROWS);
        for _ in 0..100 {
            let insert = rows
                .insert_one(doc! {})
                .write_concern(WriteConcern::majority());
            if insert.await.is_ok() {
                return;
            }
        }
        panic!("the servers take writes again");
    }

    async fn set_password(&self, right: bool) {
        let password = if right { "right" } else { "another" };
        let update = doc! { "updateUser": "chaos", "pwd": password };
        let admin = self.all.database("admin");
        admin
            .run_command(update)
            .await
            .expect("the administrator may do this");
    }

    async fn set_full(&self, full: bool) -> bool {
        let mut others = self.others.lock().await;
        others.clear();
        // What the subject has given up is free a little later.
        let mut turned_away = 0;
        while full && turned_away < 5 {
            match is_taken(&self.address).await {
                Some(other) => others.push(other),
                None => {
                    turned_away += 1;
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
        true
    }
}

/// A connection that the server keeps; `None` where it has no room and closes it, which is all that
/// MongoDB says then.
async fn is_taken(address: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    // What is kept says nothing before it is asked.
    let mut byte = [0];
    let closed = tokio::time::timeout(Duration::from_millis(20), stream.read(&mut byte)).await;
    closed.is_err().then_some(stream)
}
