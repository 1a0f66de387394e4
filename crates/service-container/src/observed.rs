//! Which services were seen to use which, while running.

use std::collections::BTreeSet;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::registry::ServiceId;

/// Pairs of services. A pair that is known already is only read: every scope sees the same ones again.
#[derive(Debug)]
pub(crate) struct Observed {
    /// A bit for each service that the one of the row may use.
    rows: Box<[OnceLock<Row>]>,
}

type Row = Box<[AtomicU64]>;

impl Observed {
    pub(crate) fn new(services: usize) -> Self {
        Self {
            rows: (0..services).map(|_| OnceLock::new()).collect(),
        }
    }

    /// Keeps that `user` uses `used`.
    pub(crate) fn insert(&self, user: ServiceId, used: ServiceId) {
        let row = self.rows[user as usize].get_or_init(|| self.row());
        let (word, bit) = (&row[used as usize / BITS], 1 << (used as usize % BITS));
        if word.load(Ordering::Relaxed) & bit == 0 {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }

    /// Every pair so far, the user first.
    pub(crate) fn pairs(&self) -> BTreeSet<(ServiceId, ServiceId)> {
        let uses = |(user, row): (ServiceId, &OnceLock<Row>)| {
            let used = (0..).zip(row.get().into_iter().flatten().flat_map(bits));
            let used = used.filter_map(|(used, uses)| uses.then_some(used));
            used.map(|used| (user, used)).collect::<Vec<_>>()
        };
        (0..).zip(&self.rows).flat_map(uses).collect()
    }

    fn row(&self) -> Row {
        let words = self.rows.len().div_ceil(BITS);
        (0..words).map(|_| AtomicU64::new(0)).collect()
    }
}

const BITS: usize = u64::BITS as usize;

fn bits(word: &AtomicU64) -> impl Iterator<Item = bool> {
    let word = word.load(Ordering::Relaxed);
    (0..BITS).map(move |bit| word >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_is_kept_once() {
        let observed = Observed::new(130);
        assert!(observed.pairs().is_empty());
        let pairs = [(0, 129), (129, 0), (63, 64), (64, 63), (7, 7), (0, 129)];
        for (user, used) in pairs {
            observed.insert(user, used);
        }
        assert_eq!(observed.pairs(), BTreeSet::from(pairs));
    }
}
