//! One run, from the first connection to the last.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use connection_factory::{ConnectionFactory, Database};
use operation_context::{OperationContext, setup_service_container};
use pool_core::{DynamicPoolConfig, DynamicSizing as _, EventHandlers};
use service_container::Container;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::arguments::{Arguments, RunNames};
use crate::live::{Heard, Live, ShownPools, listen};
use crate::load_profile::{LoadProfile, Phase};
use crate::output::say;
use crate::page::{self, Picture};
use crate::report::Report;
use crate::serve::{self, Load, Market, Served};
use crate::subject::{PerSubject, SUBJECTS};
use crate::truth::Observer;
use crate::{data, history, quotes};

/// How often the load is adjusted.
const STEP: Duration = Duration::from_millis(100);

/// A run that lasts this long ends with a quiet time in which the servers' own counts fall as well.
const SOCKETS_FOLLOW: Duration = Duration::from_secs(15);

/// The exit code of a run that was told to end early, by a signal or by a reader that went away, and has
/// seen nothing wrong until then.
const STOPPED: u8 = 130;

const LOAD: LoadProfile = LoadProfile {
    quiet: 2,
    steady: 20,
    burst: 56,
};

/// Runs the service; the exit code says whether everything was as it should be.
pub(crate) async fn run(arguments: &Arguments) -> Result<ExitCode> {
    arguments.check_outputs()?;
    let names = RunNames::new();
    let stop = stop_signal()?;
    say(
        &stop,
        format_args!("schema and database: {}", names.database),
    )?;
    let config = arguments.config(&names)?;

    // Set up the service container with the connection pools.
    let set_up = async {
        let container = setup_service_container(config.clone()).await?;
        let observer = Observer::connect(&config, &names).await?;
        anyhow::Ok((container, observer))
    };
    let (container, observer) = tokio::select! {
        biased;
        () = stop.cancelled() => {
            say(&stop, "stopped before anything was begun")?;
            return Ok(ExitCode::from(STOPPED));
        }
        set_up = set_up => set_up?,
    };

    let mut report = Report::default();
    let observer = Arc::new(observer);
    let worked = work(arguments, &names, &container, &observer, &stop, &mut report).await;
    // Who goes away while the servers are left, or does not read the report, has stopped nothing.
    let stopped = stop.is_cancelled();
    if let Err(error) = worked {
        report.fail(crate::explain(&error));
    }
    for failed in clean_up(&container, &names).await {
        report.fail(failed);
    }

    // Clean up when done.
    match container.dispose().await {
        Ok(ended) => say(&stop, ended)?,
        Err(unclean) => report.fail(unclean.to_string()),
    }
    for database in SUBJECTS {
        match observer.wait_until_gone(database).await {
            Ok(left) => {
                report.count(database, "server_connections_left", left.into(), 1);
                if left > 0 {
                    report.fail(format!("{left} connections are left at {database}"));
                }
            }
            Err(error) => report.fail(crate::explain(&error)),
        }
    }
    observer.close().await;

    report.print(&stop)?;
    if let Some(path) = &arguments.json {
        if stopped {
            let path = path.display();
            say(&stop, format_args!("stopped early: {path} is not written"))?;
        } else {
            report.write(path)?;
            say(&stop, format_args!("results: {}", path.display()))?;
        }
    }
    Ok(if report.is_good() && stopped {
        ExitCode::from(STOPPED)
    } else if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Loads, checks, serves and measures.
async fn work(
    arguments: &Arguments,
    names: &RunNames,
    container: &Container,
    observer: &Arc<Observer>,
    stop: &CancellationToken,
    report: &mut Report,
) -> Result<()> {
    let factory = container.get::<ConnectionFactory>().await?;
    let heard = Heard::default();
    let listening = tokio::spawn(listen(factory.subscribe(), Arc::clone(&heard)));
    let watching = {
        let stop = CancellationToken::new();
        let watching = tokio::spawn(Arc::clone(observer).watch(stop.clone()));
        (stop, watching)
    };

    let outcome = async {
        let market = load(container, names, stop, report).await?;
        let served = Arc::new(Served::default());
        serve(
            arguments, container, observer, &heard, stop, &market, &served, report,
        )
        .await?;
        check_writes(container, &served, report).await
    }
    .await;

    watching.0.cancel();
    watching.1.await.context("the observer ended early")??;
    listening.abort();
    for database in SUBJECTS {
        let counts = observer.counts(database);
        let peak = counts.peak().into();
        report.count(database, "server_connections_peak", peak, counts.samples());
    }
    outcome
}

/// Loads the market data and reads every row of it back.
async fn load(
    container: &Container,
    names: &RunNames,
    stop: &CancellationToken,
    report: &mut Report,
) -> Result<Arc<Market>> {
    let market = Market {
        history: data::history()?,
        quotes: data::quotes()?,
    };
    let context = OperationContext::create("market", "load").container(container);
    let loaded = async {
        history::create(&context, &names.schema).await?;
        history::load(&context, &market.history).await?;
        quotes::load(&context, &market.quotes).await?;
        let history = history::verify(&context, &market.history).await?;
        let quotes = quotes::verify(&context, &market.quotes).await?;
        anyhow::Ok((history, quotes))
    };
    let loaded = loaded.await;
    context.dispose().await?;
    let (history, quotes) = loaded.context("the market data could not be loaded")?;
    say(
        stop,
        format_args!("loaded and read back {history} trading days and {quotes} quotes"),
    )?;
    report.count(Database::Postgresql, "rows_verified", history, history);
    report.count(Database::Mongodb, "rows_verified", quotes, quotes);
    Ok(Arc::new(market))
}

/// Serves the load while showing what happens, and notes what came of it.
#[allow(clippy::too_many_arguments, reason = "all of a run meets here, once")]
async fn serve(
    arguments: &Arguments,
    container: &Container,
    observer: &Arc<Observer>,
    heard: &Heard,
    stop: &CancellationToken,
    market: &Arc<Market>,
    served: &Arc<Served>,
    report: &mut Report,
) -> Result<()> {
    let pools = ShownPools {
        postgres: container
            .get::<pool_postgres::PostgresPool>()
            .await?
            .as_ref()
            .clone(),
        mongodb: container
            .get::<pool_mongo::MongoPool>()
            .await?
            .as_ref()
            .clone(),
    };
    // Listen to events.
    pools.postgres.add_listener(log_errors("postgresql"));
    pools.mongodb.add_listener(log_errors("mongodb"));
    let page = page::open(&arguments.listen, &pools, stop).await?;
    let mut picture = Picture::new(arguments.screenshot.clone(), page.address());
    let mut sizes = Sizes::of(&pools);
    let mut live = Live::new(
        arguments.headless,
        pools.clone(),
        Arc::clone(served),
        Arc::clone(observer),
        Arc::clone(heard),
    );

    let total = arguments.load_time();
    let began = Instant::now();
    let mut load = Load {
        phase: Phase::Rise,
        concurrency: LOAD.quiet,
        over: false,
    };
    let (sender, receiver) = watch::channel(load);
    let mut clients = serve::start(LOAD.burst, container, market, served, &receiver);
    let mut steps = tokio::time::interval(STEP);
    let mut shown = 0;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = steps.tick() => {}
        }
        let elapsed = began.elapsed();
        if elapsed >= total {
            break;
        }
        let (phase, concurrency) = LOAD.at(elapsed.as_secs_f64() / total.as_secs_f64());
        if phase == Phase::Burst {
            picture.take();
        }
        if phase != load.phase {
            sizes.follow(phase, &pools)?;
        }
        load = Load {
            phase,
            concurrency,
            over: false,
        };
        sender.send_replace(load);
        if elapsed.as_secs() > shown {
            shown = elapsed.as_secs();
            live.show(elapsed, total, load, stop)?;
        }
    }
    if stop.is_cancelled() {
        say(stop, format_args!("stopped after {:.1?}", began.elapsed()))?;
    }
    let after_peak = PerSubject::new(|database| pools.counts(database));
    let server_after = PerSubject::new(|database| observer.counts(database).now());
    sender.send_replace(Load { over: true, ..load });
    while let Some(ended) = clients.join_next().await {
        ended.context("a client ended by a panic")?;
    }
    let lasted = began.elapsed();
    picture.finish(stop).await?;
    page.stop().await;

    for database in SUBJECTS {
        // Get the current metrics.
        let metrics = match database {
            Database::Mongodb => pools.mongodb.pool_metrics(),
            _ => pools.postgres.pool_metrics(),
        };
        let operations = served.operations(database);
        let errors = served.errors(database);
        let maximum = *sizes.maximum.of(database);
        let server = observer.counts(database);
        let allowed = observer.allowed(database, maximum);
        let n = operations + errors;
        #[allow(clippy::cast_precision_loss, reason = "for people")]
        let per_second = operations as f64 / lasted.as_secs_f64();
        report.count(database, "operations", operations, n);
        report.add(database, "operations_per_second", "1/s", per_second, n);
        report.count(database, "errors", errors, n);
        report.count(database, "connections_maximum", maximum.into(), 1);
        let peak = metrics.counters.peak_total;
        report.count(database, "connections_peak", peak.into(), 1);
        let after = *after_peak.of(database);
        let server_after = *server_after.of(database);
        report.count(database, "connections_after_peak", after.total.into(), 1);
        report.count(
            database,
            "server_connections_after_peak",
            server_after.into(),
            1,
        );
        report.count(database, "server_connections_allowed", allowed.into(), 1);
        let wait = metrics.wait;
        report.add(database, "wait_p99_ms", "ms", wait.p99, wait.count);
        if let Some(first) = served.first_error(database) {
            report.fail(format!("{errors} errors at {database}, the first: {first}"));
        }
        if server.peak() == 0 || server.peak() > allowed {
            report.fail(format!(
                "{database} counted {} connections at most: want between 1 and {allowed}",
                server.peak()
            ));
        }
        if stop.is_cancelled() {
            continue;
        }
        if operations == 0 {
            report.fail(format!("no operation on {database} was served"));
        }
        if after.total >= peak || after.total > after.max {
            let (total, max) = (after.total, after.max);
            report.fail(format!(
                "{database} has {total} connections after a peak of {peak}: want fewer, and at \
                 most {max}"
            ));
        }
        // The driver closes a socket some seconds after its last use.
        if lasted >= SOCKETS_FOLLOW && server_after >= server.peak() {
            let peak = server.peak();
            report.fail(format!(
                "{database} counts {server_after} connections after a peak of {peak}: want fewer"
            ));
        }
    }
    Ok(())
}

