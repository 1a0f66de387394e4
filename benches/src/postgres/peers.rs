//! The subjects, each as its users set it up, over the same statements.
//!
//! sqlx and what is built on it prepare a statement once for each connection, and so does
//! deadpool-postgres with `prepare_cached`; bb8-postgres has no such cache and sends each statement
//! with its types in one round trip.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection as _, PgConnection, PgPool};
use tokio::sync::Semaphore;
use tokio_postgres::NoTls;
use tokio_postgres::types::Type;

const SELECT_ONE: &str = "select 1";
const READ: &str = "select close from bench_postgres.history where date = $1::text::date";
const WRITE: &str = "insert into bench_postgres.notes (date, text) values ($1::text::date, 'seen')";

/// How large a load is.
#[derive(Clone, Copy)]
pub struct Size {
    pub tasks: u32,
    /// Of a pool.
    pub connections: u32,
}

/// One subject.
pub trait Peer: Send + Sized + 'static {
    /// The name in reports.
    const NAME: &'static str;
    type Worker: Worker;

    /// Opens all connections, the most there will be, and has each answer.
    fn open(url: &str, size: Size) -> impl Future<Output = anyhow::Result<Self>> + Send;

    /// What a task works with.
    fn worker(&mut self) -> Self::Worker;

    /// How many tasks there are.
    fn tasks(size: Size) -> u32 {
        size.tasks
    }

    fn close(self) -> impl Future<Output = ()> + Send;
}

