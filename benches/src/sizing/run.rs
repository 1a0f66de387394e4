//! One subject under one load, and what came of it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use benches::Report;
use pool_core::{PoolEvent, PoolEvents};
use pool_sim::measured::{connection_seconds, p99_ms, reversals, time_to_release, time_to_scale};
use pool_sim::plot::plot;
use tokio_util::sync::CancellationToken;

use crate::load::{Load, drive};
use crate::meter::Meter;
use crate::subjects::{HOLD, Kind, MIN, Subject};
use crate::witness::{Sample, by_leases, by_server, curve, watch};

/// A caller that waits for longer is late: half of what an operation takes.
const LATE: Duration = HOLD.checked_div(2).expect("two is not zero");

/// A reversal of the server's count by so many is a flap.
const FLAP: u32 = 3;

/// What the server is watched for before a run begins.
const AHEAD: Duration = Duration::from_millis(300);

/// What one run has shown.
pub struct Outcome {
    /// By metric and unit, those that count by their median over the rounds.
    figures: Vec<(&'static str, &'static str, f64)>,
    /// Those of which the worst counts.
    worst: [(&'static str, &'static str, f64); 3],
}

/// Runs it, and draws it into `folder`.
pub async fn run<S: Subject>(
    server: &Arc<S::Server>,
    kind: Kind,
    load: &Load,
    round: u32,
    folder: Option<&Path>,
) -> Result<Outcome> {
    let (database, name) = (S::DATABASE, kind.name::<S>());
    eprintln!("sizing/{database}/{} {name}", load.name);
    // A name of its own, so that nobody's last connections count as its first.
    let application = format!("sizing-{}-{name}-{round}", load.name);
    let meter = Arc::new(Meter::default());
    let subject = S::open(server, kind, &application, &meter)
        .await
        .with_context(|| format!("could not open {name}"))?;
    let subject = Arc::new(subject);
    let moves = subject.events().map(|events| tokio::spawn(follow(events)));
    let stop = CancellationToken::new();
    let witness = tokio::spawn(watch(
        Arc::clone(&subject),
        Arc::clone(server),
        application,
        Arc::clone(&meter),
        stop.clone(),
    ));
    let began = Instant::now() + AHEAD;
    drive(&subject, &meter, load, began).await?;
    stop.cancel();
    let samples = witness.await?.context("the server was not counted")?;
    subject.close().await;
    drop(subject);
    let moves = match moves {
        Some(moves) => moves.await?,
        None => Vec::new(),
    };
    if let (_, Some(first)) = meter.failures() {
        eprintln!("  first error: {first}");
    }
    if let Some(folder) = folder {
        let file = folder.join(format!("{database}-{}-{name}.svg", load.name));
        let title = format!("{database}, {}: {name}", load.name);
        let lasts = load.lasts().as_secs_f64();
        plot(&title, lasts, &curve(&samples, began), &file)?;
    }
    Ok(Outcome::of::<S>(load, began, &meter, &samples, &moves))
}

/// A policy's move: when, from and to.
type Move = (Instant, u32, u32);

/// Every move of a pool's target, until the pool is gone.
async fn follow(mut events: PoolEvents) -> Vec<Move> {
    let mut moves = Vec::new();
    while let Some(event) = events.next().await {
        match event {
            PoolEvent::TargetChanged { from, to, reason } => {
                eprintln!("  {reason}");
                moves.push((Instant::now(), from, to));
            }
            PoolEvent::Closed => break,
            _ => {}
        }
    }
    moves
}

impl Outcome {
    fn of<S: Subject>(
        load: &Load,
        began: Instant,
        meter: &Meter,
        samples: &[Sample],
        moves: &[Move],
    ) -> Self {
        let end = began + load.lasts();
        let (from, until) = load.judged();
        let (from, until) = (began + from, began + until);
        let mut figures = Vec::new();
        let mut add = |metric, unit, value: Option<f64>| {
            figures.extend(value.map(|value| (metric, unit, value)));
        };
        let beyond = meter.beyond(from, until);
        add("wait_p99_ms", "ms", p99_ms(&meter.waits(from, until)));
        add("over_hold_p99_ms", "ms", p99_ms(&beyond));
        let connections = connection_seconds(by_server(samples), began, end);
        add("connection_seconds", "s", Some(connections));
        let mut flaps = 0;
        if let Some((rise, fall)) = load.plateau {
            let (rise, fall) = (began + rise, began + fall);
            let ms = |found: Option<Duration>| found.map(|found| found.as_secs_f64() * 1e3);
            let all = if S::TELLS_ALL_WAITS {
                meter.waits(rise, fall)
            } else {
                meter.beyond(rise, fall)
            };
            let scaled = time_to_scale(&all, LATE, rise, fall);
            add("time_to_scale_ms", "ms", ms(scaled));
            let server = ms(time_to_release(by_server(samples), fall, MIN));
            if by_leases(samples).next().is_some() {
                let leases = time_to_release(by_leases(samples), fall, MIN);
                add("time_to_release_ms", "ms", ms(leases));
                add("server_time_to_release_ms", "ms", server);
            } else {
                add("time_to_release_ms", "ms", server);
            }
            let plateau = samples
                .iter()
                .filter(|sample| (rise..fall).contains(&sample.at));
            let targets = moves.iter().filter(|(at, ..)| (rise..fall).contains(at));
            flaps = reversals(plateau.map(|sample| sample.server), FLAP)
                + reversals(targets.flat_map(|&(_, from, to)| [from, to]), 1);
        }
        let judged = (until - from).as_secs_f64();
        add("ops_per_s", "1/s", Some(beyond.len() as f64 / judged));
        let during = samples.iter().filter(|sample| sample.at >= began);
        let peak = during.map(|sample| sample.server).max().unwrap_or(0);
        let (errors, _) = meter.failures();
        Self {
            figures,
            worst: [
                ("flaps", "1", flaps.into()),
                ("errors", "1", errors.into()),
                ("server_connections_peak", "1", peak.into()),
            ],
        }
    }

    /// Adds all rounds of one subject to the report.
    pub fn report(rounds: &[Self], report: &mut Report, benchmark: &str, subject: &str) {
        for round in rounds {
            for &(metric, unit, value) in &round.figures {
                report.add(benchmark, subject, metric, unit, value);
            }
        }
        let Some(first) = rounds.first() else { return };
        for (at, &(metric, unit, value)) in first.worst.iter().enumerate() {
            let worst = rounds.iter().map(|round| round.worst[at].2);
            report.add(
                benchmark,
                subject,
                metric,
                unit,
                worst.fold(value, f64::max),
            );
        }
    }
}