/// Counts what was written: as much as was answered with success.
async fn check_writes(container: &Container, served: &Served, report: &mut Report) -> Result<()> {
    use std::sync::atomic::Ordering::Relaxed;

    let context = OperationContext::create("market", "check_writes").container(container);
    let counted = async {
        let written = history::written(&context).await?;
        let ticks = quotes::written(&context).await?;
        anyhow::Ok((written, ticks))
    };
    let counted = counted.await;
    context.dispose().await?;
    let (written, ticks) = counted.context("what was written could not be counted")?;
    let wanted = history::Written {
        notes: served.notes.load(Relaxed).try_into()?,
        comparisons: served.comparisons.load(Relaxed).try_into()?,
    };
    if written != wanted {
        report.fail(format!("postgresql holds {written:?}: want {wanted:?}"));
    }
    let wanted = served.ticks.load(Relaxed);
    if ticks != wanted {
        report.fail(format!("mongodb holds {ticks} ticks: want {wanted}"));
    }
    let rows = (written.notes + written.comparisons).try_into()?;
    report.count(Database::Postgresql, "writes_verified", rows, rows);
    report.count(Database::Mongodb, "writes_verified", ticks, ticks);
    Ok(())
}

/// Drops what the run created; says what could not be dropped.
async fn clean_up(container: &Container, names: &RunNames) -> Vec<String> {
    let context = OperationContext::create("market", "clean_up").container(container);
    let dropped = [
        history::drop_all(&context, &names.schema).await,
        quotes::drop_all(&context).await,
    ];
    let disposed = context.dispose().await.err();
    dropped
        .into_iter()
        .filter_map(Result::err)
        .map(|error| crate::explain(&error))
        .chain(disposed.map(|error| error.to_string()))
        .collect()
}

