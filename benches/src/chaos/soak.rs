//! Scenario after scenario on pools that live through all of them.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use benches::Report;
use pool_chaos::{Leases, MAX_IDLE, Patience, Postgres, Scenario, Stage, Subject, Witness};

use crate::{RECOVERS_WITHIN, Rows, SLACK, mongo_stage, postgres_stage};

/// What resident memory may grow by over the last half, in percent.
const MAX_GROWTH: f64 = 1.0;

/// They end the pool or need other servers; a listener that hangs stays, so that the second would
/// be another.
const ONCE: [Scenario; 3] = [
    Scenario::DrainUnderLoad,
    Scenario::Failover,
    Scenario::SlowConsumer,
];

/// How the process stands when nobody uses the pools.
struct Sample {
    resident_kib: f64,
    descriptors: usize,
    tasks: usize,
}

impl Sample {
    fn take() -> Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let resident = status.lines().find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        });
        Ok(Self {
            resident_kib: resident.unwrap_or(f64::NAN),
            descriptors: std::fs::read_dir("/proc/self/fd")?.count(),
            tasks: tokio::runtime::Handle::current()
                .metrics()
                .num_alive_tasks(),
        })
    }
}

/// Goes through the scenarios again and again until `time` is over.
pub async fn run(
    scenarios: &[Scenario],
    time: Duration,
    fault: Option<Duration>,
    json: Option<&Path>,
) -> Result<ExitCode> {
    let scenarios: Vec<_> = scenarios
        .iter()
        .copied()
        .filter(|scenario| !ONCE.contains(scenario))
        .collect();
    ensure!(
        !scenarios.is_empty(),
        "nothing to soak in: these happen to a pool once: {}",
        ONCE.map(Scenario::name).join(", ")
    );
    let patience = Patience::with_slack(SLACK);
    let (postgres, mongo) = (postgres_stage().await?, mongo_stage().await?);
    let url = postgres.witness.subject_url(postgres.proxy.address());
    let uri = mongo.witness.subject_uri(mongo.proxy.address(), None);
    let pool = Arc::new(Postgres::new(&url, patience));
    let leases = Arc::new(Leases::new(&uri, patience).await);
    let mut rows = Rows::new();
    let mut samples = Vec::new();
    let mut code = ExitCode::SUCCESS;
    let end = Instant::now() + time;
    println!("| round | resident KiB | descriptors | tasks |\n|--:|--:|--:|--:|");
    while Instant::now() < end {
        for &scenario in &scenarios {
            let fault = fault.unwrap_or_else(|| scenario.usual_time());
            let well = [
                round(&postgres, &pool, scenario, rows.next(), fault).await,
                round(&mongo, &leases, scenario, rows.next(), fault).await,
            ];
            if well.contains(&false) {
                code = ExitCode::FAILURE;
            }
        }
        pool.rest();
        leases.rest();
        // What was closed in the background is gone then, what the driver kept, and the runtime's
        // threads for what blocks, which stay for ten seconds.
        tokio::time::sleep(MAX_IDLE + Duration::from_secs(8)).await;
        let sample = Sample::take()?;
        let Sample {
            resident_kib,
            descriptors,
            tasks,
        } = sample;
        samples.push(sample);
        println!(
            "| {} | {resident_kib:.0} | {descriptors} | {tasks} |",
            samples.len()
        );
    }
    pool.close(Duration::from_secs(5)).await;
    leases.close(Duration::from_secs(5)).await;
    let mut report = Report::default();
    for sample in &samples {
        let mut add =
            |metric, unit, value| report.add("chaos/soak", "process", metric, unit, value);
        add("resident", "KiB", sample.resident_kib);
        add("descriptors", "1", sample.descriptors as f64);
        add("tasks", "1", sample.tasks as f64);
    }
    let last_half = &samples[samples.len() / 2..];
    if let (Some(first), Some(last)) = (last_half.first(), last_half.last()) {
        let growth = (slope(last_half) * (last_half.len() - 1) as f64) / first.resident_kib * 100.0;
        println!(
            "\nlast half, {} rounds: resident memory {growth:+.2} %, descriptors {} to {}, tasks {} to {}",
            last_half.len(),
            first.descriptors,
            last.descriptors,
            first.tasks,
            last.tasks,
        );
        let flat = growth <= MAX_GROWTH
            && first.descriptors == last.descriptors
            && first.tasks == last.tasks;
        let whole = "last half";
        let mut add = |metric, unit, value| report.add("chaos/soak", whole, metric, unit, value);
        add("resident_growth", "%", growth);
        add("descriptors_first", "1", first.descriptors as f64);
        add("descriptors_last", "1", last.descriptors as f64);
        add("tasks_first", "1", first.tasks as f64);
        add("tasks_last", "1", last.tasks as f64);
        if !flat {
            eprintln!("error: memory, descriptors or tasks are not flat over the last half");
            code = ExitCode::FAILURE;
        }
    }
    if let Some(file) = json {
        report.write(file)?;
    }
    Ok(code)
}

async fn round<S: Subject, W: Witness>(
    stage: &Stage<W>,
    subject: &Arc<S>,
    scenario: Scenario,
    first: i64,
    fault: Duration,
) -> bool {
    let patience = Patience::with_slack(SLACK);
    let outcome = pool_chaos::run(scenario, stage, subject, first, fault, patience).await;
    let complaints = outcome.map(|outcome| outcome.complaints(RECOVERS_WITHIN));
    let complaints = complaints.unwrap_or_default();
    for complaint in &complaints {
        eprintln!("error: {scenario}, {}: {complaint}", subject.name());
    }
    complaints.is_empty()
}

/// Growth of resident memory from one sample to the next, by least squares.
fn slope(samples: &[Sample]) -> f64 {
    let n = samples.len() as f64;
    let mean_x = (n - 1.0) / 2.0;
    let mean_y = samples
        .iter()
        .map(|sample| sample.resident_kib)
        .sum::<f64>()
        / n;
    let (mut above, mut below) = (0.0, 0.0);
    for (x, sample) in samples.iter().enumerate() {
        let x = x as f64 - mean_x;
        above += x * (sample.resident_kib - mean_y);
        below += x * x;
    }
    if below > 0.0 { above / below } else { 0.0 }
}
