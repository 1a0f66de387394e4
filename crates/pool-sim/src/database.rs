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

/// A law found in measurements.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Fit {
    /// Throughput of one query at a time, in the unit of the measurements.
    pub gamma: f64,
    /// How more at a time get in each other's way.
    pub law: Scalability,
    /// The part of the measurements' variance that the law explains; 1 is all of it.
    pub r2: f64,
}

impl Fit {
    /// Throughput with `n` queries at a time, in the unit of the measurements.
    #[must_use]
    pub fn throughput(&self, n: f64) -> f64 {
        self.gamma * self.law.throughput(n)
    }
}

impl Scalability {
    /// Finds the law in measurements `(n, throughput)`; `None` where there are fewer than three
    /// different `n`, or where one is below 1 or a throughput is not above 0.
    ///
    /// `n/X = (1 + σ(n−1) + κn(n−1)) / γ` is linear in `1/γ`, `σ/γ` and `κ/γ`: least squares,
    /// weighted by `(X/n)²` so that each measurement counts by its own relative error: a curve that is
    /// flat beyond its knee would otherwise be fitted to its many callers alone. No part is
    /// below zero: of all choices of parts that are left out, the one with the least error whose
    /// other parts are not negative.
    #[must_use]
    pub fn fit(measured: &[(f64, f64)]) -> Option<Fit> {
        let mut counts: Vec<_> = measured.iter().map(|&(n, _)| n).collect();
        counts.sort_by(f64::total_cmp);
        counts.dedup();
        let usable = |&(n, x): &(f64, f64)| n >= 1.0 && x > 0.0 && n.is_finite() && x.is_finite();
        if counts.len() < 3 || !measured.iter().all(usable) {
            return None;
        }
        let parts: [&[usize]; 4] = [&[0, 1, 2], &[0, 1], &[0, 2], &[0]];
        let fits = parts.iter().filter_map(|parts| solve(measured, parts));
        let [alone, sigma, kappa] = fits
            .filter(|found| found[0] > 0.0 && found.iter().all(|part| *part >= 0.0))
            .min_by(|one, other| residue(measured, *one).total_cmp(&residue(measured, *other)))?;
        let mut fit = Fit {
            gamma: 1.0 / alone,
            law: Self {
                sigma: sigma / alone,
                kappa: kappa / alone,
            },
            r2: 1.0,
        };
        #[allow(clippy::cast_precision_loss, reason = "a count of measurements")]
        let mean = measured.iter().map(|(_, x)| x).sum::<f64>() / measured.len() as f64;
        let variance: f64 = measured.iter().map(|(_, x)| (x - mean).powi(2)).sum();
        let left: f64 = measured
            .iter()
            .map(|&(n, x)| (x - fit.throughput(n)).powi(2))
            .sum();
        if variance > 0.0 {
            fit.r2 = 1.0 - left / variance;
        }
        Some(fit)
    }
}

/// What `n/X` is made of.
fn parts_of(n: f64) -> [f64; 3] {
    [1.0, n - 1.0, n * (n - 1.0)]
}

/// The weighted error that `found` leaves.
fn residue(measured: &[(f64, f64)], found: [f64; 3]) -> f64 {
    let error = |&(n, x): &(f64, f64)| {
        let sum: f64 = parts_of(n).iter().zip(found).map(|(p, f)| p * f).sum();
        (x / n * sum - 1.0).powi(2)
    };
    measured.iter().map(error).sum()
}

