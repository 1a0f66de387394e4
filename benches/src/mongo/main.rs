//! Operations through leases and through the bare driver, in one run on one server.

mod loads;
mod peers;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use benches::{Report, targets as judged};
use clap::Parser;

use crate::loads::{Peers, Work, cold_start, contended, lease, sequential};
use crate::peers::{Driver, Leases, Peer, Watched, clear, stock};

#[derive(Parser)]
struct Options {
    /// Fewer and shorter rounds: for a look, not for a figure.
    #[arg(long)]
    quick: bool,
    /// Where to write the results as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Only the benchmarks whose name contains this.
    #[arg(long)]
    only: Option<String>,
    /// End with a failure when a target is missed.
    #[arg(long)]
    check: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let uri = std::env::var("MONGODB_URL").context("MONGODB_URL names the server to measure on")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let only = options.only.as_deref().unwrap_or("");
    let report = runtime.block_on(measure(&uri, options.quick, only))?;
    report.print(Leases::NAME);
    let verdicts = judged::judge(targets::TARGETS, &report);
    judged::print(&verdicts);
    if let Some(file) = options.json {
        report.write_with(&file, &verdicts)?;
    }
    Ok(judged::verdict(&verdicts, options.check))
}

async fn measure(uri: &str, quick: bool, only: &str) -> anyhow::Result<Report> {
    const CONNECTIONS: u32 = 10;
    let mut report = Report::default();
    let wanted = |name: &str| name.contains(only);
    stock(uri).await?;
    let peers = Peers {
        leases: Arc::new(Leases::build(uri, CONNECTIONS).await?),
        driver: Arc::new(Driver::build(uri, CONNECTIONS).await?),
        watched: Arc::new(Watched::build(uri, CONNECTIONS).await?),
    };
    peers.leases.warm(CONNECTIONS).await?;
    peers.driver.warm(CONNECTIONS).await?;
    peers.watched.warm(CONNECTIONS).await?;

    if wanted("mongo/find-one-sequential") {
        sequential(&mut Report::default(), &peers, 4).await?;
        sequential(&mut report, &peers, if quick { 10 } else { 100 }).await?;
    }
    if wanted("mongo/lease") {
        lease(&mut report, &peers.leases, if quick { 3 } else { 15 }).await?;
    }
    let turns = if quick { 4 } else { 100 };
    for work in [Work::FindOne, Work::Insert] {
        if wanted(work.name()) {
            contended(&mut Report::default(), &peers, work, 4).await?;
            contended(&mut report, &peers, work, turns).await?;
        }
    }
    if wanted("mongo/cold-start") {
        for _ in 0..if quick { 1 } else { 7 } {
            cold_start::<Leases>(&mut report, uri, "pool-mongo", true).await?;
            cold_start::<Driver>(&mut report, uri, "driver", false).await?;
            cold_start::<Driver>(&mut report, uri, "driver, warmed", true).await?;
        }
    }
    clear(uri).await?;
    Ok(report)
}
