//! The loads that both are put under.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use benches::Report;
use hdrhistogram::Histogram;
use mongodb::bson::doc;

use crate::peers::{Driver, Leases, Peer, STOCK, burst};

/// One task, one operation after the other: first some on the one, then as many on the other, in
/// turns so short that both see the same machine.
pub async fn sequential(
    report: &mut Report,
    leases: &Leases,
    driver: &Driver,
    turns: u32,
) -> Result<()> {
    const EACH: i32 = 200;
    let name = "mongo/find-one-sequential";
    for turn in 0..turns {
        let (ours, theirs);
        // Who is first alternates as well.
        if turn % 2 == 0 {
            ours = micros_each(leases, EACH).await?;
            theirs = micros_each(driver, EACH).await?;
        } else {
            theirs = micros_each(driver, EACH).await?;
            ours = micros_each(leases, EACH).await?;
        }
        report.add(name, Leases::NAME, "us_per_op", "µs", ours);
        report.add(name, Driver::NAME, "us_per_op", "µs", theirs);
        report.add(name, Leases::NAME, "added_us", "µs", ours - theirs);
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

/// Fifty tasks on ten connections, on the one and on the other in short turns.
///
/// What disturbs the machine and what the server does in the background lasts longer than a turn,
/// so the throughput of the one in relation to the other is taken turn by turn.
pub async fn contended(
    report: &mut Report,
    leases: &Arc<Leases>,
    driver: &Arc<Driver>,
    work: Work,
    turns: u32,
) -> Result<()> {
    let (mut ours, mut theirs) = (times(), times());
    for turn in 0..turns {
        let (our_pace, their_pace);
        if turn % 2 == 0 {
            our_pace = pace(leases, work, &mut ours).await?;
            their_pace = pace(driver, work, &mut theirs).await?;
        } else {
            their_pace = pace(driver, work, &mut theirs).await?;
            our_pace = pace(leases, work, &mut ours).await?;
        }
        let name = work.name();
        report.add(name, Leases::NAME, "ops_per_s", "1/s", our_pace);
        report.add(name, Driver::NAME, "ops_per_s", "1/s", their_pace);
        report.add(
            name,
            Leases::NAME,
            "of_driver",
            "%",
            our_pace / their_pace * 100.0,
        );
    }
    for (subject, times) in [(Leases::NAME, ours), (Driver::NAME, theirs)] {
        for (metric, quantile) in [("p50_us", 0.5), ("p99_us", 0.99)] {
            let took = times.value_at_quantile(quantile) as f64 / 1e3;
            report.add(work.name(), subject, metric, "µs", took);
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
