//! An HTTP service on a PostgreSQL and a MongoDB pool.
//!
//! `setup` makes a container with the pools and the service's own parts; a middleware gives each
//! request an operation with a scope of its own; handlers take what they need from it. SIGHUP puts
//! another configuration in force, SIGTERM ends the service: nothing new is accepted, what is under
//! way is answered, then everything is closed in order.

#![allow(clippy::print_stdout, reason = "where it listens, and how it ended")]

mod error;
mod operation;
mod prices;
mod routes;
mod shutdown;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use connection_factory::{ConfigSources, ConnectionFactory, FactoryConfig};
use operation_context::register_pools;
use service_container::{Container, LeakPolicy};
use tokio::net::TcpListener;

use crate::prices::Prices;

#[derive(Parser)]
struct Arguments {
    /// Where to listen; port 0 for any that is free.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// A configuration of the pools (TOML, YAML, JSON), over `POSTGRES_URL` and `MONGODB_URL` and
    /// below variables that begin with `POOLS_`. Read again at SIGHUP.
    #[arg(long)]
    config: Option<PathBuf>,
    /// How many seconds requests may still take after a signal.
    #[arg(long, default_value_t = 20.0)]
    grace: f64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(run(&arguments));
    // What a request still does after its grace is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode> {
    let container = setup(configuration(arguments)?)?;
    // Nobody is let in before the servers have let the pools in.
    let outcome = match container.warm_up().await {
        Ok(_) => serve(arguments, &container).await,
        Err(error) => Err(error.into()),
    };
    let disposed = container.dispose().await;
    let within_grace = outcome?;
    match disposed {
        Ok(report) => println!("{report}"),
        Err(unclean) => {
            println!("{unclean}");
            return Ok(ExitCode::FAILURE);
        }
    }
    if within_grace {
        Ok(ExitCode::SUCCESS)
    } else {
        println!("requests were still under way after their grace");
        Ok(ExitCode::FAILURE)
    }
}

/// Defaults, then the servers' URLs, then the file, then variables.
fn configuration(arguments: &Arguments) -> Result<FactoryConfig> {
    let variables: Vec<_> = std::env::vars().collect();
    let mut sources = ConfigSources::new()
        .toml(
            "the program",
            "[services.prices.mongodb]\ndatabase = 'prices'",
        )
        .server_urls(&variables);
    if let Some(file) = &arguments.config {
        sources = sources.file(file);
    }
    Ok(sources.variables("POOLS_", variables).load()?)
}

/// The container: the pools, and what the service itself is made of.
fn setup(config: FactoryConfig) -> Result<Container> {
    let mut builder = Container::builder();
    builder.name("prices");
    builder.on_leak(LeakPolicy::SpawnDispose);
    register_pools(&mut builder, config)?;
    builder.singleton(Prices::create);
    Ok(builder.build()?)
}

/// Serves until a signal. Says whether all requests were answered within their grace.
async fn serve(arguments: &Arguments, container: &Container) -> Result<bool> {
    let listener = TcpListener::bind(arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    // Whoever knows that it listens may send it a signal.
    let signals = shutdown::Signals::new()?;
    let ended = signals.ended();
    println!("listening on {}", listener.local_addr()?);

    let factory = container.get::<ConnectionFactory>().await?;
    container.tasks().spawn(signals.follow({
        let file = arguments.config.is_some();
        let arguments = Arguments {
            config: arguments.config.clone(),
            ..*arguments
        };
        move || {
            let (factory, configured) = (factory.clone(), file.then(|| configuration(&arguments)));
            async move {
                match configured {
                    None => tracing::info!("there is no configuration file to read again"),
                    // The running configuration stays in force if the new one cannot be used.
                    Some(Err(error)) => tracing::error!("not reloaded: {error:#}"),
                    Some(Ok(config)) => match factory.reload(config).await {
                        Ok(report) => tracing::info!(%report, "reloaded"),
                        Err(error) => tracing::error!(%error, "not reloaded"),
                    },
                }
            }
        }
    }));

    let app = routes::app(container);
    let serving = axum::serve(listener, app).with_graceful_shutdown({
        let ended = ended.clone();
        async move { ended.cancelled().await }
    });
    let grace = Duration::from_secs_f64(arguments.grace);
    tokio::select! {
        served = serving => {
            served?;
            Ok(true)
        }
        () = async { ended.cancelled().await; tokio::time::sleep(grace).await } => Ok(false),
    }
}
