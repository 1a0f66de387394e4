//! What an idle connection and a waiting caller cost in memory, each in a process of its own.

use std::process::Command;

use anyhow::Context as _;
use benches::Report;

use crate::peers::{Bb8, Deadpool, FastPool, Mobc, Peer, PoolCore};

const CONNECTIONS: u32 = 100_000;
const WAITERS: usize = 100_000;

/// Runs this program once for each subject, so that none uses memory that another has freed.
pub fn compare(report: &mut Report) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    for subject in ["pool-core", "deadpool", "bb8", "fast_pool", "mobc"] {
        let output = Command::new(&program)
            .args(["--memory-of", subject])
            .output()?;
        anyhow::ensure!(
            output.status.success(),
            "memory of {subject}: {}",
            output.status
        );
        let text = String::from_utf8(output.stdout)?;
        let mut numbers = text.split_whitespace().map(str::parse::<f64>);
        let mut next = || {
            numbers
                .next()
                .context("two numbers are printed")?
                .context("a number")
        };
        report.add("checkout/memory", subject, "bytes_per_idle", "B", next()?);
        report.add("checkout/memory", subject, "bytes_per_waiter", "B", next()?);
    }
    Ok(())
}

/// Prints bytes per idle connection and bytes per waiting caller.
pub async fn of(subject: &str) -> anyhow::Result<()> {
    match subject {
        "pool-core" => print::<PoolCore>().await,
        "deadpool" => print::<Deadpool>().await,
        "bb8" => print::<Bb8>().await,
        "fast_pool" => print::<FastPool>().await,
        "mobc" => print::<Mobc>().await,
        other => anyhow::bail!("no subject `{other}`"),
    }
}

async fn print<P: Peer>() -> anyhow::Result<()> {
    let before = resident()?;
    let pool = P::build(CONNECTIONS).await;
    let mut held = Vec::with_capacity(CONNECTIONS as usize);
    for _ in 0..CONNECTIONS {
        held.push(pool.checkout().await);
    }
    // The guards' own memory belongs to the caller.
    drop(held);
    let idle = (resident()? - before) / f64::from(CONNECTIONS);

    let small = P::build(1).await;
    let _only = small.checkout().await;
    let mut waiting = Vec::with_capacity(WAITERS);
    let before = resident()?;
    for _ in 0..WAITERS {
        let mut waiter = Box::pin(small.checkout());
        let polled = futures_util::poll!(waiter.as_mut());
        anyhow::ensure!(polled.is_pending(), "the only connection is taken");
        waiting.push(waiter);
    }
    let waiter = (resident()? - before) / WAITERS as f64;
    println!("{idle:.1} {waiter:.1}");
    Ok(())
}

/// Bytes of this process that are in memory.
fn resident() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("needs Linux's /proc")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("VmRSS")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kibibytes * 1_024.0)
}
