//! Real callers on a real server: what they experienced and what the server counted, as figures.
//!
//! `cargo xtask validate-sizing` measures; the arithmetic is here, where the suite tries it.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Something that lasted.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "whoever measures makes them")]
pub struct Lapse {
    /// When the caller asked.
    pub asked: Instant,
    /// For how long.
    pub lasted: Duration,
}

/// Those that were asked for from `from` on and before `until`.
#[must_use]
pub fn between(lapses: &[Lapse], from: Instant, until: Instant) -> Vec<Lapse> {
    let inside = |lapse: &&Lapse| (from..until).contains(&lapse.asked);
    lapses.iter().filter(inside).copied().collect()
}

/// What 99 % did not exceed, in milliseconds, to three digits and up to a minute; `None` of nothing.
///
/// # Panics
///
/// Never: the bounds of the histogram are constants.
#[must_use]
pub fn p99_ms(lapses: &[Lapse]) -> Option<f64> {
    // From a nanosecond to a minute: without bounds it would keep what is longer than two nanoseconds
    // as two.
    let all = Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3);
    let mut all = all.expect("the bounds are within the range");
    for lapse in lapses {
        all.saturating_record(u64::try_from(lapse.lasted.as_nanos()).unwrap_or(u64::MAX));
    }
    #[allow(
        clippy::cast_precision_loss,
        reason = "three digits of a minute at most"
    )]
    let millis = |nanos| nanos as f64 / 1e6;
    (!all.is_empty()).then(|| millis(all.value_at_quantile(0.99)))
}

/// Shares of a plateau in which lateness is looked at.
const SLOT: Duration = Duration::from_millis(50);

/// How many of them on end have to be good; fewer where the plateau ends before.
const GOOD: usize = 20;

/// From `rise` until 99 % of those who ask are in time for a second on end, or up to `fall`;
/// `None` for never.
#[must_use]
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

/// What the server counted at a moment.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::exhaustive_structs, reason = "whoever counts makes them")]
pub struct Count {
    /// When it answered.
    pub at: Instant,
    /// How many connections there were.
    pub open: u32,
}

/// Connections × time, in seconds, between two moments; the count moves straight from one to the next.
pub fn connection_seconds(
    counts: impl IntoIterator<Item = Count>,
    from: Instant,
    until: Instant,
) -> f64 {
    let mut last: Option<Count> = None;
    let mut sum = 0.0;
    for next in counts {
        if let Some(one) = last.replace(next) {
            let (begin, end) = (one.at.max(from), next.at.min(until));
            let lasts = end.saturating_duration_since(begin).as_secs_f64();
            sum += lasts * f64::midpoint(one.open.into(), next.open.into());
        }
    }
    sum
}

/// From `fall` until the count is at or below `least` and stays there; `None` for never.
pub fn time_to_release(
    counts: impl IntoIterator<Item = Count>,
    fall: Instant,
    least: u32,
) -> Option<Duration> {
    let mut low = None;
    for count in counts.into_iter().filter(|count| count.at >= fall) {
        if count.open <= least {
            low.get_or_insert(count.at - fall);
        } else {
            low = None;
        }
    }
    low
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
        let quick = [Lapse {
            asked: rise,
            lasted: Duration::from_nanos(1_600),
        }];
        let found = p99_ms(&quick).unwrap();
        assert!((found - 0.001_6).abs() < 0.000_01, "{found}");
        assert_eq!(p99_ms(&[]), None);
    }

    #[test]
    fn who_asks_at_the_end_is_not_of_it() {
        let rise = Instant::now();
        let lapses = lapses(rise, Duration::ZERO);
        let second = Duration::from_secs(1);
        assert_eq!(between(&lapses, rise, rise + second).len(), 200);
        assert_eq!(between(&lapses, rise + second, rise + second).len(), 0);
    }

    /// One count a second.
    fn counts(counts: &[u32]) -> (Instant, Vec<Count>) {
        let began = Instant::now();
        let counts = counts.iter().zip(0..).map(|(&open, second)| Count {
            at: began + Duration::from_secs(second),
            open,
        });
        (began, counts.collect())
    }

    #[test]
    fn connections_count_for_as_long_as_they_are_there() {
        let (began, counts) = counts(&[5, 5, 15, 15]);
        let seconds = |from, until| {
            let at = |seconds| began + Duration::from_secs_f64(seconds);
            connection_seconds(counts.iter().copied(), at(from), at(until))
        };
        assert!((seconds(0.0, 3.0) - 30.0).abs() < 1e-9);
        assert!((seconds(0.5, 1.0) - 2.5).abs() < 1e-9);
    }

    #[track_caller]
    fn check_release(seen: &[u32], expected: Option<u64>) {
        let (began, counts) = counts(seen);
        let found = time_to_release(counts, began + Duration::from_secs(1), 5);
        assert_eq!(found, expected.map(Duration::from_secs), "{seen:?}");
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
