//! A worker: takes jobs from a queue in PostgreSQL, does them, and keeps the results in MongoDB.
//!
//! Each job is an operation with a scope of its own. A job is taken in a transaction that is
//! committed only when its result is kept, so a job whose worker is killed is taken by the next
//! one. At SIGTERM no job is taken any more, those in hand are done, and everything is closed.

#![allow(clippy::print_stdout, reason = "how it went")]

mod jobs;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use connection_factory::ConfigSources;
use operation_context::{OperationContext, setup_service_container};
use service_container::Container;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::jobs::Outcome;

#[derive(Parser)]
struct Arguments {
    /// How many jobs are done at once.
    #[arg(long, default_value_t = 4)]
    at_once: u32,
    /// End when the queue is empty, instead of waiting for jobs.
    #[arg(long)]
    until_empty: bool,
    /// How long each job takes, in milliseconds.
    #[arg(long, default_value_t = 20)]
    effort: u64,
}

/// How long an idle worker waits before it looks at the queue again.
const IDLE: Duration = Duration::from_millis(100);

#[tokio::main]
async fn main() -> Result<ExitCode> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let arguments = Arguments::parse();
    let variables: Vec<_> = std::env::vars().collect();
    let config = ConfigSources::new()
        .toml(
            "the program",
            "[services.worker.mongodb]\ndatabase = 'worker'",
        )
        .server_urls(&variables)
        .optional_file("worker.toml")
        .variables("POOLS_", variables)
        .load()?;
    let container = setup_service_container(config).await?;
    let worked = work(&arguments, &container).await;
    let disposed = container.dispose().await;
    println!("{} jobs done", worked?);
    match disposed {
        Ok(report) => {
            println!("{report}");
            Ok(ExitCode::SUCCESS)
        }
        Err(unclean) => {
            println!("{unclean}");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Works until a signal, or until nothing is left. Returns how many jobs were done.
async fn work(arguments: &Arguments, container: &Container) -> Result<u64> {
    OperationContext::create("worker", "prepare")
        .container(container)
        .run(jobs::prepare)
        .await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let done = Arc::new(AtomicU64::new(0));
    let workers: Vec<_> = (0..arguments.at_once)
        .map(|_| {
            let (container, stop, done) = (container.clone(), stop.clone(), Arc::clone(&done));
            let (effort, until_empty) = (arguments.effort, arguments.until_empty);
            // The container knows its tasks: it would wait for them before it closes a pool.
            let tasks = container.tasks().clone();
            tasks.spawn(async move {
                while !stop.is_cancelled() {
                    match one(&container, Duration::from_millis(effort)).await {
                        Ok(Outcome::Done) => {
                            done.fetch_add(1, Ordering::Relaxed);
                            continue;
                        }
                        Ok(Outcome::NothingToDo) if until_empty => return,
                        Ok(Outcome::NothingToDo) => {}
                        // The job is still in the queue.
                        Err(error) => tracing::error!("a job was not done: {error:#}"),
                    }
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(IDLE) => {}
                    }
                }
            })
        })
        .collect();
    println!("working");
    let all = async {
        for worker in workers {
            worker.await?;
        }
        Ok::<_, anyhow::Error>(())
    };
    tokio::pin!(all);
    tokio::select! {
        ended = &mut all => ended?,
        _ = terminate.recv() => stop.cancel(),
        _ = interrupt.recv() => stop.cancel(),
    }
    if stop.is_cancelled() {
        all.await?;
    }
    Ok(done.load(Ordering::Relaxed))
}

/// One job, as an operation: whatever becomes of it, its scope is disposed of.
async fn one(container: &Container, effort: Duration) -> Result<Outcome> {
    OperationContext::create("worker", "job")
        .container(container)
        .run(async |context| jobs::next(context, effort).await)
        .await
}
