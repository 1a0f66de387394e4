//! What the server itself counts while a subject is under load.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use pool_sim::Point;
use pool_sim::measured::Count;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::meter::Meter;
use crate::subjects::{Server, Subject};

/// A moment of a run.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    pub at: Instant,
    /// Connections by the server's count.
    pub server: u32,
    /// Leases, of a subject that lends those.
    pub leases: Option<u32>,
    pub holding: i64,
    pub waiting: i64,
}

/// Counts until `stop`, over a connection of its own.
pub async fn watch<S: Subject>(
    subject: Arc<S>,
    server: Arc<S::Server>,
    application: String,
    meter: Arc<Meter>,
    stop: CancellationToken,
) -> Result<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut ticks = interval(S::Server::PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let count = server.count(&application).await?;
        let (holding, waiting) = meter.now();
        samples.push(Sample {
            at: Instant::now(),
            server: count,
            leases: subject.leases(),
            holding,
            waiting,
        });
    }
    Ok(samples)
}

/// The server's connections, moment by moment.
pub fn by_server(samples: &[Sample]) -> impl Iterator<Item = Count> {
    samples.iter().map(|sample| Count {
        at: sample.at,
        open: sample.server,
    })
}

/// The leases, of a subject that lends those.
pub fn by_leases(samples: &[Sample]) -> impl Iterator<Item = Count> {
    samples.iter().filter_map(|sample| {
        Some(Count {
            at: sample.at,
            open: sample.leases?,
        })
    })
}

/// The run as it is drawn.
pub fn curve(samples: &[Sample], began: Instant) -> Vec<Point> {
    let during = samples.iter().filter(|sample| sample.at >= began);
    during
        .map(|sample| Point {
            at: (sample.at - began).as_secs_f64(),
            open: sample.server,
            holding: sample.holding,
            waiting: sample.waiting,
        })
        .collect()
}
