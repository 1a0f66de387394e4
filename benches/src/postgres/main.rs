//! The same statements through pool-postgres, its peers, and no pool, in one run.
//!
//! Needs a server whose URL is in `POSTGRES_URL`.

mod loads;
mod peers;
mod table;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use benches::{Report, targets as judged};
use clap::Parser;

use crate::loads::{Work, cold_start, loaded, sequential};
use crate::peers::{
    BareQueue, Bb8, Deadpool, Peer, Pinned, PinnedFew, PoolPostgres, Sqlx, SqlxNoPing,
};
use crate::table::Table;

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
    /// Only this subject: for a profiler.
    #[arg(long)]
    subject: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let url = std::env::var("POSTGRES_URL")
        .context("POSTGRES_URL is not set; `cargo xtask bench postgres` starts a server")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let report = runtime.block_on(measure(&url, &options))?;
    report.print("pool-postgres");
    let verdicts = judged::judge(targets::TARGETS, &report);
    judged::print(&verdicts);
    if let Some(file) = options.json {
        report.write_with(&file, &verdicts)?;
    }
    Ok(judged::verdict(&verdicts, options.check))
}

/// Does one round of `$load` with each subject in turn, so that what disturbs the machine disturbs
/// all.
macro_rules! with_each {
    ($options:expr, $load:ident($($argument:expr),*)) => {
        with_each!(
            $options, $load($($argument),*),
            PoolPostgres Sqlx SqlxNoPing Deadpool Bb8 BareQueue Pinned PinnedFew
        )
    };
    ($options:expr, $load:ident $arguments:tt, $($subject:ident)*) => {$(
        if $options.wants::<$subject>() {
            with_each!(@ $load $subject $arguments);
        }
    )*};
    (@ $load:ident $subject:ident ($($argument:expr),*)) => {
        $load::<$subject>($($argument),*).await?
    };
}

impl Options {
    fn wants<P: Peer>(&self) -> bool {
        self.subject.as_deref().is_none_or(|name| P::NAME == name)
    }
}

async fn measure(url: &str, options: &Options) -> anyhow::Result<Report> {
    let quick = options.quick;
    let only = options.only.as_deref().unwrap_or("");
    let mut report = Report::default();
    let rounds = |whole| if quick { 1 } else { whole };
    let time = Duration::from_millis(if quick { 300 } else { 800 });
    let table = Table::load(url).await?;
    for name in [
        "postgres/select1-sequential",
        "postgres/select1-50x10",
        "postgres/read-write-mix",
        "postgres/cold-start",
    ] {
        if !name.contains(only) {
            continue;
        }
        eprintln!("{name}");
        match name {
            "postgres/select1-sequential" => {
                let statements = if quick { 1_000 } else { 4_000 };
                for _ in 0..rounds(7) {
                    with_each!(options, sequential(&mut report, name, url, statements));
                }
            }
            "postgres/cold-start" => {
                for _ in 0..rounds(5) {
                    with_each!(options, cold_start(&mut report, name, url));
                }
            }
            _ => {
                // Some of what is promised of the first is within what two rounds differ by.
                let (work, count) = match name {
                    "postgres/select1-50x10" => (Work::SelectOne, 15),
                    _ => (Work::Mix(&table), 5),
                };
                for _ in 0..rounds(count) {
                    with_each!(options, loaded(&mut report, name, url, work, time));
                }
            }
        }
    }
    table.drop(url).await?;
    Ok(report)
}
