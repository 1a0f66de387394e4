//! What being watched costs: the same load while an exporter is scraped every second.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use benches::Report;
use pool_telemetry::{Listener, Registry};

use crate::loads::warm;
use crate::peers::{Peer as _, PoolCore};

/// One task, one connection, over and over: the load in which a checkout costs least, and whatever is
/// added to it shows most. Who goes first changes from round to round.
pub async fn scraped(report: &mut Report, time: Duration, round: usize) -> anyhow::Result<()> {
    let watched_first = round % 2 == 1;
    for watched in [watched_first, !watched_first] {
        let pool = warm::<PoolCore>(8).await;
        let exporter = if watched {
            Some(Exporter::start(&pool.0).await?)
        } else {
            None
        };
        run(&pool, time / 10).await;
        let per_second = run(&pool, time).await;
        if let Some(exporter) = exporter {
            let scrapes = exporter.stop().await?;
            ensure!(scrapes > 0, "a round in which nobody scraped");
        }
        let subject = if watched {
            "scraped every second"
        } else {
            "nobody scrapes"
        };
        report.add("checkout/scraped", subject, "ops_per_s", "1/s", per_second);
    }
    Ok(())
}

/// Checkouts per second.
async fn run(pool: &PoolCore, time: Duration) -> f64 {
    let began = Instant::now();
    let mut ops = 0_u32;
    while began.elapsed() < time {
        for _ in 0..1_000 {
            drop(black_box(pool.checkout().await));
        }
        ops += 1_000;
    }
    f64::from(ops) / began.elapsed().as_secs_f64()
}

/// A listener, and a scraper of its `/metrics` over a socket.
struct Exporter {
    listener: Listener,
    stop: mpsc::Sender<()>,
    scraper: JoinHandle<anyhow::Result<u32>>,
}

impl Exporter {
    async fn start(pool: &pool_core::Pool<crate::peers::FakeManager>) -> anyhow::Result<Self> {
        let registry = Registry::new();
        registry.register(pool.clone())?;
        let listener = Listener::builder(registry)
            .address("127.0.0.1:0")
            .start()
            .await?;
        let (stop, stopped) = mpsc::channel();
        let address = listener.address();
        let scraper = std::thread::spawn(move || {
            let mut scrapes = 0;
            loop {
                let began = Instant::now();
                scrape(address)?;
                scrapes += 1;
                let rest = Duration::from_secs(1).saturating_sub(began.elapsed());
                match stopped.recv_timeout(rest) {
                    Err(RecvTimeoutError::Timeout) => {}
                    _ => return Ok(scrapes),
                }
            }
        });
        Ok(Self {
            listener,
            stop,
            scraper,
        })
    }

    async fn stop(self) -> anyhow::Result<u32> {
        let Self {
            listener,
            stop,
            scraper,
        } = self;
        drop(stop);
        let scrapes = scraper
            .join()
            .map_err(|_| anyhow::anyhow!("the scraper panicked"))??;
        listener.stop().await;
        Ok(scrapes)
    }
}

fn scrape(address: SocketAddr) -> anyhow::Result<()> {
    let mut socket = TcpStream::connect(address).context("the listener is away")?;
    socket.write_all(b"GET /metrics HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer)?;
    ensure!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("db_client_connection_max"),
        "not the metrics: {answer}"
    );
    Ok(())
}
