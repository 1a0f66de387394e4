//! What callers experience, one by one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::time::Instant;

/// The callers of one run.
#[derive(Debug, Default)]
pub struct Meter {
    waiting: AtomicI64,
    holding: AtomicI64,
    waits: Mutex<Vec<Lapse>>,
    beyond: Mutex<Vec<Lapse>>,
    failures: Mutex<Failures>,
}

/// Something that lasted.
#[derive(Clone, Copy, Debug)]
pub struct Lapse {
    /// When the caller asked.
    pub asked: Instant,
    pub lasted: Duration,
}

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    first: Option<String>,
}

/// A caller in line; no longer, when dropped.
pub struct InLine<'m> {
    meter: &'m Meter,
    asked: Instant,
}

/// A caller with a connection; no longer, when dropped.
pub struct Holding<'m>(&'m Meter);

impl Meter {
    /// A caller asks for a connection.
    pub fn asks(&self) -> InLine<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        InLine {
            meter: self,
            asked: Instant::now(),
        }
    }

    /// For a pool that tells of its callers: one more in line, or one fewer.
    pub fn in_line(&self, change: i64) {
        self.waiting.fetch_add(change, Ordering::Relaxed);
    }

    /// For a pool that tells of its callers: one more with a connection, or one fewer.
    pub fn held(&self, change: i64) {
        self.holding.fetch_add(change, Ordering::Relaxed);
    }

    /// A caller was given a connection after this time.
    pub fn waited(&self, asked: Instant, lasted: Duration) {
        self.waits.lock().push(Lapse { asked, lasted });
    }

    /// An operation is over, and took so much longer than the server held it.
    pub fn done(&self, asked: Instant, beyond: Duration) {
        let lasted = beyond;
        self.beyond.lock().push(Lapse { asked, lasted });
    }

    pub fn failed(&self, error: &anyhow::Error) {
        let mut failures = self.failures.lock();
        failures.count += 1;
        failures.first.get_or_insert_with(|| format!("{error:#}"));
    }

    /// Callers with a connection and callers in line, now.
    pub fn now(&self) -> (i64, i64) {
        let holding = self.holding.load(Ordering::Relaxed);
        (holding, self.waiting.load(Ordering::Relaxed))
    }

    /// How many operations failed, and the first one's reason.
    pub fn failures(&self) -> (u32, Option<String>) {
        let failures = self.failures.lock();
        (failures.count, failures.first.clone())
    }

    /// What those waited for a connection that asked between these moments.
    pub fn waits(&self, from: Instant, until: Instant) -> Vec<Lapse> {
        between(&self.waits.lock(), from, until)
    }

    /// How much longer operations took than the server held them, of those begun between these
    /// moments.
    pub fn beyond(&self, from: Instant, until: Instant) -> Vec<Lapse> {
        between(&self.beyond.lock(), from, until)
    }
}

impl<'m> InLine<'m> {
    /// The caller has a connection now.
    pub fn served(self) -> Holding<'m> {
        let meter = self.meter;
        meter.waited(self.asked, self.asked.elapsed());
        meter.holding.fetch_add(1, Ordering::Relaxed);
        Holding(meter)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.meter.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.0.holding.fetch_sub(1, Ordering::Relaxed);
    }
}

fn between(lapses: &[Lapse], from: Instant, until: Instant) -> Vec<Lapse> {
    let inside = |lapse: &&Lapse| (from..until).contains(&lapse.asked);
    lapses.iter().filter(inside).copied().collect()
}

/// What 99 % did not exceed, in milliseconds; `None` of nothing.
pub fn p99_ms(lapses: &[Lapse]) -> Option<f64> {
    // From a nanosecond to a minute: without bounds it would keep what is longer than two nanoseconds
    // as two.
    let all = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3);
    let mut all = all.expect("the bounds are within the range");
    for lapse in lapses {
        all.saturating_record(u64::try_from(lapse.lasted.as_nanos()).unwrap_or(u64::MAX));
    }
    (!all.is_empty()).then(|| all.value_at_quantile(0.99) as f64 / 1e6)
}

/// Shares of a plateau in which lateness is looked at.
const SLOT: Duration = Duration::from_millis(50);

/// How many of them on end have to be good; fewer where the plateau ends before.
const GOOD: usize = 20;

/// From `rise` until 99 % of those who ask are in time for a second on end, or up to `fall`;
/// `None` for never.
pub fn time_to_scale(
    lapses: &[Lapse],
    late: Duration,
    rise: Instant,
    fall: Instant,
) -> Option<Duration> {
    let slots = (fall - rise).as_nanos() / SLOT.as_nanos();
    let mut counts = vec![(0_u32, 0_u32); usize::try_from(slots).ok()?];
    for lapse in lapses.iter().filter(|lapse| lapse.asked >= rise) {
        let slot = (lapse.asked - rise).as_nanos() / SLOT.as_nanos();
        let slot = usize::try_from(slot).ok()?;
        if let Some((all, tardy)) = counts.get_mut(slot) {
            *all += 1;
            *tardy += u32::from(lapse.lasted > late);
        }
    }
    let good = |from: usize| {
        let part = &counts[from..(from + GOOD).min(counts.len())];
        let all: u32 = part.iter().map(|(all, _)| all).sum();
        let tardy: u32 = part.iter().map(|(_, tardy)| tardy).sum();
        // The first slot counts alone as well, or it would hide behind those that follow.
        all > 0 && tardy * 100 <= all && part[0].1 * 100 <= part[0].0.max(100)
    };
    // What is seen for less than half a second is not believed.
    let last = counts.len().saturating_sub(GOOD / 2);
    let slot = (0..last).find(|slot| good(*slot))?;
    Some(SLOT * u32::try_from(slot).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One caller every 5 ms for three seconds; those of the first `late_for` wait 30 ms.
    fn lapses(rise: Instant, late_for: Duration) -> Vec<Lapse> {
        let callers = (0..600).map(|number| Duration::from_millis(5) * number);
        callers
            .map(|at| Lapse {
                asked: rise + at,
                lasted: Duration::from_millis(if at < late_for { 30 } else { 1 }),
            })
            .collect()
    }

    #[track_caller]
    fn check(late_for: u64, expected: Option<u64>) {
        let rise = Instant::now();
        let lapses = lapses(rise, Duration::from_millis(late_for));
        let fall = rise + Duration::from_secs(3);
        let found = time_to_scale(&lapses, Duration::from_millis(10), rise, fall);
        assert_eq!(found, expected.map(Duration::from_millis));
    }

    #[test]
    fn a_pool_has_scaled_once_callers_are_in_time() {
        check(0, Some(0));
        check(400, Some(400));
        check(3_000, None);
    }

    #[test]
    fn a_quantile_is_in_milliseconds() {
        let rise = Instant::now();
        let found = p99_ms(&lapses(rise, Duration::from_secs(1))).unwrap();
        assert!((found - 30.0).abs() < 0.1, "{found}");
        assert_eq!(p99_ms(&[]), None);
    }
}
