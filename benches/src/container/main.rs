//! Resolving, scopes and operations: service-container and its peers, in one run.

mod contexts;
mod processors;
mod resolve;
mod scopes;
mod subjects;
mod targets;

use std::path::PathBuf;
use std::process::ExitCode;

use benches::{Report, targets as judged};
use clap::Parser;

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

/// How many threads resolve at once.
const THREADS: [usize; 2] = [1, 2];

/// The metric of an operation that so many threads do at once: what one of them takes for it.
const fn per_op(threads: usize) -> &'static str {
    match threads {
        1 => "ns_per_op",
        _ => "ns_per_op_two_threads",
    }
}

/// The metric of the same two threads with nothing in common: each has a container of its own, and
/// a runtime where there is one. More than that is what sharing a container costs; what that is
/// more than one thread takes, the machine costs, whose processors share what is not seen from here.
const APART: &str = "ns_per_op_two_threads_apart";

fn main() -> anyhow::Result<ExitCode> {
    let Options {
        quick,
        json,
        only,
        check,
    } = Options::parse();
    let mut report = Report::default();
    let wanted = |name: &str| only.as_deref().is_none_or(|only| name.contains(only));
    let rounds = if quick { 3 } else { 45 };
    // Each round goes through all subjects, so that what disturbs the machine disturbs all, and is so
    // short that what disturbs it for a while is in some of them only.
    for _ in 0..rounds {
        for threads in THREADS {
            if wanted("container/resolve") {
                resolve::measure(
                    &mut report,
                    threads,
                    if quick { 300_000 } else { 1_000_000 },
                );
            }
            if wanted("container/scope") {
                scopes::measure(&mut report, threads, if quick { 5_000 } else { 20_000 })?;
            }
        }
    }
    if wanted("container/context") {
        contexts::measure(&mut report, rounds, if quick { 5_000 } else { 20_000 })?;
    }
    report.print("service-container/arc");
    let verdicts = judged::judge(targets::TARGETS, &report);
    judged::print(&verdicts);
    if let Some(file) = json {
        report.write_with(&file, &verdicts)?;
    }
    Ok(judged::verdict(&verdicts, check))
}
