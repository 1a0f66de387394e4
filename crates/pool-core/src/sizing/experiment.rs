//! Learning by lending less.

use super::Observation;

/// A pool that stays full for so many intervals, with callers in line, is worth an experiment.
const FULL: u32 = 8;

/// How many intervals each part of one takes: so many that samples settle.
const PART: u32 = 6;

/// How many intervals there are until the next one.
const REST: u32 = 240;

/// What is lent in each part, of the size before.
const PARTS: [f64; 2] = [0.7, 0.5];

/// Lends fewer connections for a moment, when a full pool knows nothing of how hold time follows
/// concurrency: from one level of concurrency nobody can tell whether more of it would help.
#[derive(Clone, Copy, Debug)]
pub(super) enum Experiment {
    /// For how many intervals the pool has been full.
    Watching(u32),
    /// The size before, the part, and how many intervals are left of it.
    Running(u32, usize, u32),
    /// How many intervals are left.
    Resting(u32),
}

impl Experiment {
    /// What was learned does not hold any more.
    pub(super) const fn forget(&mut self) {
        *self = Self::Watching(0);
    }

    /// How many are lent at the most, while an experiment runs.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count"
    )]
    pub(super) fn step(&mut self, seen: &Observation, known: bool) -> Option<(u32, String)> {
        *self = match *self {
            Self::Watching(full) => {
                let busy = seen.average_in_use >= 0.9 * seen.average_size;
                if known || seen.waiting == 0 || !busy || seen.size < seen.min.max(1) * 2 {
                    Self::Watching(0)
                } else if full + 1 >= FULL {
                    Self::Running(seen.size, 0, PART)
                } else {
                    Self::Watching(full + 1)
                }
            }
            Self::Running(size, part, left) if left > 1 => Self::Running(size, part, left - 1),
            Self::Running(size, part, _) if part + 1 < PARTS.len() => {
                Self::Running(size, part + 1, PART)
            }
            Self::Running(..) => Self::Resting(REST),
            Self::Resting(left) if left > 1 => Self::Resting(left - 1),
            Self::Resting(_) => Self::Watching(0),
        };
        let Self::Running(size, part, _) = *self else {
            return None;
        };
        let ceiling = (f64::from(size) * PARTS[part]).ceil() as u32;
        let why = format!("for a moment, to see what fewer than {size} cost");
        Some((ceiling, why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(size: u32) -> Observation {
        Observation {
            average_in_use: f64::from(size),
            average_size: f64::from(size),
            waiting: 9,
            size,
            min: 5,
            max: 100,
            ..Observation::default()
        }
    }

    /// Eight intervals full, then six each with 70 % and with half, then a rest.
    #[test]
    fn a_full_pool_that_knows_nothing_lends_less_for_a_moment() {
        let mut experiment = Experiment::Watching(0);
        let mut lent = Vec::new();
        for _ in 0..24 {
            lent.push(
                experiment
                    .step(&full(100), false)
                    .map(|(ceiling, _)| ceiling),
            );
        }
        let expected = [
            vec![None; 7],
            vec![Some(70); 6],
            vec![Some(50); 6],
            vec![None; 5],
        ];
        assert_eq!(lent, expected.concat());
    }

    #[test]
    fn a_pool_that_knows_or_has_room_or_nobody_in_line_makes_none() {
        let calm = Observation {
            waiting: 0,
            ..full(100)
        };
        let idle = Observation {
            average_in_use: 50.0,
            ..full(100)
        };
        for (seen, known) in [
            (full(100), true),
            (calm, false),
            (idle, false),
            (full(9), false),
        ] {
            let mut experiment = Experiment::Watching(0);
            assert!(
                (0..50).all(|_| experiment.step(&seen, known).is_none()),
                "{seen:?}"
            );
        }
    }

    #[test]
    fn what_was_forgotten_is_learned_again_at_once() {
        let mut experiment = Experiment::Resting(100);
        experiment.forget();
        let first = (1..).find(|_| experiment.step(&full(40), false).is_some());
        assert_eq!(first, Some(8));
    }
}
