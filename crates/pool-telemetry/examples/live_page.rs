//! The live page over two pools of pretended connections, without any database:
//! `cargo run -p pool-telemetry --example live_page -- 127.0.0.1:9464`.

#![allow(clippy::print_stdout, reason = "it says where the page is")]

use std::convert::Infallible;
use std::time::Duration;

use pool_core::{ConnectionManager, DynamicPoolConfig, DynamicSizing as _, Pool, ServerState};
use pool_telemetry::{Listener, Registry};

/// Connections that take a while to open and are nothing else.
struct Pretended {
    /// The sockets that are said to be below them.
    below: Vec<ServerState>,
}

impl ConnectionManager for Pretended {
    type Connection = ();
    type Error = Infallible;

    async fn connect(&self) -> Result<(), Infallible> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(())
    }

    async fn validate(&self, _connection: &mut ()) -> Result<(), Infallible> {
        Ok(())
    }

    fn servers(&self) -> Vec<ServerState> {
        self.below.clone()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let registry = Registry::new();
    for (name, callers, below) in [("shop/orders", 40, vec![]), ("shop/stock", 12, below())] {
        let manager = Pretended { below };
        let pool = Pool::builder(manager).name(name).limits(2, 16).build()?;
        pool.set_dynamic_pool_config(DynamicPoolConfig {
            enabled: true,
            min_size: 2,
            max_size: 16,
            scale_up_increment: 2,
            scale_down_increment: 2,
            evaluation_interval: 2_000,
            ..DynamicPoolConfig::default()
        })?;
        registry.register(pool.clone())?;
        for caller in 0..callers {
            tokio::spawn(work(pool.clone(), caller));
        }
    }
    let address = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "127.0.0.1:9464".to_owned());
    let listener = Listener::builder(registry)
        .address(address)
        .token("only for this example")
        .start()
        .await?;
    println!("live page: http://{}/", listener.address());
    println!("operator's token: only for this example");
    std::future::pending().await
}

/// One server that lends sockets, and one that cannot be reached.
fn below() -> Vec<ServerState> {
    let mut one = ServerState::new("db1.example:27017");
    (one.ready, one.open, one.in_use) = (true, 12, 4);
    let mut other = ServerState::new("db2.example:27017");
    (other.connect_failures, other.cleared) = (7, 2);
    vec![one, other]
}

/// Busy for ten seconds, then quiet for ten; not all at the same time.
async fn work(pool: Pool<Pretended>, caller: u64) {
    tokio::time::sleep(Duration::from_millis(200 * caller)).await;
    loop {
        for _ in 0..200 {
            let held = pool.acquire().await;
            tokio::time::sleep(Duration::from_millis(20 + caller)).await;
            drop(held);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
}
