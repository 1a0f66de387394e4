//! What a run is judged by.

use hdrhistogram::Histogram;
use pool_core::sizing::{Decision, Direction, Observation};

use crate::database::Database;
use crate::time::{Nanos, SECOND, from_secs, secs};
use crate::workload::Workload;

/// A wait that a service would notice, against which recovery is measured.
const NOTICED: Nanos = 25 * SECOND / 1_000;

/// Parts of a second in which waits are counted.
const SLOT: Nanos = SECOND / 10;

/// A reversal counts as a flap when size has turned back by this share of itself, and by three
/// connections, within a minute.
const FLAP: f64 = 0.2;

/// One run of one subject under one workload.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Run {
    /// Waits in seconds that half of the callers, 99 % and 99.9 % did not exceed. Those in vain
    /// count.
    pub wait: [f64; 3],
    /// Callers that asked, repeated ones included.
    pub arrivals: u64,
    /// Callers that were given a connection.
    pub served: u64,
    /// Callers that waited in vain.
    pub timeouts: u64,
    /// Callers in line at the end.
    pub left: u64,
    /// Connections × time, in seconds.
    pub connection_seconds: f64,
    /// Connects begun.
    pub connects: u64,
    /// Connects that failed.
    pub failures: u64,
    /// The most connections at once.
    pub peak: u32,
    /// Decisions that changed a size.
    pub resizes: u64,
    /// Reversals of size within a minute.
    pub flaps: u32,
    /// Decisions that took a step the other way than the step before them, however much later and
    /// however small. A target that follows what demand has opened takes no step.
    pub reversals: u32,
    /// Time with more queries under way than the database's best, in seconds.
    pub overload: f64,
    /// From the rise of the load, or the beginning of trouble, until 99 % waited less than 25 ms
    /// for five seconds on end, in seconds; `None` for never.
    pub to_scale: Option<f64>,
    /// From the end of trouble until there were at most 1.2 times as many connections as the load
    /// then needs, in seconds; `None` for never.
    pub to_release: Option<f64>,
    /// From the end of trouble until 99 % waited less than 25 ms for five seconds on end, in
    /// seconds; `None` for never.
    pub to_recover: Option<f64>,
    /// What the run looked like, twenty times a second.
    pub curve: Vec<Point>,
    /// For each second in which a wait ended, its beginning and the wait that 99 % of those did not
    /// exceed, both in seconds.
    pub waits: Vec<(f64, f64)>,
    /// Callers in line and holding on average, by time, and by Little's law from each one's own
    /// times.
    pub little: [(f64, f64); 2],
    /// Mean wait of those served, in seconds.
    pub mean_wait: f64,
    /// A digest of everything that happened.
    pub digest: u64,
}

impl Run {
    /// Whether the run adds up: everybody who asked is accounted for, and `L = λ·W` holds in the
    /// line and among the holders, counted by time and caller by caller. The two may differ by
    /// 0.2 %, and by what those may have left to go who are in line (a caller's patience) or hold a
    /// connection (5 s) at the end: their own times are not known yet.
    ///
    /// # Errors
    ///
    /// What does not add up.
    #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
    pub fn adds_up(&self, workload: &Workload) -> Result<(), String> {
        let Self {
            arrivals,
            served,
            timeouts,
            left,
            ..
        } = *self;
        if arrivals != served + timeouts + left {
            return Err(format!(
                "{arrivals} asked, but {served} were served, {timeouts} gave up and {left} wait"
            ));
        }
        let most = self.connects + u64::from(workload.accepts);
        if u64::from(self.peak) > most {
            return Err(format!("{} were open, of {most} at the most", self.peak));
        }
        let under_way = self.curve.last().map_or(0, |point| point.holding) as f64;
        let slacks = [left as f64 * workload.patience, under_way * 5.0];
        for ((what, (by_time, by_caller)), slack) in
            ["in line", "holding"].iter().zip(self.little).zip(slacks)
        {
            let most = 0.002_f64.mul_add(by_time, slack / workload.lasts);
            if (by_time - by_caller).abs() > most {
                return Err(format!(
                    "{what} are {by_time} by time and {by_caller} by caller, more than {most} apart"
                ));
            }
        }
        Ok(())
    }
}

/// What a pool's policy has decided in a run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Decisions {
    pub(crate) resizes: u64,
    pub(crate) reversals: u32,
    last: Option<Direction>,
}

