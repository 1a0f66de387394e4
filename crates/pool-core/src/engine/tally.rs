//! Counters and histograms, kept under the pool's lock.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::{CloseReason, Flow, Holder, Waited};
use crate::clock::Nanos;
use crate::metrics::{ResizeCounters, VetoCounters};

/// Failure codes that are counted each on its own.
const CODES: usize = 32;

/// What a failure without a code of its own is counted under.
const OTHER: &str = "other";

/// Values above this, four hours, are recorded as this.
const LONGEST: u64 = 4 * 3_600 * 1_000_000_000;

/// What has happened since the pool was built.
#[derive(Debug)]
pub(crate) struct Tally {
    /// The latest checkouts that have ended: one in [`RECENT`] pays for recording all.
    recent: [Ended; RECENT],
    /// Of those that were queued and served, the ones whose caller had just given up.
    pub(crate) passed_on: u64,
    pub(crate) opened: u64,
    pub(crate) connect_failures: u64,
    pub(crate) connect_failure_codes: BTreeMap<String, u64>,
    /// Connects that the server refused because it is full.
    pub(crate) refusals: u64,
    pub(crate) validation_failures: u64,
    /// Checks that nobody had asked for and that passed.
    pub(crate) own_checks_passed: u64,
    pub(crate) recycle_failures: u64,
    pub(crate) recycled: u64,
    pub(crate) closed: [u64; CloseReason::ALL.len()],
    pub(crate) close_timeouts: u64,
    pub(crate) detached: u64,
    pub(crate) timeouts: u64,
    pub(crate) cancelled: u64,
    pub(crate) rejected: u64,
    pub(crate) shed: u64,
    pub(crate) failed_fast: u64,
    pub(crate) leaks: u64,
    pub(crate) resizes: u64,
    pub(crate) resized: ResizeCounters,
    pub(crate) vetoes: VetoCounters,
    /// Connections × time up to `sized_at`.
    size_integral: u128,
    sized_at: Nanos,
    /// The most connections that ever existed at once.
    pub(crate) peak_total: u32,
    typical_hold: Nanos,
    /// Returns and time held when `typical_hold` was last computed.
    hold_sampled: (u64, u128),
    /// The smoothed connect time, zero while unknown.
    pub(crate) typical_connect: Nanos,
    /// The latest return among connections that were closed since.
    pub(crate) last_used: Option<Nanos>,
    pub(crate) last_error: Option<(Nanos, String)>,
    wait: Histogram<u64>,
    hold: Histogram<u64>,
    connect: Histogram<u64>,
}

/// How many ended checkouts go to the histograms together: these are spread over more memory than
/// the rest of the state, which is what costs when two processors take turns.
const RECENT: usize = 32;

