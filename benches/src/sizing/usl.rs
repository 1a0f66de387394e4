//! The server's own scalability: how throughput follows the number of connections, and its knee.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use benches::Report;
use pool_sim::{Fit, Scalability};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::meter::Meter;
use crate::subjects::{Kind, Subject};

/// How many connections are tried.
const COUNTS: [u32; 10] = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64];

/// The subject in reports.
const SERVER: &str = "server";

/// Measures with as many callers as connections, and fits the law.
pub async fn measure<S: Subject>(
    server: &S::Server,
    report: &mut Report,
    rounds: u32,
    lasts: Duration,
) -> Result<()> {
    let benchmark = format!("sizing/{}/usl", S::DATABASE);
    eprintln!("{benchmark}");
    let meter = Arc::new(Meter::default());
    let subject = Arc::new(S::open(server, Kind::FixedMin, "sizing-usl", &meter).await?);
    let mut measured: Vec<(u32, Vec<f64>)> = COUNTS.map(|n| (n, Vec::new())).into();
    for _ in 0..rounds {
        for (n, throughputs) in &mut measured {
            subject.resize(*n).await?;
            throughputs.push(throughput(&subject, *n, lasts).await?);
        }
    }
    subject.close().await;
    // Every round counts, so that the fit knows how far they are apart.
    let all: Vec<_> = measured
        .iter()
        .flat_map(|(n, throughputs)| throughputs.iter().map(|x| (f64::from(*n), *x)))
        .collect();
    println!("\n{benchmark}: callers, each with a connection, and operations per second");
    let mut best = (0, 0.0);
    for (n, throughputs) in &mut measured {
        throughputs.sort_by(f64::total_cmp);
        let median = throughputs[throughputs.len() / 2];
        if median > best.1 {
            best = (*n, median);
        }
        println!("  {n:>3} {median:>9.0}");
    }
    let mut add = |metric, unit, value| report.add(&benchmark, SERVER, metric, unit, value);
    add("measured_best", "connections", f64::from(best.0));
    add("best_ops_per_s", "1/s", best.1);
    match Scalability::fit(&all) {
        Some(fit) => {
            let Fit { gamma, law, r2, .. } = fit;
            add("gamma", "1/s", gamma);
            add("sigma", "1", law.sigma);
            add("kappa", "1", law.kappa);
            add("r2", "1", r2);
            if law.knee().is_finite() {
                add("knee", "connections", law.knee());
            }
            println!("  {}", in_words(&fit));
        }
        None => println!("  no law fits these measurements"),
    }
    Ok(())
}

/// What the law says, and where it says nothing.
fn in_words(fit: &Fit) -> String {
    let most = COUNTS[COUNTS.len() - 1];
    let law = format!(
        "γ {:.0}/s, σ {:.4}, κ {:.6}, R² {:.3}",
        fit.gamma, fit.law.sigma, fit.law.kappa, fit.r2
    );
    let knee = fit.law.knee();
    if knee <= most.into() {
        let highest = fit.throughput(knee);
        format!("{law}: the knee is at {knee:.0} connections, {highest:.0}/s")
    } else {
        format!("{law}: no knee up to {most} connections")
    }
}

/// Operations per second of `n` callers that do not pause.
async fn throughput<S: Subject>(subject: &Arc<S>, n: u32, lasts: Duration) -> Result<f64> {
    let stop = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..n {
        let (subject, stop) = (Arc::clone(subject), Arc::clone(&stop));
        callers.spawn(async move {
            let mut done = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                subject.contend().await?;
                done += 1;
            }
            anyhow::Ok(done)
        });
    }
    sleep(lasts).await;
    stop.store(true, Ordering::Relaxed);
    let mut done = 0;
    while let Some(ended) = callers.join_next().await {
        done += ended??;
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}