/// The normal equations of the parts that are named, by Gauss with pivots; the others are 0.
fn solve(measured: &[(f64, f64)], parts: &[usize]) -> Option<[f64; 3]> {
    let size = parts.len();
    let mut rows = [[0.0; 4]; 3];
    for &(n, x) in measured {
        let all = parts_of(n);
        let rate = x / n;
        for (row, &part) in rows.iter_mut().zip(parts) {
            for (cell, &other) in row.iter_mut().zip(parts) {
                *cell += rate * rate * all[part] * all[other];
            }
            row[3] += rate * all[part];
        }
    }
    for at in 0..size {
        let pivot = (at..size)
            .max_by(|&one, &other| rows[one][at].abs().total_cmp(&rows[other][at].abs()))?;
        rows.swap(at, pivot);
        let head = rows[at];
        if head[at] == 0.0 {
            return None;
        }
        for row in rows.iter_mut().take(size).skip(at + 1) {
            let factor = row[at] / head[at];
            for (cell, above) in row.iter_mut().zip(head) {
                *cell -= factor * above;
            }
        }
    }
    let mut found = [0.0; 3];
    let mut solved = [0.0; 3];
    for at in (0..size).rev() {
        let known: f64 = (at + 1..size)
            .map(|next| rows[at][next] * solved[next])
            .sum();
        solved[at] = (rows[at][3] - known) / rows[at][at];
        found[parts[at]] = solved[at];
    }
    Some(found)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const COUNTS: [f64; 10] = [1.0, 2.0, 4.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0];

    /// What a server of that law shows, each measurement off by its part of `noise`.
    fn measured(law: Scalability, mut noise: impl FnMut() -> f64) -> Vec<(f64, f64)> {
        let throughput = |n| 200.0 * law.throughput(n);
        let shown = COUNTS.map(|n| (n, throughput(n) * (1.0 + noise())));
        shown.into()
    }

    const LAW: Scalability = Scalability {
        sigma: 0.02,
        kappa: 0.0005,
    };

    #[test]
    fn a_law_is_found_in_what_it_shows() {
        let fit = Scalability::fit(&measured(LAW, || 0.0)).unwrap();
        assert!((fit.gamma - 200.0).abs() < 1e-6, "{fit:?}");
        assert!((fit.law.sigma - LAW.sigma).abs() < 1e-9, "{fit:?}");
        assert!((fit.law.kappa - LAW.kappa).abs() < 1e-9, "{fit:?}");
        assert!((fit.law.knee() - LAW.knee()).abs() < 1e-3, "{fit:?}");
        assert!(fit.r2 > 0.999_999, "{fit:?}");
    }

    /// Three measurements of each count, as the command takes them, each off by up to 5 %.
    #[test]
    fn noise_moves_the_knee_a_little() {
        const SEEDS: u64 = 200;
        let mut near = 0;
        for seed in 0..SEEDS {
            let mut random = Random::new(seed, 0);
            let noisy = (0..3).flat_map(|_| measured(LAW, || 0.1 * random.unit() - 0.05));
            let noisy: Vec<_> = noisy.collect();
            let fit = Scalability::fit(&noisy).unwrap();
            let off = (fit.law.knee() / LAW.knee() - 1.0).abs();
            assert!(off < 0.25, "seed {seed}: {fit:?}");
            assert!(fit.r2 > 0.95, "seed {seed}: {fit:?}");
            near += u64::from(off < 0.1);
        }
        assert!(near >= SEEDS * 9 / 10, "{near} of {SEEDS} within 10 %");
    }

    /// A server that two callers keep busy: what comes after its best falls a little and stays there.
    /// Measured on two cores.
    #[test]
    fn a_flat_curve_is_fitted_at_both_ends() {
        let shown = [
            9_574.0, 15_071.0, 16_364.0, 16_400.0, 15_106.0, 15_096.0, 13_257.0, 12_341.0,
            13_732.0, 14_135.0,
        ];
        let fit = Scalability::fit(&COUNTS.into_iter().zip(shown).collect::<Vec<_>>()).unwrap();
        for (n, x) in COUNTS.into_iter().zip(shown) {
            let off = (fit.throughput(n) / x - 1.0).abs();
            assert!(off < 0.2, "{n}: {} for {x}", fit.throughput(n));
        }
        assert!((4.0..16.0).contains(&fit.law.knee()), "{fit:?}");
        assert!(fit.r2 > 0.4, "{fit:?}");
    }

    #[test]
    fn without_coherency_there_is_no_knee() {
        let law = Scalability {
            sigma: 0.1,
            kappa: 0.0,
        };
        let fit = Scalability::fit(&measured(law, || 0.0)).unwrap();
        assert!((fit.law.sigma - 0.1).abs() < 1e-6, "{fit:?}");
        assert!(fit.law.knee() > 1_000.0, "{fit:?}");
    }

    /// Measurements better than linear: no part is negative all the same.
    #[test]
    fn no_part_is_below_zero() {
        let measured: Vec<_> = COUNTS.iter().map(|n| (*n, n.powf(1.1))).collect();
        let fit = Scalability::fit(&measured).unwrap();
        assert_eq!(fit.law, Scalability::PERFECT, "{fit:?}");
        assert!(fit.law.knee().is_infinite());
    }

    #[test]
    fn too_few_or_impossible_measurements_have_no_law() {
        assert_eq!(Scalability::fit(&[]), None);
        assert_eq!(
            Scalability::fit(&[(1.0, 9.0), (2.0, 17.0), (2.0, 18.0)]),
            None
        );
        assert_eq!(
            Scalability::fit(&[(1.0, 9.0), (2.0, 0.0), (4.0, 18.0)]),
            None
        );
        assert_eq!(
            Scalability::fit(&[(0.0, 9.0), (2.0, 9.0), (4.0, 18.0)]),
            None
        );
    }
}
