//! The pools that are compared, each as its users set it up, on the same fake connection.

use std::convert::Infallible;
use std::future::Future;

/// A connection that costs nothing, so that what is measured is the pool.
#[derive(Debug)]
pub struct Fake(pub u64);

/// One pool under test.
pub trait Peer: Send + Sync + Sized + 'static {
    /// The name in reports.
    const NAME: &'static str;
    /// What a checkout gives.
    type Guard<'p>: Send
    where
        Self: 'p;

    fn build(max: u32) -> impl Future<Output = Self> + Send;
    fn checkout(&self) -> impl Future<Output = Self::Guard<'_>> + Send;
}

/// Two lock/unlock pairs around a vector's push and pop, plus two clock reads: what a pool takes at
/// least that has one lock in whose line threads can sleep, and measures hold times.
pub struct Floor {
    idle: parking_lot::Mutex<Vec<Box<Fake>>>,
    clock: quanta::Clock,
}

pub struct FloorGuard<'p> {
    floor: &'p Floor,
    connection: Option<Box<Fake>>,
    since: u64,
}

impl Peer for Floor {
    const NAME: &'static str = "floor";
    type Guard<'p> = FloorGuard<'p>;

    async fn build(max: u32) -> Self {
        let idle = (0..max).map(|n| Box::new(Fake(n.into()))).collect();
        Self {
            idle: parking_lot::Mutex::new(idle),
            clock: quanta::Clock::new(),
        }
    }

    async fn checkout(&self) -> FloorGuard<'_> {
        let since = self.clock.raw();
        let connection = self.idle.lock().pop();
        FloorGuard {
            floor: self,
            connection,
            since,
        }
    }
}

impl Drop for FloorGuard<'_> {
    fn drop(&mut self) {
        let held = self.floor.clock.raw() - self.since;
        if let Some(mut connection) = self.connection.take() {
            connection.0 = held;
            self.floor.idle.lock().push(connection);
        }
    }
}

/// Connections behind a semaphore of tokio's, which serves callers in order, and nothing else: the
/// simplest that is a queue.
pub struct BareQueue {
    free: tokio::sync::Semaphore,
    idle: parking_lot::Mutex<Vec<Box<Fake>>>,
}

pub struct BareGuard<'q> {
    queue: &'q BareQueue,
    connection: Option<Box<Fake>>,
    /// Given back after the connection: fields are dropped after what `drop` does.
    _turn: tokio::sync::SemaphorePermit<'q>,
}

impl Peer for BareQueue {
    const NAME: &'static str = "bare-queue";
    type Guard<'p> = BareGuard<'p>;

    async fn build(max: u32) -> Self {
        Self {
            free: tokio::sync::Semaphore::new(max as usize),
            idle: parking_lot::Mutex::new((0..max).map(|n| Box::new(Fake(n.into()))).collect()),
        }
    }

    async fn checkout(&self) -> BareGuard<'_> {
        let turn = self.free.acquire().await;
        BareGuard {
            queue: self,
            connection: self.idle.lock().pop(),
            _turn: turn.expect("it is never closed"),
        }
    }
}

impl Drop for BareGuard<'_> {
    fn drop(&mut self) {
        self.queue.idle.lock().extend(self.connection.take());
    }
}

/// This project, with its metrics on: they cannot be switched off.
pub struct PoolCore(pub pool_core::Pool<FakeManager>);

impl PoolCore {
    pub fn with_listener(max: u32, listener: Option<BadListener>) -> Self {
        let mut builder = pool_core::Pool::builder(FakeManager).limits(0, max);
        if let Some(listener) = listener {
            builder = builder.events(listener);
        }
        Self(builder.build().expect("valid settings"))
    }
}

/// What a listener may do that it should not.
#[derive(Clone, Copy)]
pub enum BadListener {
    Fails,
    Panics,
    Sleeps,
}

#[async_trait::async_trait]
impl pool_core::ConnectionEvents for BadListener {
    async fn on_connect(&self) -> pool_core::ListenerResult {
        match self {
            Self::Fails => Err("no".into()),
            Self::Panics => panic!("a listener that panics"),
            Self::Sleeps => {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                Ok(())
            }
        }
    }
}

pub struct FakeManager;

impl pool_core::ConnectionManager for FakeManager {
    type Connection = Fake;
    type Error = std::io::Error;

    async fn connect(&self) -> Result<Fake, std::io::Error> {
        Ok(Fake(0))
    }

    async fn validate(&self, _: &mut Fake) -> Result<(), std::io::Error> {
        Ok(())
    }
}

impl Peer for PoolCore {
    const NAME: &'static str = "pool-core";
    type Guard<'p> = pool_core::PooledConnection<'p, FakeManager>;

    async fn build(max: u32) -> Self {
        Self(
            pool_core::Pool::builder(FakeManager)
                .limits(0, max)
                .build()
                .expect("valid settings"),
        )
    }

