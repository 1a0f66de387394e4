//! Learning by lending less.

use std::time::Duration;

use super::Observation;

/// A pool that stays full this long, with callers in line, is worth an experiment.
const FULL: Duration = Duration::from_secs(2);

/// How long each part of one takes.
const PART: Duration = Duration::from_secs(1);

/// How long it is until the next one.
const REST: Duration = Duration::from_secs(120);

/// What is lent in each part, of the size before.
const PARTS: [f64; 2] = [0.7, 0.5];

/// Lends fewer connections for a moment, when a full pool knows nothing of how hold time follows
/// concurrency: from one level of concurrency nobody can tell whether more of it would help.
#[derive(Clone, Copy, Debug)]
pub(super) struct Experiment {
    state: State,
    shortest: Duration,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// How long the pool has been full.
    Watching(Duration),
    /// The size before, the part, and how long it lasts still.
    Running(u32, usize, Duration),
    Resting(Duration),
}

impl Experiment {
    /// Parts are at least six intervals long, so that samples settle.
    pub(super) fn new(interval: Duration) -> Self {
        Self {
            state: State::Watching(Duration::ZERO),
            shortest: interval * 6,
        }
    }

    /// How many are lent at the most, while an experiment runs.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a count"
    )]
    pub(super) fn step(&mut self, seen: &Observation, known: bool) -> Option<(u32, String)> {
        let part_takes = PART.max(self.shortest);
        self.state = match self.state {
            State::Watching(full) => {
                let busy = seen.average_in_use >= 0.9 * seen.average_size;
                if known || seen.waiting == 0 || !busy || seen.size < seen.min.max(1) * 2 {
                    State::Watching(Duration::ZERO)
                } else if full + seen.interval >= FULL {
                    State::Running(seen.size, 0, part_takes)
                } else {
                    State::Watching(full + seen.interval)
                }
            }
            State::Running(size, part, left) => match left.checked_sub(seen.interval) {
                Some(left) if !left.is_zero() => State::Running(size, part, left),
                _ if part + 1 < PARTS.len() => State::Running(size, part + 1, part_takes),
                _ => State::Resting(REST),
            },
            State::Resting(left) => match left.checked_sub(seen.interval) {
                Some(left) if !left.is_zero() => State::Resting(left),
                _ => State::Watching(Duration::ZERO),
            },
        };
        let State::Running(size, part, _) = self.state else {
            return None;
        };
        let ceiling = (f64::from(size) * PARTS[part]).ceil() as u32;
        let why = format!("for a moment, to see what fewer than {size} cost");
        Some((ceiling, why))
    }
}
