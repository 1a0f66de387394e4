//! What was decided and why, kept for whoever asks.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde::Serialize;

use super::{Brake, Decision, Direction, Observation, SizingMode, SizingWarning};
use crate::PoolCounts;

/// Decisions kept for whoever asks.
const KEPT: usize = 128;

/// A decision with what led to it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DecisionRecord {
    /// When it was made.
    pub at: SystemTime,
    /// What the pool had seen.
    pub observation: Observation,
    /// What was decided.
    pub decision: Decision,
    /// What became of it: in [`SizingMode::Apply`] it was put in force.
    pub mode: SizingMode,
}

/// The latest decisions, and the latest one that changed something. Whoever asks copies them when the lock
/// is free.
#[derive(Debug, Default)]
pub(super) struct DecisionLog {
    latest: VecDeque<Arc<DecisionRecord>>,
    changed: Option<Arc<DecisionRecord>>,
}

impl DecisionLog {
    pub(super) fn push(&mut self, record: DecisionRecord) {
        let record = Arc::new(record);
        let applied = record.mode == SizingMode::Apply;
        if applied && record.decision.direction != Direction::Stay {
            self.changed = Some(Arc::clone(&record));
        }
        if self.latest.len() == KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(record);
    }

    pub(super) fn latest(&self) -> Vec<Arc<DecisionRecord>> {
        self.latest.iter().cloned().collect()
    }

    pub(super) fn last(&self) -> Option<Arc<DecisionRecord>> {
        self.latest.back().cloned()
    }

    pub(super) fn changed(&self) -> Option<Arc<DecisionRecord>> {
        self.changed.clone()
    }
}

/// Why a pool is as large as it is, from [`DynamicSizing::explain`](super::DynamicSizing::explain).
///
/// Its `Display` is a few sentences with their numbers.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Explanation {
    /// The pool's name.
    pub pool: String,
    /// Its connections at this moment.
    pub counts: PoolCounts,
    /// How many are kept warm: the policy's target, or the minimum.
    pub target: u32,
    /// How many there may be at this moment: the maximum, or less while a brake or the server
    /// holds growth back.
    pub ceiling: u32,
    /// Whether sizing by load is on.
    pub enabled: bool,
    /// What becomes of decisions.
    pub mode: SizingMode,
    /// The latest decision that was put in force and changed the target.
    pub changed: Option<DecisionRecord>,
    /// The latest decision.
    pub last: Option<DecisionRecord>,
    /// What is to be expected of the configuration that nobody wants.
    pub warnings: Vec<SizingWarning>,
}

impl Explanation {
    /// The brake that is on, if one is: never where decisions are told and not applied.
    #[must_use]
    pub fn brake(&self) -> Option<Brake> {
        let last = self.last.as_ref()?;
        let applied = self.enabled && [self.mode, last.mode] == [SizingMode::Apply; 2];
        last.decision.brake.filter(|_| applied)
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pool,
            counts,
            target,
            ceiling,
            ..
        } = self;
        write!(
            f,
            "pool {pool} has {} connections ({} active, {} idle) and keeps {target} of {} to {} \
             warm; {} callers wait.",
            counts.total, counts.active, counts.idle, counts.min, counts.max, counts.waiting
        )?;
        if *ceiling < counts.max {
            write!(f, " Demand may open {ceiling} at the most.")?;
        }
        if !self.enabled {
            return write!(
                f,
                " It is not sized by load: it keeps its minimum, and demand opens more."
            );
        }
        match self.mode {
            SizingMode::Apply => {}
            SizingMode::Advise => write!(f, " It only advises: nothing is changed.")?,
            SizingMode::Freeze => write!(f, " It is frozen: the target stays as it is.")?,
        }
        let Some(last) = &self.last else {
            return write!(f, " Nothing has been decided yet.");
        };
        if let Some(changed) = &self.changed
            && changed.at != last.at
        {
            let verb = match changed.decision.direction {
                Direction::Down => "fell",
                Direction::Stay | Direction::Up => "rose",
            };
            write!(
                f,
                " The target last {verb} {}: {}.",
                ago(changed.at),
                changed.decision.reason
            )?;
        }
        write!(f, " Latest, {}: {}", ago(last.at), last.decision.reason)?;
        if let Some(brake) = last.decision.brake {
            write!(f, " [{brake}]")?;
        }
        write!(f, ".")
    }
}

/// How long ago something was, in words.
fn ago(at: SystemTime) -> String {
    let seconds = at.elapsed().unwrap_or_default().as_secs();
    match seconds {
        0 => "just now".to_owned(),
        1..=119 => format!("{seconds} s ago"),
        120..=7_199 => format!("{} min ago", seconds / 60),
        _ => format!("{} h ago", seconds / 3_600),
    }
}