impl Decisions {
    pub(crate) fn note(&mut self, seen: &Observation, decision: &Decision) {
        let between = Direction::between;
        self.resizes += u64::from(between(seen.target, decision.target) != Direction::Stay);
        // Where a step begins: at what exists, or at the target that is being opened.
        let size = seen.size.max(seen.target).max(seen.min).min(seen.max);
        let step = between(size, decision.target);
        if step != Direction::Stay {
            let last = self.last.replace(step);
            self.reversals += u32::from(last.is_some_and(|last| last != step));
        }
    }

    /// Of several pools together.
    pub(crate) fn sum(all: impl Iterator<Item = Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            resizes: sum.resizes + one.resizes,
            reversals: sum.reversals + one.reversals,
            last: None,
        })
    }
}

/// A moment of a run.
#[derive(Clone, Copy, Debug)]
#[allow(
    clippy::exhaustive_structs,
    reason = "runs on real servers are drawn as well"
)]
pub struct Point {
    /// In seconds.
    pub at: f64,
    /// Connections open.
    pub open: u32,
    /// Callers that hold a connection.
    pub holding: i64,
    /// Callers in line.
    pub waiting: i64,
}

/// A count over time.
#[derive(Debug, Default)]
struct Gauge {
    value: i64,
    integral: i128,
    at: Nanos,
}

impl Gauge {
    fn set(&mut self, value: i64, now: Nanos) {
        self.integral += i128::from(self.value) * i128::from(now - self.at);
        self.at = now;
        self.value = value;
    }

    #[allow(clippy::cast_precision_loss, reason = "for people")]
    fn seconds(&self) -> f64 {
        self.integral as f64 / 1e9
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    callers: u32,
    late: u32,
}

#[derive(Debug)]
pub(crate) struct Recorder {
    waits: Histogram<u64>,
    arrivals: u64,
    served: u64,
    timeouts: u64,
    waited: u128,
    held: u128,
    waiting: Gauge,
    holding: Gauge,
    open: Gauge,
    peak: u32,
    pub(crate) connects: u64,
    pub(crate) failures: u64,
    slots: Vec<Slot>,
    curve: Vec<Point>,
    /// The waits that ended in this second.
    second: (Nanos, Vec<Nanos>),
    by_second: Vec<(f64, f64)>,
    digest: u64,
}

impl Recorder {
    pub(crate) fn new(end: Nanos, tick: Nanos) -> Self {
        let slots = usize::try_from(end / SLOT + 1).unwrap_or(0);
        let points = usize::try_from(end / tick + 1).unwrap_or(0);
        Self {
            waits: Histogram::new_with_bounds(1, 100 * SECOND, 3)
                .expect("the bounds and the digits are within the crate's range"),
            arrivals: 0,
            served: 0,
            timeouts: 0,
            waited: 0,
            held: 0,
            waiting: Gauge::default(),
            holding: Gauge::default(),
            open: Gauge::default(),
            peak: 0,
            connects: 0,
            failures: 0,
            slots: vec![Slot::default(); slots],
            curve: Vec::with_capacity(points),
            second: (0, Vec::new()),
            by_second: Vec::new(),
            digest: 0xcbf2_9ce4_8422_2325,
        }
    }

    fn digest(&mut self, value: u64) {
        self.digest = (self.digest ^ value).wrapping_mul(0x0100_0000_01b3);
    }

    pub(crate) const fn arrived(&mut self) {
        self.arrivals += 1;
    }

    pub(crate) fn waits(&mut self, now: Nanos, change: i64) {
        self.waiting.set(self.waiting.value + change, now);
    }

    pub(crate) fn holds(&mut self, now: Nanos, change: i64) {
        self.holding.set(self.holding.value + change, now);
    }

    pub(crate) fn held(&mut self, held: Nanos) {
        self.held += u128::from(held);
        self.digest(held);
    }

    pub(crate) fn sized(&mut self, now: Nanos, open: u32) {
        self.peak = self.peak.max(open);
        self.open.set(i64::from(open), now);
    }

    pub(crate) fn served(&mut self, now: Nanos, waited: Nanos) {
        self.served += 1;
        self.note(now, waited);
    }

    pub(crate) fn timed_out(&mut self, now: Nanos, waited: Nanos) {
        self.timeouts += 1;
        self.note(now, waited);
    }

    fn note(&mut self, now: Nanos, waited: Nanos) {
        self.waited += u128::from(waited);
        self.waits.saturating_record(waited);
        self.digest(waited);
        let second = now / SECOND;
        if second != self.second.0 {
            self.end_second();
            self.second.0 = second;
        }
        self.second.1.push(waited);
        let slot = usize::try_from(now / SLOT).unwrap_or(usize::MAX);
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.callers += 1;
            slot.late += u32::from(waited > NOTICED);
        }
    }