/// The times of a checkout that has ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    /// How long its caller was queued; `None` if it was not.
    waited: Option<Waited>,
    held: Nanos,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LONGEST, 2)
                .expect("the bounds and the two significant digits are within the crate's range")
        };
        Self {
            passed_on: 0,
            opened: 0,
            connect_failures: 0,
            connect_failure_codes: BTreeMap::new(),
            refusals: 0,
            validation_failures: 0,
            own_checks_passed: 0,
            recycle_failures: 0,
            recycled: 0,
            closed: [0; CloseReason::ALL.len()],
            close_timeouts: 0,
            detached: 0,
            timeouts: 0,
            cancelled: 0,
            rejected: 0,
            shed: 0,
            failed_fast: 0,
            leaks: 0,
            resizes: 0,
            resized: ResizeCounters::default(),
            vetoes: VetoCounters::default(),
            size_integral: 0,
            sized_at: 0,
            peak_total: 0,
            typical_hold: 0,
            hold_sampled: (0, 0),
            typical_connect: 0,
            last_used: None,
            last_error: None,
            recent: [Ended {
                waited: None,
                held: 0,
            }; RECENT],
            wait: histogram(),
            hold: histogram(),
            connect: histogram(),
        }
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below 32")]
    pub(crate) fn returned(&mut self, flow: &mut Flow, holder: &Holder, now: Nanos) {
        let held = now.saturating_sub(holder.since);
        let at = (flow.returned(held) % RECENT as u64) as usize;
        let waited = holder.waited;
        self.recent[at] = Ended { waited, held };
        if at == RECENT - 1 {
            record(&self.recent, &mut self.wait, &mut self.hold);
        }
    }

    /// A connection was given to a caller that had just given up.
    #[cold]
    pub(crate) fn passed_on(&mut self, holder: &Holder) {
        self.passed_on += 1;
        self.wait
            .saturating_record(holder.waited.map_or(0, Waited::nanos));
    }

    /// The distributions of the times that callers were queued, that connections were held by the
    /// checkouts that have ended, and that connects took.
    #[expect(clippy::cast_possible_truncation, reason = "the remainder is below 32")]
    pub(crate) fn histograms<'h>(
        &self,
        returns: u64,
        holders: impl Iterator<Item = &'h Holder>,
    ) -> [Histogram<u64>; 3] {
        let (mut wait, mut hold) = (self.wait.clone(), self.hold.clone());
        let pending = (returns % RECENT as u64) as usize;
        record(&self.recent[..pending], &mut wait, &mut hold);
        for waited in holders.filter_map(|holder| holder.waited) {
            wait.saturating_record(waited.nanos());
        }
        [wait, hold, self.connect.clone()]
    }

    /// The mean hold time of late: over the returns since the reading before the last, at least
    /// eight of them. Zero while nothing has been returned.
    pub(crate) fn typical_hold(&mut self, flow: &Flow) -> Nanos {
        let (returns, held) = self.hold_sampled;
        let new = flow.returns - returns;
        if new >= 8 || (returns == 0 && new > 0) {
            self.typical_hold = Nanos::try_from((flow.held - held) / u128::from(new)).unwrap_or(0);
            self.hold_sampled = (flow.returns, flow.held);
        }
        self.typical_hold
    }

    /// The typical hold time as it was last asked for.
    #[cfg(all(test, not(pool_loom)))]
    pub(crate) const fn last_typical_hold(&self) -> Nanos {
        self.typical_hold
    }

    /// Callers that went without a connection.
    pub(crate) const fn unserved(&self) -> u64 {
        self.timeouts + self.cancelled + self.rejected + self.shed + self.failed_fast
    }

    pub(crate) fn connected(&mut self, took: Nanos) {
        self.opened += 1;
        self.connect.saturating_record(took);
        self.typical_connect = smooth(self.typical_connect, took);
    }

    pub(crate) fn connect_failed(&mut self, code: Option<&str>) {
        self.connect_failures += 1;
        let codes = &mut self.connect_failure_codes;
        let code = code
            .filter(|code| codes.len() < CODES || codes.contains_key(*code))
            .unwrap_or(OTHER);
        match codes.get_mut(code) {
            Some(count) => *count += 1,
            None => drop(codes.insert(code.to_owned(), 1)),
        }
    }

    pub(crate) fn failed(&mut self, now: Nanos, error: String) {
        self.last_error = Some((now, error));
    }

    /// Connections × time.
    pub(crate) fn size_integral(&self, now: Nanos, total: u32) -> u128 {
        self.size_integral + u128::from(now.saturating_sub(self.sized_at)) * u128::from(total)
    }

    /// Called before the total changes.
    pub(crate) fn resizing(&mut self, now: Nanos, total: u32) {
        self.size_integral = self.size_integral(now, total);
        self.sized_at = self.sized_at.max(now);
    }

    pub(crate) fn errors(&self) -> u64 {
        self.connect_failures
            + self.validation_failures
            + self.recycle_failures
            + self.timeouts
            + self.rejected
            + self.shed
            + self.failed_fast
    }
}

#[cold]
fn record(ended: &[Ended], wait: &mut Histogram<u64>, hold: &mut Histogram<u64>) {
    for &Ended { waited, held } in ended {
        hold.saturating_record(held);
        if let Some(waited) = waited {
            wait.saturating_record(waited.nanos());
        }
    }
}

/// Moves an average an eighth of the way to a new value.
#[inline]
const fn smooth(average: Nanos, value: Nanos) -> Nanos {
    if average == 0 {
        value
    } else {
        average - average / 8 + value / 8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(waited: Option<Nanos>) -> Holder {
        Holder {
            since: 0,
            waited: waited.map(|waited| Waited::between(0, waited)),
            caller: std::panic::Location::caller(),
            reported: false,
        }
    }

    #[test]
    fn every_checkout_is_in_the_histograms_at_once() {
        let (mut tally, mut flow) = (Tally::new(), Flow::new());
        for n in 1..=100 {
            tally.returned(&mut flow, &holder((n % 2 == 0).then_some(7)), n);
            let lent = [holder(Some(9)), holder(None)];
            let [wait, hold, _] = tally.histograms(flow.returns, lent.iter());
            assert_eq!((wait.len(), hold.len()), (n / 2 + 1, n));
            assert_eq!((wait.max(), hold.max()), (9, n));
        }
    }

    #[test]
    fn the_typical_hold_time_follows_the_load() {
        let (mut tally, mut flow) = (Tally::new(), Flow::new());
        assert_eq!(tally.typical_hold(&flow), 0);
        tally.returned(&mut flow, &holder(None), 100);
        assert_eq!(tally.typical_hold(&flow), 100);
        for _ in 0..8 {
            tally.returned(&mut flow, &holder(None), 500);
        }
        assert_eq!(tally.typical_hold(&flow), 500);
    }

    #[test]
    fn failure_codes_are_counted_and_bounded() {
        let mut tally = Tally::new();
        tally.connect_failed(None);
        for number in 0..100 {
            tally.connect_failed(Some(&format!("{number:03}")));
            tally.connect_failed(Some("000"));
        }
        let codes = &tally.connect_failure_codes;
        assert_eq!(codes.len(), CODES);
        assert_eq!(codes["000"], 101);
        assert_eq!(codes[OTHER], 1 + 100 - 31);
        assert_eq!(codes.values().sum::<u64>(), tally.connect_failures);
    }

    #[test]
    fn the_size_integral_follows_the_size() {
        let mut tally = Tally::new();
        tally.resizing(100, 0);
        assert_eq!(tally.size_integral(150, 4), 200);
        tally.resizing(150, 4);
        assert_eq!(tally.size_integral(250, 1), 300);
    }
}
