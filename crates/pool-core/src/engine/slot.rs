//! One connection and what the pool knows of it.

use std::num::NonZero;
use std::panic::Location;

use crate::clock::Nanos;

/// A connection with its papers, moved between the idle stack, a waiter, a guard and a task.
///
/// Invariant: a slot is in exactly one of those places, and [`SlotTable`] says in which.
#[derive(Debug)]
pub(crate) struct Slot<C> {
    /// Lent to callers.
    pub(crate) connection: C,
    /// Its row in the table, for as long as it lives.
    pub(crate) row: Row,
    /// The `n`th connection that the pool opened; never used again.
    pub(crate) id: u64,
    /// The generation of the pool in which its connect began.
    pub(crate) generation: u64,
    /// When it was opened.
    pub(crate) created: Nanos,
    /// When its life is over, jitter included, fixed at birth.
    pub(crate) expires: Nanos,
    /// When its replacement is asked for, a little before that.
    pub(crate) retires: Nanos,
    /// When it was last lent or validated with success.
    pub(crate) proven: Nanos,
    /// The last warm-up by which it had passed a check; zero before the first.
    pub(crate) checked_in: u64,
    /// When it last became idle.
    pub(crate) idle_since: Nanos,
    /// It is being checked by the pool's own wish, not for a caller.
    pub(crate) own_check: bool,
    /// A replacement is on its way; the slot is closed when that has landed.
    pub(crate) retiring: bool,
    /// Its holder wants it closed instead of lent again.
    pub(crate) evict: bool,
}

impl<C> Slot<C> {
    /// Whether an idle connection may be lent without a check: its life is not over, and it was
    /// proven more recently than `bypass`.
    #[inline]
    pub(crate) const fn fit(&self, now: Nanos, bypass: Nanos) -> bool {
        now < self.expires && now.saturating_sub(self.proven) < bypass
    }

    /// When it was last returned, if it was ever lent.
    pub(crate) fn last_used(&self) -> Option<Nanos> {
        // A connection that was never lent has been idle since it was opened.
        (self.idle_since > self.created).then_some(self.idle_since)
    }
}

/// The index of a row of the [`SlotTable`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Row(u32);

/// Where each connection is, and who has it.
#[derive(Debug)]
pub(crate) struct SlotTable {
    rows: Vec<Aligned>,
    free: Vec<Row>,
}

/// What is happening to a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Phase {
    /// Being closed by a task.
    Closing,
    /// Being opened by a task.
    Connecting { since: Nanos },
    /// No connection has this row.
    Free,
    /// In the idle stack.
    Idle,
    /// With a caller, or handed to one that has not looked yet.
    Lent { holder: Holder },
    /// With a task that validates it.
    Validating,
    /// With a task that cleans it.
    Recycling,
}

/// For how long a caller was queued: a nanosecond at least, which leaves zero for those that were not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waited(NonZero<Nanos>);

impl Waited {
    #[inline]
    pub(crate) const fn between(earlier: Nanos, later: Nanos) -> Self {
        Self(match NonZero::new(later.saturating_sub(earlier)) {
            Some(waited) => waited,
            None => NonZero::<Nanos>::MIN,
        })
    }

    #[inline]
    pub(crate) const fn nanos(self) -> Nanos {
        self.0.get()
    }
}

/// Who holds a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder {
    /// Since when.
    pub(crate) since: Nanos,
    /// How long it had been queued; `None` if it had not.
    pub(crate) waited: Option<Waited>,
    /// The line that acquired it.
    pub(crate) caller: &'static Location<'static>,
    /// Whether the leak threshold has already been reported.
    pub(crate) reported: bool,
}

/// The checkout and the connect that have lasted longest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Longest {
    pub(crate) holder: Option<Holder>,
    /// Since when the connect is under way.
    pub(crate) connect: Option<Nanos>,
}

/// A row of the table, which lies in one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
struct Aligned(Phase);

const _: () = assert!(size_of::<Aligned>() == 32, "a row is not half a cache line");

impl SlotTable {
    pub(crate) const fn new() -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Takes a row for a connection that is about to be opened.
    pub(crate) fn open(&mut self, now: Nanos) -> Row {
        let phase = Phase::Connecting { since: now };
        if let Some(row) = self.free.pop() {
            self.rows[row.0 as usize] = Aligned(phase);
            return row;
        }
        let row = Row(u32::try_from(self.rows.len()).expect("limits stay below 2^32"));
        self.rows.push(Aligned(phase));
        row
    }

    pub(crate) fn release(&mut self, row: Row) {
        self.rows[row.0 as usize] = Aligned(Phase::Free);
        self.free.push(row);
        if self.free.len() == self.rows.len() {
            // Everything is closed: a pool that once was large becomes small again.
            self.rows = Vec::new();
            self.free = Vec::new();
        }
    }

    #[inline]
    pub(crate) fn set(&mut self, row: Row, phase: Phase) {
        self.rows[row.0 as usize] = Aligned(phase);
    }

    pub(crate) fn get(&self, row: Row) -> Phase {
        self.rows[row.0 as usize].0
    }

    /// The holders of lent connections.
    pub(crate) fn holders(&self) -> impl Iterator<Item = &Holder> {
        self.rows.iter().filter_map(|row| match &row.0 {
            Phase::Lent { holder } => Some(holder),
            _ => None,
        })
    }

    /// The same, to mark them as reported.
    pub(crate) fn holders_mut(&mut self) -> impl Iterator<Item = &mut Holder> {
        self.rows.iter_mut().filter_map(|row| match &mut row.0 {
            Phase::Lent { holder } => Some(holder),
            _ => None,
        })
    }

    /// What has lasted longest: a look at every row.
    pub(crate) fn longest(&self) -> Longest {
        let mut longest = Longest::default();
        for row in &self.rows {
            match &row.0 {
                Phase::Lent { holder } => {
                    if longest
                        .holder
                        .is_none_or(|oldest| holder.since < oldest.since)
                    {
                        longest.holder = Some(*holder);
                    }
                }
                Phase::Connecting { since } => {
                    longest.connect = Some(longest.connect.map_or(*since, |old| old.min(*since)));
                }
                Phase::Closing
                | Phase::Free
                | Phase::Idle
                | Phase::Validating
                | Phase::Recycling => {}
            }
        }
        longest
    }

    /// How many rows there are.
    pub(crate) const fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many rows are in a phase: the second count that tests compare with the first.
    #[cfg(all(test, not(pool_loom)))]
    pub(crate) fn count(&self, wanted: impl Fn(&Phase) -> bool) -> u32 {
        u32::try_from(self.rows.iter().filter(|row| wanted(&row.0)).count()).unwrap()
    }
}