    async fn checkout(&self) -> Self::Guard<'_> {
        self.0
            .acquire()
            .await
            .expect("the fake connection does not fail")
    }
}

pub struct Deadpool(deadpool::managed::Pool<FakeManager>);

impl deadpool::managed::Manager for FakeManager {
    type Type = Fake;
    type Error = Infallible;

    async fn create(&self) -> Result<Fake, Infallible> {
        Ok(Fake(0))
    }

    async fn recycle(
        &self,
        _: &mut Fake,
        _: &deadpool::managed::Metrics,
    ) -> deadpool::managed::RecycleResult<Infallible> {
        Ok(())
    }
}

impl Peer for Deadpool {
    const NAME: &'static str = "deadpool";
    type Guard<'p> = deadpool::managed::Object<FakeManager>;

    async fn build(max: u32) -> Self {
        let pool = deadpool::managed::Pool::builder(FakeManager)
            .max_size(max as usize)
            .build();
        Self(pool.expect("valid settings"))
    }

    async fn checkout(&self) -> Self::Guard<'_> {
        self.0
            .get()
            .await
            .expect("the fake connection does not fail")
    }
}

pub struct Bb8(bb8::Pool<FakeManager>);

impl bb8::ManageConnection for FakeManager {
    type Connection = Fake;
    type Error = std::io::Error;

    async fn connect(&self) -> Result<Fake, std::io::Error> {
        Ok(Fake(0))
    }

    async fn is_valid(&self, _: &mut Fake) -> Result<(), std::io::Error> {
        Ok(())
    }

    fn has_broken(&self, _: &mut Fake) -> bool {
        false
    }
}

impl Peer for Bb8 {
    const NAME: &'static str = "bb8";
    type Guard<'p> = bb8::PooledConnection<'p, FakeManager>;

    async fn build(max: u32) -> Self {
        Self(
            bb8::Pool::builder()
                .max_size(max)
                .build(FakeManager)
                .await
                .expect("it connects"),
        )
    }

    async fn checkout(&self) -> Self::Guard<'_> {
        self.0
            .get()
            .await
            .expect("the fake connection does not fail")
    }
}

pub struct Mobc(mobc::Pool<FakeManager>);

#[mobc::async_trait]
impl mobc::Manager for FakeManager {
    type Connection = Fake;
    type Error = std::io::Error;

    async fn connect(&self) -> Result<Fake, std::io::Error> {
        Ok(Fake(0))
    }

    async fn check(&self, connection: Fake) -> Result<Fake, std::io::Error> {
        Ok(connection)
    }
}

impl Peer for Mobc {
    const NAME: &'static str = "mobc";
    type Guard<'p> = mobc::Connection<FakeManager>;

    async fn build(max: u32) -> Self {
        let max = u64::from(max);
        Self(
            mobc::Pool::builder()
                .max_open(max)
                .max_idle(max)
                .build(FakeManager),
        )
    }

    async fn checkout(&self) -> Self::Guard<'_> {
        self.0
            .get()
            .await
            .expect("the fake connection does not fail")
    }
}

pub struct FastPool(fast_pool::Pool<FastManager>);

#[derive(Debug)]
pub struct FastManager;

impl fast_pool::Manager for FastManager {
    type Connection = Fake;
    type Error = String;

    async fn connect(&self) -> Result<Fake, String> {
        Ok(Fake(0))
    }

    async fn check(&self, _: &mut Fake) -> Result<(), String> {
        Ok(())
    }
}

impl Peer for FastPool {
    const NAME: &'static str = "fast_pool";
    type Guard<'p> = fast_pool::ConnectionGuard<FastManager>;

    async fn build(max: u32) -> Self {
        let pool = fast_pool::Pool::new(FastManager);
        pool.set_max_open(max.into());
        pool.set_max_idle_conns(max.into());
        Self(pool)
    }

    async fn checkout(&self) -> Self::Guard<'_> {
        self.0
            .get()
            .await
            .expect("the fake connection does not fail")
    }
}

/// sqlx's own pool, on a real server: it has no other connection.
pub struct Sqlx(sqlx::PgPool);

impl Peer for Sqlx {
    const NAME: &'static str = "sqlx";
    type Guard<'p> = sqlx::pool::PoolConnection<sqlx::Postgres>;

    async fn build(max: u32) -> Self {
        let url = std::env::var("POSTGRES_URL").expect("asked for only when it is set");
        let options = sqlx::postgres::PgPoolOptions::new().max_connections(max);
        Self(options.connect(&url).await.expect("the server is up"))
    }

    async fn checkout(&self) -> Self::Guard<'_> {
        self.0.acquire().await.expect("the server is up")
    }
}

/// Pools whose size can be changed while they run.
pub trait Resizable {
    fn resize(&self, max: u32);
}

impl Resizable for PoolCore {
    fn resize(&self, max: u32) {
        self.0.set_limits(0, max).expect("valid limits");
    }
}

impl Resizable for Deadpool {
    fn resize(&self, max: u32) {
        self.0.resize(max as usize);
    }
}