/// The sizes of the pools: larger while the load bursts.
struct Sizes {
    usual: PerSubject<Option<DynamicPoolConfig>>,
    /// The largest maximum that was in force.
    maximum: PerSubject<u32>,
}

impl Sizes {
    fn of(pools: &ShownPools) -> Self {
        Self {
            usual: PerSubject::new(|database| match database {
                Database::Mongodb => pools.mongodb.dynamic_pool_config(),
                _ => pools.postgres.dynamic_pool_config(),
            }),
            maximum: PerSubject::new(|database| pools.counts(database).max),
        }
    }

    /// Makes room for a burst, and takes it back.
    fn follow(&mut self, phase: Phase, pools: &ShownPools) -> Result<()> {
        for database in SUBJECTS {
            let Some(usual) = *self.usual.of(database) else {
                continue;
            };
            let max_size = match phase {
                Phase::Burst => usual.max_size + usual.max_size / 2,
                Phase::Fall => usual.max_size,
                Phase::Rise | Phase::Steady | Phase::Quiet => continue,
            };
            let dynamic_config = DynamicPoolConfig { max_size, ..usual };
            match database {
                Database::Mongodb => pools.mongodb.set_dynamic_pool_config(dynamic_config)?,
                _ => pools.postgres.set_dynamic_pool_config(dynamic_config)?,
            }
            let maximum = self.maximum.of_mut(database);
            *maximum = max_size.max(*maximum);
        }
        Ok(())
    }
}

fn log_errors(database: &'static str) -> EventHandlers {
    EventHandlers::new().on_error(move |error| tracing::warn!(database, %error, "pool error"))
}

/// Cancelled by Ctrl-C, SIGTERM and the end of the terminal.
fn stop_signal() -> Result<CancellationToken> {
    use tokio::signal::unix::{SignalKind, signal};

    let stop = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let told = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
        told.cancel();
    });
    Ok(stop)
}
