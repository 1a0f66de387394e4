//! The loads that both are put under.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use benches::Report;
use hdrhistogram::Histogram;
use mongodb::bson::doc;

use crate::peers::{Driver, Leases, Peer, STOCK, Watched, burst};

/// Those that are compared.
pub struct Peers {
    pub leases: Arc<Leases>,
    pub driver: Arc<Driver>,
    pub watched: Arc<Watched>,
}

/// What each of them has shown in one turn, in the order of [`Peers`].
type Turn = [f64; 3];

/// Has each do `$work` once, another first in every turn: what disturbs the machine and what the
/// server does in the background lasts longer than a turn, so one is held against the other turn by
/// turn.
macro_rules! in_turn {
    ($peers:expr, $turn:expr, |$peer:ident, $at:ident| $work:expr) => {{
        let mut shown: Turn = [0.0; 3];
        for nth in 0..3 {
            let $at = (nth + $turn as usize) % 3;
            shown[$at] = match $at {
                0 => {
                    let $peer = &$peers.leases;
                    $work
                }
                1 => {
                    let $peer = &$peers.driver;
                    $work
                }
                _ => {
                    let $peer = &$peers.watched;
                    $work
                }
            };
        }
        shown
    }};
}

const NAMES: [&str; 3] = [Leases::NAME, Driver::NAME, Watched::NAME];

/// One task, one operation after the other.
pub async fn sequential(report: &mut Report, peers: &Peers, turns: u32) -> Result<()> {
    const EACH: i32 = 200;
    let name = "mongo/find-one-sequential";
    for turn in 0..turns {
        let shown = in_turn!(peers, turn, |peer, at| micros_each(&**peer, EACH).await?);
        for (subject, each) in NAMES.into_iter().zip(shown) {
            report.add(name, subject, "us_per_op", "µs", each);
        }
        for at in [0, 2] {
            report.add(name, NAMES[at], "added_us", "µs", shown[at] - shown[1]);
        }
    }
    Ok(())
}

async fn micros_each<P: Peer>(peer: &P, operations: i32) -> Result<f64> {
    let began = Instant::now();
    for id in 0..operations {
        peer.find_one(id % STOCK).await?;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(operations))
}

/// A lease taken and given back, without an operation.
pub async fn lease(report: &mut Report, leases: &Leases, rounds: u32) -> Result<()> {
    const EACH: u32 = 20_000;
    for _ in 0..rounds {
        let began = Instant::now();
        for _ in 0..EACH {
            leases.lease().await?;
        }
        let each = began.elapsed().as_secs_f64() * 1e6 / f64::from(EACH);
        report.add("mongo/lease", Leases::NAME, "us_per_op", "µs", each);
    }
    Ok(())
}

/// What fifty tasks do over and over.
#[derive(Clone, Copy)]
pub enum Work {
    FindOne,
    Insert,
}

impl Work {
    pub const fn name(self) -> &'static str {
        match self {
            Self::FindOne => "mongo/find-one-50x10",
            Self::Insert => "mongo/insert-50x10",
        }
    }
}

/// Fifty tasks on ten connections.
pub async fn contended(report: &mut Report, peers: &Peers, work: Work, turns: u32) -> Result<()> {
    let mut all = [times(), times(), times()];
    let name = work.name();
    for turn in 0..turns {
        let shown = in_turn!(peers, turn, |peer, at| pace(peer, work, &mut all[at])
            .await?);
        for (subject, pace) in NAMES.into_iter().zip(shown) {
            report.add(name, subject, "ops_per_s", "1/s", pace);
        }
        for at in [0, 2] {
            let of_driver = shown[at] / shown[1] * 100.0;
            report.add(name, NAMES[at], "of_driver", "%", of_driver);
        }
    }
    for (subject, times) in NAMES.into_iter().zip(all) {
        for (metric, quantile) in [("p50_us", 0.5), ("p99_us", 0.99)] {
            let took = times.value_at_quantile(quantile) as f64 / 1e3;
            report.add(name, subject, metric, "µs", took);
        }
    }
    Ok(())
}

/// Operations a second in one turn; the time of each goes to `times`.
async fn pace<P: Peer>(peer: &Arc<P>, work: Work, times: &mut Histogram<u64>) -> Result<f64> {
    const TASKS: i32 = 50;
    const TURN: Duration = Duration::from_millis(200);
    let stop = Arc::new(AtomicBool::new(false));
    let next = Arc::new(AtomicI32::new(0));
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (peer, stop, next) = (Arc::clone(peer), Arc::clone(&stop), Arc::clone(&next));
            tokio::spawn(async move {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let id = next.fetch_add(1, Ordering::Relaxed);
                    let asked = Instant::now();
                    match work {
                        Work::FindOne => peer.find_one(id.rem_euclid(STOCK)).await?,
                        Work::Insert => peer.insert(doc! { "n": id, "price": 187.5 }).await?,
                    }
                    times.push(asked.elapsed());
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let began = Instant::now();
    tokio::time::sleep(TURN).await;
    stop.store(true, Ordering::Relaxed);
    let mut done = 0_u32;
    for task in tasks {
        for took in task.await.expect("no task panics")? {
            times.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
            done += 1;
        }
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}

/// From nothing to connections that have been used: twenty of them, and twenty operations at once.
pub async fn cold_start<P: Peer>(
    report: &mut Report,
    uri: &str,
    subject: &str,
    warmed: bool,
) -> Result<()> {
    const CONNECTIONS: u32 = 20;
    let name = "mongo/cold-start";
    let began = Instant::now();
    let peer = P::build(uri, CONNECTIONS).await?;
    if warmed {
        peer.warm(CONNECTIONS).await?;
    }
    let ready = began.elapsed();
    burst(&peer, 20).await?;
    let done = began.elapsed();
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    report.add(name, subject, "ready_ms", "ms", millis(ready));
    report.add(name, subject, "burst_ms", "ms", millis(done - ready));
    report.add(name, subject, "total_ms", "ms", millis(done));
    peer.close().await;
    Ok(())
}

/// From a nanosecond to a minute, to three significant digits.
fn times() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are within the range")
}
