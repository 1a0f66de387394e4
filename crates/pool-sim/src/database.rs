//! The database: queries share its power, and get in each other's way.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::{NEVER, Nanos, from_secs, secs};

/// How hold time follows concurrency: N. Gunther's universal scalability law. With `n` queries under
/// way each takes `1 + σ(n−1) + κn(n−1)` times as long as alone.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_structs, reason = "the simulator's own")]
pub struct Scalability {
    /// Contention: what queries wait for each other.
    pub sigma: f64,
    /// Coherency: what queries cost each other.
    pub kappa: f64,
}

impl Scalability {
    /// Queries do not feel each other.
    pub const PERFECT: Self = Self {
        sigma: 0.0,
        kappa: 0.0,
    };

    /// How many times longer a query takes beside `n − 1` others.
    #[must_use]
    pub fn slowdown(self, n: f64) -> f64 {
        1.0 + self.sigma * (n - 1.0) + self.kappa * n * (n - 1.0)
    }

    /// Throughput in units of one query alone.
    #[must_use]
    pub fn throughput(self, n: f64) -> f64 {
        n / self.slowdown(n)
    }

    /// The concurrency of the highest throughput.
    #[must_use]
    pub fn knee(self) -> f64 {
        if self.kappa > 0.0 {
            ((1.0 - self.sigma) / self.kappa).sqrt()
        } else {
            f64::INFINITY
        }
    }
}

/// A finish in work, ordered, with the query it belongs to.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Finish(f64, usize);

impl Eq for Finish {}

impl PartialOrd for Finish {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Finish {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0).then(self.1.cmp(&other.1))
    }
}

/// Processor sharing in virtual time: all queries advance at one rate, so that a change of the rate
/// moves no entry of the queue.
#[derive(Debug)]
pub(crate) struct Database {
    law: Scalability,
    /// How many times longer everything takes at this moment.
    slow: f64,
    /// Work that a query that never left would have had by now, in seconds.
    done: f64,
    at: Nanos,
    queries: BinaryHeap<Reverse<Finish>>,
    /// Time during which more queries than the knee were under way.
    pub(crate) overload: Nanos,
    /// Query-seconds.
    pub(crate) busy: f64,
}

impl Database {
    pub(crate) const fn new(law: Scalability) -> Self {
        Self {
            law,
            slow: 1.0,
            done: 0.0,
            at: 0,
            queries: BinaryHeap::new(),
            overload: 0,
            busy: 0.0,
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "counts of queries")]
    pub(crate) fn under_way(&self) -> f64 {
        self.queries.len() as f64
    }

    fn rate(&self) -> f64 {
        1.0 / (self.law.slowdown(self.under_way()) * self.slow)
    }

    fn advance(&mut self, now: Nanos) {
        let passed = now - self.at;
        if passed > 0 && !self.queries.is_empty() {
            self.done += secs(passed) * self.rate();
            self.busy += secs(passed) * self.under_way();
            if self.under_way() > self.law.knee() {
                self.overload += passed;
            }
        }
        self.at = now;
    }

    pub(crate) fn begin(&mut self, query: usize, work: f64, now: Nanos) {
        self.advance(now);
        self.queries.push(Reverse(Finish(self.done + work, query)));
    }

    /// Everything takes `slow` times as long from now on.
    pub(crate) fn slow_down(&mut self, slow: f64, now: Nanos) {
        self.advance(now);
        self.slow = slow;
    }

    /// When the next query is done, if nothing changes before.
    pub(crate) fn next(&self) -> Nanos {
        match self.queries.peek() {
            Some(Reverse(Finish(finish, _))) => {
                let left = (finish - self.done).max(0.0) / self.rate();
                self.at + from_secs(left)
            }
            None => NEVER,
        }
    }

    /// The query that is done now.
    pub(crate) fn finish(&mut self, now: Nanos) -> Option<usize> {
        self.advance(now);
        self.queries.pop().map(|Reverse(Finish(_, query))| query)
    }

    /// Every query under way is lost.
    pub(crate) fn abort(&mut self, now: Nanos) -> Vec<usize> {
        self.advance(now);
        let lost = std::mem::take(&mut self.queries);
        lost.into_iter()
            .map(|Reverse(Finish(_, query))| query)
            .collect()
    }
}
