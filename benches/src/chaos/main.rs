//! What befalls a server, and what each pool makes of it.

mod peers;
mod soak;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use benches::Report;
use clap::Parser;
use pool_chaos::{
    Leases, MongoWitness, Outcome, Patience, Place, Postgres, PostgresWitness, Scenario, Stage,
    Subject, Witness, run,
};
use test_servers::{Environment, MongoOptions, PostgresOptions};

use crate::peers::{Deadpool, Driver, Sqlx};
use crate::table::Table;

/// What may pass beyond an acquire timeout.
const SLACK: Duration = Duration::from_millis(50);

/// What our own pools are held to.
const RECOVERS_WITHIN: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Options {
    /// Only this scenario; `all` for each in turn.
    #[arg(long, default_value = "all")]
    scenario: String,
    /// How long each fault lasts.
    #[arg(long, default_value_t = 5.0)]
    fault_seconds: f64,
    /// Go on for so long with this project's pools alone, and watch memory, descriptors and tasks.
    #[arg(long)]
    seconds: Option<u64>,
    /// Where to write the results as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let scenarios = match options.scenario.as_str() {
        "all" => Scenario::ALL.to_vec(),
        name => vec![name.parse().map_err(anyhow::Error::msg)?],
    };
    let fault = Duration::from_secs_f64(options.fault_seconds);
    if let Some(seconds) = options.seconds {
        let time = Duration::from_secs(seconds);
        return runtime.block_on(soak::run(&scenarios, time, fault));
    }
    let table = runtime.block_on(measure(&scenarios, fault))?;
    table.print();
    if let Some(file) = options.json {
        table.report().write(&file)?;
    }
    Ok(table.verdict())
}

async fn measure(scenarios: &[Scenario], fault: Duration) -> Result<Table> {
    let mut table = Table::default();
    let patience = Patience::with_slack(SLACK);
    let mut row = Rows::new();
    let (postgres, mongo) = (postgres_stage().await?, mongo_stage().await?);
    for &scenario in scenarios {
        eprintln!("{scenario}");
        if scenario == Scenario::Failover {
            let (set, uri) = replica_set_stage().await?;
            let ours = Leases::new(&uri, patience).await;
            table.add(
                scenario,
                "pool-mongo",
                one(&set, ours, scenario, &mut row, fault).await,
            );
            let driver = Driver::new(&uri, patience).await?;
            table.add(
                scenario,
                "driver",
                one(&set, driver, scenario, &mut row, fault).await,
            );
            continue;
        }
        let url = postgres.witness.subject_url(postgres.proxy.address());
        let ours = Postgres::new(&url, patience);
        table.add(
            scenario,
            "pool-postgres",
            one(&postgres, ours, scenario, &mut row, fault).await,
        );
        let sqlx = Sqlx::new(&url, patience)?;
        table.add(
            scenario,
            "sqlx",
            one(&postgres, sqlx, scenario, &mut row, fault).await,
        );
        let deadpool = Deadpool::new(&url, patience)?;
        let outcome = one(&postgres, deadpool, scenario, &mut row, fault).await;
        table.add(scenario, "deadpool-postgres", outcome);
        let uri = mongo.witness.subject_uri(mongo.proxy.address(), None);
        let ours = Leases::new(&uri, patience).await;
        table.add(
            scenario,
            "pool-mongo",
            one(&mongo, ours, scenario, &mut row, fault).await,
        );
        let driver = Driver::new(&uri, patience).await?;
        table.add(
            scenario,
            "driver",
            one(&mongo, driver, scenario, &mut row, fault).await,
        );
    }
    Ok(table)
}

/// Rows that nobody has written yet.
pub struct Rows(i64);

impl Rows {
    pub const fn new() -> Self {
        Self(0)
    }

    pub const fn next(&mut self) -> i64 {
        self.0 += 100_000_000;
        self.0
    }
}