/// What a task works with: each call takes a connection and gives it back.
pub trait Worker: Send + 'static {
    fn select_one(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
    fn read(&mut self, day: &str) -> impl Future<Output = anyhow::Result<f64>> + Send;
    fn write(&mut self, day: &str) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The statements on whatever is an executor of sqlx.
macro_rules! statements_of_sqlx {
    ($this:ident => $executor:expr) => {
        async fn select_one(&mut self) -> anyhow::Result<()> {
            let $this = self;
            let one: i32 = sqlx::query_scalar(SELECT_ONE).fetch_one($executor).await?;
            anyhow::ensure!(one == 1, "{one}, not 1");
            Ok(())
        }

        async fn read(&mut self, day: &str) -> anyhow::Result<f64> {
            let $this = self;
            let read = sqlx::query_scalar(READ).bind(day);
            Ok(read.fetch_one($executor).await?)
        }

        async fn write(&mut self, day: &str) -> anyhow::Result<()> {
            let $this = self;
            sqlx::query(WRITE).bind(day).execute($executor).await?;
            Ok(())
        }
    };
}

pub struct PoolPostgres(pool_postgres::PostgresPool);

impl Peer for PoolPostgres {
    const NAME: &'static str = "pool-postgres";
    type Worker = pool_postgres::PostgresPool;

    async fn open(url: &str, Size { connections, .. }: Size) -> anyhow::Result<Self> {
        let pool = pool_postgres::PostgresPool::builder(url)?
            .limits(connections, connections)
            .build()?;
        pool.warmup_pool().await?;
        Ok(Self(pool))
    }

    fn worker(&mut self) -> pool_postgres::PostgresPool {
        self.0.clone()
    }

    async fn close(self) {
        self.0.close(Duration::from_secs(5)).await;
    }
}

impl Worker for pool_postgres::PostgresPool {
    statements_of_sqlx!(pool => &*pool);
}

/// sqlx's own pool with its defaults, which ping at each checkout.
pub struct Sqlx(PgPool);

/// sqlx's own pool with `test_before_acquire(false)`.
pub struct SqlxNoPing(PgPool);

async fn sqlx_pool(url: &str, connections: u32, ping: bool) -> anyhow::Result<PgPool> {
    let pool = PgPoolOptions::new()
        .min_connections(connections)
        .max_connections(connections)
        .test_before_acquire(ping)
        .connect(url)
        .await?;
    // `connect` returns with one connection. Held together, these are all there are.
    let each = (0..connections).map(|_| async {
        let mut connection = pool.acquire().await?;
        connection.ping().await?;
        Ok::<_, sqlx::Error>(connection)
    });
    drop(try_join_all(each).await?);
    Ok(pool)
}

macro_rules! peer_of_sqlx {
    ($subject:ident, $name:literal, $ping:literal) => {
        impl Peer for $subject {
            const NAME: &'static str = $name;
            type Worker = PgPool;

            async fn open(url: &str, Size { connections, .. }: Size) -> anyhow::Result<Self> {
                sqlx_pool(url, connections, $ping).await.map(Self)
            }

            fn worker(&mut self) -> PgPool {
                self.0.clone()
            }

            async fn close(self) {
                self.0.close().await;
            }
        }
    };
}

peer_of_sqlx!(Sqlx, "sqlx", true);
peer_of_sqlx!(SqlxNoPing, "sqlx-no-ping", false);

impl Worker for PgPool {
    statements_of_sqlx!(pool => &*pool);
}

/// Ten connections behind tokio's semaphore and a lock, and nothing else that a pool does: no
/// deadlines, no counts, no look at what comes back. Fair as a pool is, so it shows about what it costs
/// that fifty tasks share ten connections.
pub struct BareQueue(Arc<Shelf>);

/// What [`BareQueue`]'s tasks share.
pub struct Shelf {
    free: Semaphore,
    connections: Mutex<Vec<PgConnection>>,
}

impl Peer for BareQueue {
    const NAME: &'static str = "bare-queue";
    type Worker = Arc<Shelf>;

    async fn open(url: &str, Size { connections, .. }: Size) -> anyhow::Result<Self> {
        let open = connect_each(url, connections).await?;
        Ok(Self(Arc::new(Shelf {
            free: Semaphore::new(open.len()),
            connections: Mutex::new(open),
        })))
    }

    fn worker(&mut self) -> Arc<Shelf> {
        Arc::clone(&self.0)
    }

    async fn close(self) {
        let connections = std::mem::take(&mut *self.0.connections.lock());
        for connection in connections {
            let _ = connection.close().await;
        }
    }
}

/// Takes a connection off the shelf for one statement.
macro_rules! off_the_shelf {
    ($shelf:ident, $method:ident($($argument:ident),*)) => {{
        let _turn = $shelf.free.acquire().await?;
        let taken = $shelf.connections.lock().pop();
        let mut connection = taken.context("more turns than connections")?;
        let outcome = Worker::$method(&mut connection $(, $argument)*).await;
        $shelf.connections.lock().push(connection);
        outcome
    }};
}

impl Worker for Arc<Shelf> {
    async fn select_one(&mut self) -> anyhow::Result<()> {
        off_the_shelf!(self, select_one())
    }

    async fn read(&mut self, day: &str) -> anyhow::Result<f64> {
        off_the_shelf!(self, read(day))
    }

    async fn write(&mut self, day: &str) -> anyhow::Result<()> {
        off_the_shelf!(self, write(day))
    }
}

/// A connection for each task and no pool.
pub struct Pinned(Vec<PgConnection>);

/// As many tasks as a pool has connections, each with one of its own and no pool.
pub struct PinnedFew(Vec<PgConnection>);

async fn connect_each(url: &str, connections: u32) -> anyhow::Result<Vec<PgConnection>> {
    let each = (0..connections).map(|_| async {
        let mut connection = PgConnection::connect(url).await?;
        connection.ping().await?;
        Ok::<_, sqlx::Error>(connection)
    });
    Ok(try_join_all(each).await?)
}

macro_rules! peer_without_a_pool {
    ($subject:ident, $name:literal, $size:ident) => {
        impl Peer for $subject {
            const NAME: &'static str = $name;
            type Worker = PgConnection;

            async fn open(url: &str, size: Size) -> anyhow::Result<Self> {
                connect_each(url, size.$size).await.map(Self)
            }

            fn worker(&mut self) -> PgConnection {
                self.0.pop().expect("no task comes without a connection")
            }

            fn tasks(size: Size) -> u32 {
                size.$size
            }

            async fn close(self) {
                for connection in self.0 {
                    let _ = connection.close().await;
                }
            }
        }
    };
}

peer_without_a_pool!(Pinned, "pinned", tasks);
peer_without_a_pool!(PinnedFew, "pinned-few", connections);

impl Worker for PgConnection {
    statements_of_sqlx!(connection => &mut *connection);
}

pub struct Deadpool(deadpool_postgres::Pool);

impl Peer for Deadpool {
    const NAME: &'static str = "deadpool-postgres";
    type Worker = deadpool_postgres::Pool;

    async fn open(url: &str, Size { connections, .. }: Size) -> anyhow::Result<Self> {
        let manager = deadpool_postgres::Manager::new(url.parse()?, NoTls);
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(connections as usize)
            .build()?;
        let each = (0..connections).map(|_| async {
            let client = pool.get().await?;
            client.check_connection().await?;
            Ok::<_, anyhow::Error>(client)
        });
        drop(try_join_all(each).await?);
        Ok(Self(pool))
    }

    fn worker(&mut self) -> deadpool_postgres::Pool {
        self.0.clone()
    }

    async fn close(self) {
        self.0.close();
    }
}

impl Worker for deadpool_postgres::Pool {
    async fn select_one(&mut self) -> anyhow::Result<()> {
        let client = self.get().await?;
        let statement = client.prepare_cached(SELECT_ONE).await?;
        let one: i32 = client.query_one(&statement, &[]).await?.get(0);
        anyhow::ensure!(one == 1, "{one}, not 1");
        Ok(())
    }

    async fn read(&mut self, day: &str) -> anyhow::Result<f64> {
        let client = self.get().await?;
        let statement = client.prepare_cached(READ).await?;
        Ok(client.query_one(&statement, &[&day]).await?.get(0))
    }

    async fn write(&mut self, day: &str) -> anyhow::Result<()> {
        let client = self.get().await?;
        let statement = client.prepare_cached(WRITE).await?;
        client.execute(&statement, &[&day]).await?;
        Ok(())
    }
}

type Bb8Pool = bb8::Pool<bb8_postgres::PostgresConnectionManager<NoTls>>;

pub struct Bb8(Bb8Pool);

impl Peer for Bb8 {
    const NAME: &'static str = "bb8-postgres";
    type Worker = Bb8Pool;

    async fn open(url: &str, Size { connections, .. }: Size) -> anyhow::Result<Self> {
        let manager = bb8_postgres::PostgresConnectionManager::new(url.parse()?, NoTls);
        let pool = bb8::Pool::builder()
            .min_idle(connections)
            .max_size(connections)
            .build(manager)
            .await?;
        let each = (0..connections).map(|_| pool.get());
        for client in try_join_all(each).await? {
            client.check_connection().await?;
        }
        Ok(Self(pool))
    }

    fn worker(&mut self) -> Bb8Pool {
        self.0.clone()
    }

    async fn close(self) {}
}

impl Worker for Bb8Pool {
    async fn select_one(&mut self) -> anyhow::Result<()> {
        let client = self.get().await?;
        let rows = client.query_typed(SELECT_ONE, &[]).await?;
        let one: i32 = rows[0].get(0);
        anyhow::ensure!(one == 1, "{one}, not 1");
        Ok(())
    }

    async fn read(&mut self, day: &str) -> anyhow::Result<f64> {
        let client = self.get().await?;
        let rows = client.query_typed(READ, &[(&day, Type::TEXT)]).await?;
        Ok(rows[0].get(0))
    }

    async fn write(&mut self, day: &str) -> anyhow::Result<()> {
        let client = self.get().await?;
        client.query_typed(WRITE, &[(&day, Type::TEXT)]).await?;
        Ok(())
    }
}
