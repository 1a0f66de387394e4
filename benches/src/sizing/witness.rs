//! What the server itself counts while a subject is under load.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use pool_sim::Point;
use tokio::time::{Instant, MissedTickBehavior, interval};
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

/// Connections × time, in seconds, between two moments.
pub fn connection_seconds(samples: &[Sample], from: Instant, until: Instant) -> f64 {
    let spans = samples.windows(2).map(|pair| {
        let [one, next] = [pair[0], pair[1]];
        let (begin, end) = (one.at.max(from), next.at.min(until));
        let lasts = end.saturating_duration_since(begin).as_secs_f64();
        lasts * f64::midpoint(one.server.into(), next.server.into())
    });
    spans.sum()
}

/// From `fall` until `count` is at or below `least` and stays there; `None` for never.
pub fn time_to_release(
    samples: &[Sample],
    fall: Instant,
    least: u32,
    count: impl Fn(&Sample) -> u32,
) -> Option<Duration> {
    let after = samples.iter().filter(|sample| sample.at >= fall);
    let low = after.rev().take_while(|sample| count(sample) <= least);
    low.last().map(|sample| sample.at - fall)
}

/// How often a count turned back by `step` or more.
pub fn reversals(counts: impl IntoIterator<Item = u32>, step: u32) -> u32 {
    let mut counts = counts.into_iter();
    let Some(first) = counts.next() else { return 0 };
    let (mut low, mut high, mut up) = (first, first, None);
    let mut turns = 0;
    for count in counts {
        (low, high) = (low.min(count), high.max(count));
        let risen = count >= low + step;
        let fallen = count + step <= high;
        let turned = match up {
            Some(true) => fallen.then_some(false),
            Some(false) => risen.then_some(true),
            None => (risen || fallen).then_some(risen),
        };
        if let Some(now) = turned {
            turns += u32::from(up.is_some());
            up = Some(now);
            (low, high) = (count, count);
        }
    }
    turns
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

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(counts: &[u32]) -> (Instant, Vec<Sample>) {
        let began = Instant::now();
        let samples = counts.iter().zip(0..).map(|(&server, second)| Sample {
            at: began + Duration::from_secs(second),
            server,
            leases: None,
            holding: 0,
            waiting: 0,
        });
        (began, samples.collect())
    }

    #[test]
    fn connections_count_for_as_long_as_they_are_there() {
        let (began, samples) = samples(&[5, 5, 15, 15]);
        let seconds = |from, until| {
            let at = |seconds| began + Duration::from_secs_f64(seconds);
            connection_seconds(&samples, at(from), at(until))
        };
        assert!((seconds(0.0, 3.0) - 30.0).abs() < 1e-9);
        assert!((seconds(0.5, 1.0) - 2.5).abs() < 1e-9);
    }

    #[track_caller]
    fn check_release(counts: &[u32], expected: Option<u64>) {
        let (began, samples) = samples(counts);
        let fall = began + Duration::from_secs(1);
        let found = time_to_release(&samples, fall, 5, |sample| sample.server);
        assert_eq!(found, expected.map(Duration::from_secs), "{counts:?}");
    }

    #[test]
    fn released_is_what_stays_released() {
        check_release(&[80, 80, 40, 5, 5], Some(2));
        check_release(&[80, 80, 5, 6, 5], Some(3));
        check_release(&[5, 5, 5], Some(0));
        check_release(&[80, 5, 5, 6], None);
    }

    #[track_caller]
    fn check_reversals(counts: &[u32], expected: u32) {
        assert_eq!(reversals(counts.iter().copied(), 3), expected, "{counts:?}");
    }

    #[test]
    fn what_turns_back_by_three_is_a_reversal() {
        check_reversals(&[], 0);
        check_reversals(&[5, 20, 40, 80, 80], 0);
        check_reversals(&[80, 78, 80, 78], 0);
        check_reversals(&[5, 80, 77, 76, 80], 2);
        check_reversals(&[80, 70, 73, 70], 2);
    }
}
