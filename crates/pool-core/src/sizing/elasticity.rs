//! Whether more connections would buy throughput.
//!
//! Latency alone cannot tell a database that is slow because of us from one that is slow by
//! itself. Concurrency can: with `n` connections in use for `h` each, throughput is `n/h`, and
//! growth raises it only while hold time rises slower than concurrency.

use std::collections::BTreeMap;

/// Levels of concurrency are 15 % apart.
const RATIO: f64 = 1.15;

/// A sample counts with at most this many returns, so that a level follows changes.
const MEMORY: f64 = 2_000.0;

/// Samples with fewer returns are noise.
const FEWEST: f64 = 20.0;

/// How many intervals a level that is not visited is remembered.
const FORGET: u64 = 4_000;

/// Hold times that are this many times longer, or shorter, at the same concurrency have a cause
/// outside.
const OTHER: f64 = 1.6;

/// Samples at a level before it is a measure for the next one.
const SETTLED: u32 = 4;

/// Where samples of one level differ by more than this, as the mean of their logarithms, hold times
/// are too mixed to say anything.
const MIXED: f64 = 0.35;

/// A fit that is off by more than this, relative and root mean square, says nothing.
const MISFIT: f64 = 0.25;

/// Hold time by concurrency, learned from what passes.
#[derive(Clone, Debug)]
pub(super) struct Elasticity {
    levels: BTreeMap<i32, Level>,
    /// Intervals seen.
    tick: u64,
    previous: f64,
    /// Growth that raises throughput by less than this share of itself is not worth it.
    least: f64,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    /// Mean concurrency.
    n: f64,
    /// Mean hold time in seconds.
    hold: f64,
    /// Returns that the means stand for.
    weight: f64,
    /// How far samples are from the mean, as the mean of their logarithms.
    spread: f64,
    samples: u32,
    tick: u64,
}

/// What a sample says of those before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Said {
    /// It agrees with them, or there are none to compare it with.
    Nothing,
    /// The database has become slower at the same concurrency: from, to, in seconds.
    Slower(f64, f64),
    /// It has become faster.
    Faster,
}

/// The size beyond which growth buys nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Knee {
    pub(super) size: u32,
    /// The least and the greatest concurrency seen, each with its hold time in seconds.
    pub(super) low: (f64, f64),
    pub(super) high: (f64, f64),
}

/// Hold time as `base + slope·(n−1) + curve·n(n−1)`: N. Gunther's universal scalability law, in
/// which `slope/base` is contention and `curve/base` is coherency.
#[derive(Clone, Copy, Debug)]
struct Fit {
    base: f64,
    slope: f64,
    curve: f64,
}

impl Elasticity {
    pub(super) const fn new(least: f64) -> Self {
        Self {
            levels: BTreeMap::new(),
            tick: 0,
            previous: 0.0,
            least,
        }
    }

