//! Those who are told what a pool does, and do not listen.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pool_core::{ConnectionEvents, ListenerResult, PoolControl};
use pool_telemetry::{Listener, Registry};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How many ask for the metrics and never read the answer.
const READERS: usize = 4;

/// A listener of events that never returns, and an exporter whose readers never read.
///
/// Dropped, the exporter ends; the listener hangs for as long as the pool is there.
#[derive(Debug)]
pub struct SlowConsumers {
    called: Arc<AtomicU64>,
    exporter: Listener,
    /// Ends when dropped.
    _readers: JoinSet<io::Result<()>>,
}

impl SlowConsumers {
    /// An exporter of `pool`, and readers that ask it on and on.
    ///
    /// # Panics
    ///
    /// The machine has no port left.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was not returned ends.
    pub async fn of(pool: impl PoolControl, called: Arc<AtomicU64>) -> Self {
        let registry = Registry::new();
        registry.register(pool).expect("the only pool here");
        let exporter = Listener::builder(registry)
            .address("127.0.0.1:0")
            .start()
            .await
            .expect("loopback has a port");
        let mut readers = JoinSet::new();
        for number in 0..READERS {
            // Half of them scrape, half of them follow the live page's stream.
            let path = ["/metrics", "/api/stream"][number % 2];
            readers.spawn(ask_and_never_read(exporter.address(), path));
        }
        Self {
            called,
            exporter,
            _readers: readers,
        }
    }

    /// How often the listener was called, and has not returned.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.called.load(Ordering::Relaxed)
    }

    /// Ends the exporter, whatever its readers do.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it ends all the same.
    pub async fn end(self) {
        self.exporter.stop().await;
    }
}

/// Asks until nothing more can be sent, because the answers wait to be read.
async fn ask_and_never_read(address: std::net::SocketAddr, path: &str) -> io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: pools\r\n\r\n");
    loop {
        stream.write_all(request.as_bytes()).await?;
    }
}

/// A listener that never returns.
#[derive(Debug, Default)]
pub(crate) struct Hangs {
    called: Arc<AtomicU64>,
}

impl Hangs {
    /// Counts the calls.
    pub(crate) fn calls(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.called)
    }

    async fn hang(&self) -> ListenerResult {
        self.called.fetch_add(1, Ordering::Relaxed);
        std::future::pending().await
    }
}

#[async_trait::async_trait]
impl ConnectionEvents for Hangs {
    async fn on_connect(&self) -> ListenerResult {
        self.hang().await
    }

    async fn on_disconnect(&self) -> ListenerResult {
        self.hang().await
    }
}
