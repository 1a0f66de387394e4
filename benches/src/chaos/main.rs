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
    Leases, MongoWitness, Patience, Place, Postgres, PostgresWitness, Scenario, Stage, Subject,
    Witness, left_after_the_end, run,
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
    /// How long each fault lasts, in seconds. Without it 10 for `freeze`, 15 for `blackhole`, 5 for
    /// the others.
    #[arg(long, value_parser = seconds)]
    fault_seconds: Option<Duration>,
    /// Go on for so long with this project's pools alone, and watch memory, descriptors and tasks.
    #[arg(long, value_parser = seconds)]
    seconds: Option<Duration>,
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
    let fault = options.fault_seconds;
    if let Some(time) = options.seconds {
        let json = options.json.as_deref();
        return runtime.block_on(soak::run(&scenarios, time, fault, json));
    }
    let table = runtime.block_on(measure(&scenarios, fault))?;
    table.print();
    if let Some(file) = options.json {
        table.report().write(&file)?;
    }
    Ok(table.verdict())
}

/// A time between a tenth of a second and a day.
fn seconds(text: &str) -> Result<Duration, String> {
    let wanted = "want seconds between 0.1 and 86400";
    let seconds: f64 = text.parse().map_err(|_| wanted.to_owned())?;
    if (0.1..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(wanted.to_owned())
    }
}

async fn measure(scenarios: &[Scenario], fault: Option<Duration>) -> Result<Table> {
    let patience = Patience::with_slack(SLACK);
    let mut trial = Trial {
        table: Table::default(),
        rows: Rows::new(),
        fault,
    };
    let (postgres, mongo) = (postgres_stage().await?, mongo_stage().await?);
    for &scenario in scenarios {
        eprintln!("{scenario}");
        if scenario == Scenario::Failover {
            fail_over(&mut trial, patience).await?;
            continue;
        }
        let url = postgres.witness.subject_url(postgres.proxy.address());
        let ours = Postgres::new(&url, patience);
        trial.of(&postgres, ours, scenario).await;
        trial
            .of(&postgres, Sqlx::new(&url, patience)?, scenario)
            .await;
        trial
            .of(&postgres, Deadpool::new(&url, patience)?, scenario)
            .await;
        let uri = mongo.witness.subject_uri(mongo.proxy.address(), None);
        let ours = Leases::new(&uri, patience).await;
        trial.of(&mongo, ours, scenario).await;
        let driver = Driver::new(&uri, patience).await?;
        trial.of(&mongo, driver, scenario).await;
    }
    Ok(trial.table)
}

/// Each subject with servers of its own: who was promoted once is not what it was before.
async fn fail_over(trial: &mut Trial, patience: Patience) -> Result<()> {
    let scenario = Scenario::Failover;
    let (stage, url) = pair_stage().await?;
    trial
        .of(&stage, Postgres::new(&url, patience), scenario)
        .await;
    let (stage, url) = pair_stage().await?;
    trial.of(&stage, Sqlx::new(&url, patience)?, scenario).await;
    let (stage, url) = pair_stage().await?;
    trial
        .of(&stage, Deadpool::new(&url, patience)?, scenario)
        .await;
    drop(stage);
    let (set, uri) = replica_set_stage().await?;
    trial
        .of(&set, Leases::new(&uri, patience).await, scenario)
        .await;
    trial
        .of(&set, Driver::new(&uri, patience).await?, scenario)
        .await;
    Ok(())
}

/// What goes on from one subject to the next.
struct Trial {
    table: Table,
    rows: Rows,
    /// How long each fault lasts; `None` for as long as is usual.
    fault: Option<Duration>,
}

impl Trial {
    /// One subject in one scenario, closed afterwards.
    async fn of<S: Subject, W: Witness>(
        &mut self,
        stage: &Stage<W>,
        subject: S,
        scenario: Scenario,
    ) {
        let subject = Arc::new(subject);
        let patience = Patience::with_slack(SLACK);
        let time = self.fault.unwrap_or_else(|| scenario.usual_time());
        let first = self.rows.next();
        let mut outcome = run(scenario, stage, &subject, first, time, patience).await;
        subject.close(Duration::from_secs(5)).await;
        if let Some(outcome) = &mut outcome {
            outcome.leaked_connections += left_after_the_end(stage).await;
        }
        // What a subject has left behind is not the next one's.
        stage.proxy.cut_all().await;
        left_after_the_end(stage).await;
        self.table.add(scenario, subject.name(), outcome);
    }
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
        // So few that somebody can take all of them.
        let options = MongoOptions::default().max_connections(100);
        anyhow::Ok(options.start(&environment)?)
    });
    let server = started.await?.context("MongoDB")?;
    let witness = MongoWitness::new(server.url()).await;
    Ok(Stage::new(Place::Server(server), witness).await)
}

async fn pair_stage() -> Result<(Stage<PostgresWitness>, String)> {
    let started = tokio::task::spawn_blocking(|| {
        let environment = Environment::from_env()?.without_given_servers();
        let options = PostgresOptions::default().setting("synchronous_commit", "on");
        let primary = options.start(&environment)?;
        let replica = options.start_replica(&primary, &environment)?;
        anyhow::Ok((primary, replica))
    });
    let (primary, replica) = started.await?.context("a primary and its replica")?;
    let stage = PostgresWitness::stage_of_pair(primary, replica).await;
    let url = stage.witness.subject_url(stage.proxy.address());
    Ok((stage, url))
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