    /// Adds one interval: `n` in use on average, held for `hold` seconds by `returns` callers.
    ///
    /// Intervals in which concurrency has just changed are passed over: their returns began under
    /// another one.
    pub(super) fn note(&mut self, n: f64, hold: f64, returns: f64) -> Said {
        self.tick += 1;
        let previous = std::mem::replace(&mut self.previous, n);
        if returns < FEWEST || n < 0.5 || hold <= 0.0 || (n - previous).abs() > 0.2 * n {
            return Said::Nothing;
        }
        let expected = self.expected(n);
        if let Some(expected) = expected
            && (hold / expected).ln().abs() > OTHER.ln().max(4.0 * self.spread())
        {
            self.levels.clear();
            self.add(n, hold, returns);
            return if hold > expected {
                Said::Slower(expected, hold)
            } else {
                Said::Faster
            };
        }
        self.add(n, hold, returns);
        Said::Nothing
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "logarithms of counts are small"
    )]
    fn index(n: f64) -> i32 {
        (n.max(0.5).ln() / RATIO.ln()).round() as i32
    }

    fn add(&mut self, n: f64, hold: f64, returns: f64) {
        let tick = self.tick;
        self.levels
            .retain(|_, level| tick.saturating_sub(level.tick) < FORGET);
        let level = self.levels.entry(Self::index(n)).or_insert(Level {
            n,
            hold,
            weight: 0.0,
            spread: 0.0,
            samples: 0,
            tick,
        });
        let share = returns / (level.weight + returns);
        level.samples = level.samples.saturating_add(1);
        let off = (hold / level.hold).ln().abs();
        level.spread += (off - level.spread) / f64::from(level.samples.min(16));
        level.n += share * (n - level.n);
        level.hold += share * (hold - level.hold);
        level.weight = (level.weight + returns).min(MEMORY);
        level.tick = tick;
    }

    /// How far samples are from their level's mean, by returns.
    fn spread(&self) -> f64 {
        let (mut spread, mut weights) = (0.0, 0.0);
        for level in self.levels.values() {
            spread += level.weight * level.spread;
            weights += level.weight;
        }
        if weights > 0.0 { spread / weights } else { 0.0 }
    }

    /// The hold time that the past leads one to expect at `n`, where the past reaches.
    fn expected(&self, n: f64) -> Option<f64> {
        if let Some(level) = self.levels.get(&Self::index(n)) {
            return (level.samples >= SETTLED).then_some(level.hold);
        }
        let (_, low) = self.levels.first_key_value()?;
        let (_, high) = self.levels.last_key_value()?;
        (low.n < n && n < high.n).then(|| Some(self.fit()?.hold(n)))?
    }

    /// Where growth ends to be worth it, if that has been passed.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bounded by the concurrency seen"
    )]
    pub(super) fn knee(&self) -> Option<Knee> {
        let (_, low) = self.levels.first_key_value()?;
        let (_, high) = self.levels.last_key_value()?;
        // Without a wide range a slope is noise, and without a rise there is nothing to explain.
        let narrow = self.levels.len() < 3 || high.n < 1.5 * low.n;
        if narrow || high.hold < 1.5 * low.hold || self.spread() > MIXED {
            return None;
        }
        let fit = self.fit()?;
        let top = high.n.ceil() as u32;
        let size = (1..=top).find(|&size| fit.elasticity(f64::from(size)) < self.least)?;
        Some(Knee {
            size,
            low: (low.n, low.hold),
            high: (high.n, high.hold),
        })
    }

    /// Weighted least squares, relative to the hold time, with no part below zero.
    fn fit(&self) -> Option<Fit> {
        let full = self.solve([true, true, true])?;
        let fit = if full.slope < 0.0 {
            self.solve([true, false, true])?
        } else if full.curve < 0.0 {
            self.solve([true, true, false])?
        } else {
            full
        };
        let sound = fit.base > 0.0 && fit.slope >= 0.0 && fit.curve >= 0.0;
        (sound && self.misfit(fit) <= MISFIT).then_some(fit)
    }

    fn misfit(&self, fit: Fit) -> f64 {
        let (mut squares, mut weights) = (0.0, 0.0);
        for level in self.levels.values() {
            let off = fit.hold(level.n) / level.hold - 1.0;
            squares += level.weight * off * off;
            weights += level.weight;
        }
        (squares / weights).sqrt()
    }

    /// Solves the normal equations for the parts that are asked for.
    fn solve(&self, parts: [bool; 3]) -> Option<Fit> {
        let mut rows = [[0.0_f64; 4]; 3];
        for level in self.levels.values() {
            let weight = level.weight / (level.hold * level.hold);
            let terms = [1.0, level.n - 1.0, level.n * (level.n - 1.0)];
            for (i, row) in rows.iter_mut().enumerate() {
                for (j, term) in terms.iter().enumerate() {
                    row[j] += weight * terms[i] * term;
                }
                row[3] += weight * terms[i] * level.hold;
            }
        }
        for (i, wanted) in parts.iter().enumerate() {
            if !wanted {
                for row in &mut rows {
                    row[i] = 0.0;
                }
                rows[i] = [0.0; 4];
                rows[i][i] = 1.0;
            }
        }
        let [base, slope, curve] = eliminate(rows)?;
        Some(Fit { base, slope, curve })
    }
}

impl Fit {
    fn hold(self, n: f64) -> f64 {
        self.base + self.slope * (n - 1.0) + self.curve * n * (n - 1.0)
    }

    /// By how many per cent throughput grows when concurrency grows by one.
    fn elasticity(self, n: f64) -> f64 {
        1.0 - n * (self.slope + self.curve * (2.0 * n - 1.0)) / self.hold(n)
    }
}

