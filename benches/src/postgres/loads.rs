//! The loads that each subject is put under.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use benches::Report;
use hdrhistogram::Histogram;
use tokio::sync::Barrier;

use crate::peers::{Peer, Size, Worker};
use crate::table::Table;

const ONE: Size = Size {
    tasks: 1,
    connections: 10,
};

const MANY: Size = Size {
    tasks: 50,
    connections: 10,
};

const COLD: Size = Size {
    tasks: 20,
    connections: 20,
};

/// What each task does over and over.
#[derive(Clone, Copy)]
pub enum Work<'t> {
    /// `select 1`.
    SelectOne,
    /// Four times the closing price of a day, then a note about it.
    Mix(&'t Table),
}

/// One task, one statement after the other.
pub async fn sequential<P: Peer>(
    report: &mut Report,
    name: &str,
    url: &str,
    statements: u32,
) -> anyhow::Result<()> {
    let mut peer = P::open(url, ONE).await?;
    let mut worker = peer.worker();
    for _ in 0..statements / 10 {
        worker.select_one().await?;
    }
    let began = Instant::now();
    for _ in 0..statements {
        worker.select_one().await?;
    }
    let each = began.elapsed().as_nanos() as f64 / 1e3 / f64::from(statements);
    report.add(name, P::NAME, "us_per_op", "µs", each);
    drop(worker);
    peer.close().await;
    Ok(())
}

/// What each task does before anything counts: statements are prepared, and caches are filled.
const WARM: usize = 50;

/// How long that may take.
const WARM_UP: Duration = Duration::from_secs(60);

/// 50 tasks on 10 connections, all of them open from the start; latency is from asking for a
/// connection to its return.
pub async fn loaded<P: Peer>(
    report: &mut Report,
    name: &str,
    url: &str,
    work: Work<'_>,
    time: Duration,
) -> anyhow::Result<()> {
    let mut peer = P::open(url, MANY).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let tasks = P::tasks(MANY);
    let warm = Arc::new(Barrier::new(tasks as usize + 1));
    let tasks: Vec<_> = (0..tasks)
        .map(|task| {
            let (worker, stop) = (peer.worker(), Arc::clone(&stop));
            let warm = Arc::clone(&warm);
            let days = match work {
                Work::SelectOne => None,
                Work::Mix(table) => Some(Arc::clone(&table.days)),
            };
            tokio::spawn(run(worker, days, task, warm, stop))
        })
        .collect();
    tokio::time::timeout(WARM_UP, warm.wait())
        .await
        .context("a task did not warm up")?;
    let began = Instant::now();
    tokio::time::sleep(time).await;
    stop.store(true, Ordering::Relaxed);
    let elapsed = began.elapsed();
    let mut latencies = latencies();
    for task in tasks {
        latencies.add(task.await??)?;
    }
    let per_second = latencies.len() as f64 / elapsed.as_secs_f64();
    report.add(name, P::NAME, "ops_per_s", "1/s", per_second);
    for (metric, quantile) in [("p50_us", 0.5), ("p99_us", 0.99)] {
        let latency = latencies.value_at_quantile(quantile) as f64 / 1e3;
        report.add(name, P::NAME, metric, "µs", latency);
    }
    peer.close().await;
    Ok(())
}

async fn run<W: Worker>(
    mut worker: W,
    days: Option<Arc<[(String, f64)]>>,
    task: u32,
    warm: Arc<Barrier>,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = latencies();
    // Another day for each task, far from those of its neighbours.
    let mut statements = (task as usize * 101)..;
    let mut next = || statements.next().unwrap_or_default();
    let warmed = async {
        for _ in 0..WARM {
            statement(&mut worker, days.as_deref(), next()).await?;
        }
        anyhow::Ok(())
    };
    let warmed = warmed.await;
    // Also of one that failed, or the others would wait for it.
    warm.wait().await;
    warmed?;
    while !stop.load(Ordering::Relaxed) {
        let asked = Instant::now();
        statement(&mut worker, days.as_deref(), next()).await?;
        latencies.saturating_record(u64::try_from(asked.elapsed().as_nanos())?);
    }
    Ok(latencies)
}

/// The `n`th of a task.
async fn statement<W: Worker>(
    worker: &mut W,
    days: Option<&[(String, f64)]>,
    n: usize,
) -> anyhow::Result<()> {
    let Some(days) = days else {
        return worker.select_one().await;
    };
    let (day, close) = &days[n % days.len()];
    if n % 5 == 4 {
        worker.write(day).await?;
    } else {
        let read = worker.read(day).await?;
        anyhow::ensure!(read == *close, "{day}: {read}, not {close}");
    }
    Ok(())
}

/// From nothing to 20 connections that have each answered.
pub async fn cold_start<P: Peer>(report: &mut Report, name: &str, url: &str) -> anyhow::Result<()> {
    let began = Instant::now();
    let peer = P::open(url, COLD).await?;
    let took = began.elapsed().as_nanos() as f64 / 1e6;
    report.add(name, P::NAME, "ms_to_20", "ms", took);
    peer.close().await;
    Ok(())
}

/// From a nanosecond to a minute, to three significant digits.
fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("the bounds are within the range")
}
