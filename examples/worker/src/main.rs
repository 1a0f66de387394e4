//! A worker: takes jobs from a queue in PostgreSQL, does them, and keeps the results in MongoDB.
//!
//! Each job is an operation with a scope of its own. A job is taken in a transaction that is
//! committed only when its result is kept, so a job whose worker is killed is taken by the next
//! one. At SIGTERM no job is taken any more, those in hand are done, and everything is closed. A job
//! that takes longer than its grace is given up, and is back in the queue.

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
use tokio::task::JoinHandle;
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
    /// How many seconds jobs in hand may still take after a signal.
    #[arg(long, default_value_t = 20.0)]
    grace: f64,
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
    let Worked { done, given_up } = worked?;
    println!("{done} jobs done");
    match disposed {
        Ok(report) => println!("{report}"),
        Err(unclean) => {
            println!("{unclean}");
            return Ok(ExitCode::FAILURE);
        }
    }
    if given_up {
        println!("jobs were still in hand after their grace: they are back in the queue");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// What working came to.
struct Worked {
    done: u64,
    /// Whether jobs were in hand when their grace was over.
    given_up: bool,
}

/// Works until a signal, or until nothing is left.
async fn work(arguments: &Arguments, container: &Container) -> Result<Worked> {
    OperationContext::create("worker", "prepare")
        .container(container)
        .run(jobs::prepare)
        .await?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = CancellationToken::new();
    let done = Arc::new(AtomicU64::new(0));
    let mut workers: Vec<_> = (0..arguments.at_once)
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
    let mut given_up = false;
    tokio::select! {
        ended = all(&mut workers) => ended?,
        _ = terminate.recv() => stop.cancel(),
        _ = interrupt.recv() => stop.cancel(),
    }
    if stop.is_cancelled() {
        let grace = Duration::from_secs_f64(arguments.grace);
        match tokio::time::timeout(grace, all(&mut workers)).await {
            Ok(ended) => ended?,
            Err(_) => {
                given_up = true;
                // Their transactions go with them, and their jobs stay in the queue.
                workers.iter().for_each(JoinHandle::abort);
            }
        }
    }
    Ok(Worked {
        done: done.load(Ordering::Relaxed),
        given_up,
    })
}

/// Waits for all of them; can be dropped and called again.
async fn all(workers: &mut Vec<JoinHandle<()>>) -> Result<()> {
    while let Some(worker) = workers.last_mut() {
        worker.await?;
        workers.pop();
    }
    Ok(())
}

/// One job, as an operation: whatever becomes of it, its scope is disposed of.
async fn one(container: &Container, effort: Duration) -> Result<Outcome> {
    OperationContext::create("worker", "job")
        .container(container)
        .run(async |context| jobs::next(context, effort).await)
        .await
}