/// One subject in one scenario, closed afterwards.
async fn one<S: Subject, W: Witness>(
    stage: &Stage<W>,
    subject: S,
    scenario: Scenario,
    rows: &mut Rows,
    fault: Duration,
) -> Option<Outcome> {
    let subject = Arc::new(subject);
    let patience = Patience::with_slack(SLACK);
    let outcome = run(scenario, stage, &subject, rows.next(), fault, patience).await;
    subject.close(Duration::from_secs(5)).await;
    outcome
}

pub async fn postgres_stage() -> Result<Stage<PostgresWitness>> {
    let started = tokio::task::spawn_blocking(|| {
        let environment = Environment::from_env()?.without_given_servers();
        // What is acknowledged is to outlive the server's process.
        let options = PostgresOptions::default().setting("synchronous_commit", "on");
        anyhow::Ok(options.start(&environment)?)
    });
    let server = started.await?.context("PostgreSQL")?;
    let witness = PostgresWitness::new(server.url());
    Ok(Stage::new(Place::Server(server), witness).await)
}

pub async fn mongo_stage() -> Result<Stage<MongoWitness>> {
    let started = tokio::task::spawn_blocking(|| {
        let environment = Environment::from_env()?.without_given_servers();
        anyhow::Ok(MongoOptions::default().start(&environment)?)
    });
    let server = started.await?.context("MongoDB")?;
    let witness = MongoWitness::new(server.url()).await;
    Ok(Stage::new(Place::Server(server), witness).await)
}

async fn replica_set_stage() -> Result<(Stage<MongoWitness>, String)> {
    let started = tokio::task::spawn_blocking(|| {
        let environment = Environment::from_env()?;
        anyhow::Ok(MongoOptions::default().start_replica_set(3, &environment)?)
    });
    let set = started.await?.context("a replica set")?;
    let url = set.url().to_owned();
    let stage = Stage::new(Place::ReplicaSet(set), MongoWitness::new(&url).await).await;
    let uri = stage.witness.subject_uri(stage.proxy.address(), Some(&url));
    Ok((stage, uri))
}

/// The subjects that are this project's own.
pub const OURS: [&str; 2] = ["pool-postgres", "pool-mongo"];

impl Table {
    /// Success when our own pools did nothing that they must not do.
    fn verdict(&self) -> ExitCode {
        let mut code = ExitCode::SUCCESS;
        for (scenario, subject, outcome) in self.rows() {
            let Some(outcome) = outcome.as_ref().filter(|_| OURS.contains(subject)) else {
                continue;
            };
            for complaint in outcome.complaints(RECOVERS_WITHIN) {
                eprintln!("error: {scenario}, {subject}: {complaint}");
                if let Some(text) = outcome.errors_without_cause.first() {
                    eprintln!("  {text}");
                }
                code = ExitCode::FAILURE;
            }
        }
        code
    }

    fn report(&self) -> Report {
        let mut report = Report::default();
        for (scenario, subject, outcome) in self.rows() {
            let Some(outcome) = outcome else { continue };
            let name = format!("chaos/{scenario}");
            let mut add = |metric, unit, value| report.add(&name, subject, metric, unit, value);
            add("lost_writes", "1", outcome.lost_writes as f64);
            add("wrong_reads", "1", outcome.wrong_reads as f64);
            add("late_acquires", "1", outcome.late_acquires as f64);
            add("leaked_connections", "1", outcome.leaked_connections.into());
            let silent = outcome.errors_without_cause.len() as f64;
            add("errors_without_cause", "1", silent);
            add("successes", "1", outcome.successes as f64);
            add("failures", "1", outcome.failures as f64);
            if let Some(recovery) = outcome.recovery {
                add("recovery_ms", "ms", recovery.as_secs_f64() * 1e3);
            }
            if let Some(attempts) = outcome.attempts_per_s {
                add("connect_attempts_per_s", "1/s", attempts);
            }
        }
        report
    }
}