    fn end_second(&mut self) {
        let (second, waits) = &mut self.second;
        if waits.is_empty() {
            return;
        }
        // The wait that at most a hundredth of them exceed.
        let at = waits.len() - 1 - waits.len() / 100;
        let (_, wait, _) = waits.select_nth_unstable(at);
        self.by_second.push((secs(*second * SECOND), secs(*wait)));
        waits.clear();
    }

    pub(crate) fn tick(&mut self, now: Nanos, open: u32) {
        self.curve.push(Point {
            at: secs(now),
            open,
            holding: self.holding.value,
            waiting: self.waiting.value,
        });
    }

    /// From `from` until 99 % of the callers of each second were served in time, five seconds on
    /// end: what is good only for the last moments of a run has not been shown.
    #[allow(clippy::cast_precision_loss, reason = "tenths of a second")]
    fn served_in_time(&self, from: f64) -> Option<f64> {
        let from = usize::try_from(from_secs(from) / SLOT).unwrap_or(0);
        let late = |end: usize| {
            let second = &self.slots[end.saturating_sub(9).max(from)..=end];
            let callers: u32 = second.iter().map(|slot| slot.callers).sum();
            let late: u32 = second.iter().map(|slot| slot.late).sum();
            late * 100 > callers
        };
        let last = self.slots.len().checked_sub(1)?;
        let mut good_since = None;
        for end in from..=last {
            if late(end) {
                good_since = None;
                continue;
            }
            let since = *good_since.get_or_insert(end);
            if end - since >= 50 {
                return Some((since - from) as f64 / 10.0);
            }
        }
        None
    }

    fn released(&self, workload: &Workload) -> Option<f64> {
        let (_, from) = workload.trouble;
        let need =
            f64::from(workload.limits.0 * workload.instances).max(crate::oracle::need(workload));
        let enough = |point: &&Point| point.at >= from && f64::from(point.open) <= 1.2 * need;
        self.curve.iter().find(enough).map(|point| point.at - from)
    }

    /// How often size turned back by a fifth within a minute.
    fn flaps(&self) -> u32 {
        let mut flaps = 0;
        let (mut low, mut high) = ((0.0, f64::MAX), (0.0, f64::MIN));
        // The direction that size went last, and when it was turned to.
        let mut last: Option<(bool, f64)> = None;
        for point in self.curve.iter().step_by(20) {
            let (at, size) = (point.at, f64::from(point.open));
            if size < low.1 {
                low = (at, size);
            }
            if size > high.1 {
                high = (at, size);
            }
            let step = |from: f64| (from * FLAP).max(3.0);
            let up = size >= low.1 + step(low.1);
            let down = size <= high.1 - step(high.1);
            let turned = match last {
                Some((true, _)) => down.then_some(false),
                Some((false, _)) => up.then_some(true),
                None => (up || down).then_some(up),
            };
            if let Some(up) = turned {
                let turning = if up { low.0 } else { high.0 };
                if last.is_some_and(|(_, before)| turning - before < 60.0) {
                    flaps += 1;
                }
                last = Some((up, turning));
                low = (at, size);
                high = (at, size);
            }
        }
        flaps
    }

    #[allow(clippy::cast_precision_loss, reason = "for people")]
    pub(crate) fn into_run(
        mut self,
        workload: &Workload,
        decisions: Decisions,
        database: &Database,
    ) -> Run {
        self.end_second();
        let (began, ended) = workload.trouble;
        let quantile = |q| self.waits.value_at_quantile(q) as f64 / 1e9;
        let by_time = |gauge: &Gauge| gauge.seconds() / workload.lasts;
        let settled = (self.served + self.timeouts).max(1);
        Run {
            wait: [quantile(0.5), quantile(0.99), quantile(0.999)],
            arrivals: self.arrivals,
            served: self.served,
            timeouts: self.timeouts,
            left: self.waiting.value.unsigned_abs(),
            connection_seconds: self.open.seconds(),
            connects: self.connects,
            failures: self.failures,
            peak: self.peak,
            resizes: decisions.resizes,
            flaps: self.flaps(),
            reversals: decisions.reversals,
            overload: secs(database.overload),
            to_scale: self.served_in_time(began),
            to_release: self.released(workload),
            to_recover: self.served_in_time(ended),
            little: [
                (
                    by_time(&self.waiting),
                    self.waited as f64 / 1e9 / workload.lasts,
                ),
                (
                    by_time(&self.holding),
                    self.held as f64 / 1e9 / workload.lasts,
                ),
            ],
            mean_wait: self.waited as f64 / 1e9 / settled as f64,
            curve: self.curve,
            waits: self.by_second,
            digest: self.digest,
        }
    }
}
