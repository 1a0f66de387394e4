//! A checkout in pool-core and in its peers, in one run.

mod line;
mod loads;
mod memory;
mod peers;
mod scraped;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use benches::{Report, targets as judged};
use clap::Parser;

use crate::loads::{
    Contention, Measured, cancelled, contended, listened, resized, scaled, uncontended,
};
use crate::peers::{BareQueue, Bb8, Deadpool, FastPool, Floor, Mobc, Peer, PoolCore, Sqlx};

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
    /// Only this subject, in the loads that compare pools: for a profiler.
    #[arg(long)]
    subject: Option<String>,
    /// Measures the memory of one subject in this process and prints it: for `checkout/memory`.
    #[arg(long, hide = true)]
    memory_of: Option<String>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    if let Some(subject) = &options.memory_of {
        runtime.block_on(memory::of(subject))?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = runtime.block_on(measure(&options))?;
    report.print("pool-core");
    let verdicts = judged::judge(targets::TARGETS, &report);
    judged::print(&verdicts);
    if let Some(file) = options.json {
        report.write_with(&file, &verdicts)?;
    }
    Ok(judged::verdict(&verdicts, options.check))
}

/// Has each subject that is asked for do the same, in turn, so that what disturbs the machine
/// disturbs all. Who goes first changes from round to round.
macro_rules! with_each {
    ($options:expr, $round:expr, $($subject:ident => $work:expr),+ $(,)?) => {
        let names = [$($subject::NAME),+];
        for turn in 0..names.len() {
            let name = names[(turn + $round) % names.len()];
            $(if name == $subject::NAME && $options.wants::<$subject>() {
                $work.await;
            })+
        }
    };
}

impl Options {
    fn wants<P: Peer>(&self) -> bool {
        let asked_for = self.subject.as_deref().is_none_or(|name| P::NAME == name);
        // sqlx needs a server.
        asked_for && (P::NAME != Sqlx::NAME || std::env::var_os("POSTGRES_URL").is_some())
    }
}

async fn measure(options: &Options) -> anyhow::Result<Report> {
    let mut report = Report::default();
    let quick = options.quick;
    let only = options.only.as_deref().unwrap_or("");
    let wanted = |name: &str| name.contains(only);
    let rounds = if quick { 3 } else { 15 };
    let ops = if quick { 50_000 } else { 300_000 };
    if std::env::var_os("POSTGRES_URL").is_none() {
        eprintln!("SKIPPED: POSTGRES_URL is not set, so sqlx, which needs a server, is left out");
    }

    if wanted("checkout/uncontended") {
        for round in 0..rounds {
            with_each!(
                options,
                round,
                Floor => uncontended::<Floor>(&mut report, ops),
                PoolCore => uncontended::<PoolCore>(&mut report, ops),
                Deadpool => uncontended::<Deadpool>(&mut report, ops),
                Bb8 => uncontended::<Bb8>(&mut report, ops),
                FastPool => uncontended::<FastPool>(&mut report, ops),
                Mobc => uncontended::<Mobc>(&mut report, ops / 20),
                Sqlx => uncontended::<Sqlx>(&mut report, ops / 200),
            );
        }
    }

    // Many short rounds: what the machine is busy with beside this comes and goes within a second, and
    // then decides the worst hundredth of a long one.
    let rounds = if quick { 3 } else { 25 };
    let time = Duration::from_millis(if quick { 300 } else { 200 });
    let loads = [
        Contention {
            name: "checkout/64x8",
            tasks: 64,
            connections: 8,
            time,
            measured: Measured::Nanoseconds,
        },
        Contention {
            name: "checkout/1000x50",
            tasks: 1_000,
            connections: 50,
            time,
            measured: Measured::Nanoseconds,
        },
        Contention {
            name: "checkout/turns",
            tasks: 1_000,
            connections: 50,
            time: time / 2,
            measured: Measured::Turns,
        },
    ];
    for load in loads.iter().filter(|load| wanted(load.name)) {
        for round in 0..rounds {
            with_each!(
                options,
                round,
                BareQueue => contended::<BareQueue>(&mut report, load),
                PoolCore => contended::<PoolCore>(&mut report, load),
                Deadpool => contended::<Deadpool>(&mut report, load),
                Bb8 => contended::<Bb8>(&mut report, load),
                FastPool => contended::<FastPool>(&mut report, load),
                Mobc => contended::<Mobc>(&mut report, load),
                Sqlx => contended::<Sqlx>(&mut report, load),
            );
        }
    }

    if wanted("checkout/line") {
        for _ in 0..rounds {
            line::passed(&mut report, time)?;
        }
    }

    let rounds = if quick { 4 } else { 12 };
    let time = Duration::from_millis(if quick { 300 } else { 1_000 });
    for round in 0..rounds {
        if wanted("checkout/cancelled") {
            with_each!(
                options,
                round,
                PoolCore => cancelled::<PoolCore>(&mut report, ops / 200),
                Deadpool => cancelled::<Deadpool>(&mut report, ops / 200),
                Bb8 => cancelled::<Bb8>(&mut report, ops / 200),
                FastPool => cancelled::<FastPool>(&mut report, ops / 200),
                Mobc => cancelled::<Mobc>(&mut report, ops / 2_000),
                Sqlx => cancelled::<Sqlx>(&mut report, ops / 2_000),
            );
        }
        if wanted("checkout/scale") {
            scaled(&mut report, 10, 100).await;
            scaled(&mut report, 10_000, 100_000).await;
        }
        if wanted("checkout/listeners") {
            listened(&mut report, ops / 10, round).await;
        }
        if wanted("checkout/scraped") {
            // The machine has two speeds, and a second holds a scrape: more turns say more than long ones.
            for turn in 0..3 {
                scraped::scraped(&mut report, time, round * 3 + turn).await?;
            }
        }
        if wanted("checkout/resize") {
            resized::<PoolCore>(&mut report, time / 2).await;
            resized::<Deadpool>(&mut report, time / 2).await;
        }
    }
    if wanted("checkout/memory") {
        for _ in 0..3 {
            memory::compare(&mut report)?;
        }
    }
    Ok(report)
}