/// Gaussian elimination with pivoting.
fn eliminate(mut rows: [[f64; 4]; 3]) -> Option<[f64; 3]> {
    for column in 0..3 {
        let pivot = (column..3).max_by(|&a, &b| {
            let (a, b) = (rows[a][column].abs(), rows[b][column].abs());
            a.total_cmp(&b)
        })?;
        rows.swap(column, pivot);
        let lead = rows[column];
        if lead[column].abs() < 1e-12 {
            return None;
        }
        for (at, row) in rows.iter_mut().enumerate() {
            if at != column {
                let factor = row[column] / lead[column];
                for (value, above) in row.iter_mut().zip(lead).skip(column) {
                    *value -= factor * above;
                }
            }
        }
    }
    let solved = [0, 1, 2].map(|at| rows[at][3] / rows[at][at]);
    solved
        .iter()
        .all(|value| value.is_finite())
        .then_some(solved)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked example of the research: σ = 0.02, κ = 0.0005, so n* = √(0.98/0.0005) = 44.3.
    fn law(n: f64) -> f64 {
        0.001 * (1.0 + 0.02 * (n - 1.0) + 0.0005 * n * (n - 1.0))
    }

    fn learn(levels: &[f64], hold: impl Fn(f64) -> f64) -> Elasticity {
        let mut learned = Elasticity::new(0.0);
        for &n in levels {
            for _ in 0..=SETTLED {
                assert_eq!(learned.note(n, hold(n), 1_000.0), Said::Nothing);
            }
        }
        learned
    }

    #[test]
    fn the_knee_of_the_law_is_found_once_it_has_been_passed() {
        let learned = learn(&[4.0, 10.0, 20.0, 30.0], law);
        assert_eq!(learned.knee(), None, "30 is below it");
        let learned = learn(&[4.0, 10.0, 20.0, 80.0], law);
        assert_eq!(learned.knee().unwrap().size, 45);
        let least = Elasticity {
            least: 0.15,
            ..learned
        };
        assert_eq!(least.knee().unwrap().size, 36);
    }

    #[test]
    fn a_database_that_scales_has_no_knee() {
        assert_eq!(learn(&[4.0, 10.0, 40.0, 100.0], |_| 0.01).knee(), None);
        // Contention alone saturates, but never bends down.
        let contention = |n: f64| 0.001 * (1.0 + 0.02 * (n - 1.0));
        assert_eq!(learn(&[4.0, 10.0, 40.0, 100.0], contention).knee(), None);
    }

    #[test]
    fn noise_that_no_law_explains_has_no_knee() {
        let noise = |n: f64| if n > 30.0 && n < 60.0 { 0.09 } else { 0.02 };
        assert_eq!(learn(&[4.0, 10.0, 40.0, 100.0], noise).knee(), None);
    }

    #[test]
    fn a_change_at_the_same_concurrency_begins_anew() {
        let mut learned = learn(&[4.0, 10.0, 20.0, 80.0], law);
        assert_eq!(learned.note(79.0, law(79.0) * 1.1, 500.0), Said::Nothing);
        let said = learned.note(79.0, law(79.0) * 3.0, 500.0);
        assert!(matches!(said, Said::Slower(..)), "{said:?}");
        assert_eq!(learned.knee(), None);
        for _ in 1..SETTLED {
            learned.note(79.0, law(79.0) * 3.0, 500.0);
        }
        assert_eq!(learned.note(79.0, law(79.0), 500.0), Said::Faster);
        // Between two levels the law is what is expected.
        let mut learned = learn(&[4.0, 10.0, 20.0, 80.0], law);
        let first = learned.note(40.0, law(40.0) * 3.0, 500.0);
        assert_eq!(first, Said::Nothing, "concurrency has just changed");
        let said = learned.note(40.0, law(40.0) * 3.0, 500.0);
        assert!(matches!(said, Said::Slower(..)), "{said:?}");
    }

    /// Hold times of which one in a hundred is a thousand times longer: nothing follows from them.
    #[test]
    fn mixed_hold_times_say_nothing() {
        let mut learned = Elasticity::new(0.15);
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..2_000 {
            let n = 8.0 + 8.0 * random.f64();
            let long = (0..50).filter(|_| random.f64() < 0.01).count();
            #[allow(clippy::cast_precision_loss, reason = "at most fifty")]
            let hold = 0.005 + 5.0 * long as f64 / 50.0;
            assert_eq!(learned.note(n, hold, 50.0), Said::Nothing);
        }
        assert_eq!(learned.knee(), None);
    }

    #[test]
    fn intervals_with_few_returns_say_nothing() {
        let mut learned = learn(&[4.0, 10.0, 20.0, 80.0], law);
        learned.note(80.0, 1.0, 19.0);
        assert_eq!(learned.note(80.0, 1.0, 19.0), Said::Nothing);
        assert_eq!(learned.knee().unwrap().size, 45);
    }
}
