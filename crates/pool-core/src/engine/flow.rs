//! What is counted of checkouts while callers queue.

use crate::clock::Nanos;

/// The counts that a checkout changes while callers queue, and nothing else: where two processors take
/// turns with the lock, each piece of memory that both write has to be fetched from the other.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Flow {
    /// Time of all checkouts that have been returned, from hand-out to return.
    pub(crate) held: u128,
    /// Checkouts that have been returned.
    pub(crate) returns: u64,
    /// Checkouts that were given a connection after they had queued.
    pub(crate) queued: u64,
    /// Callers that were queued because no connection was idle, whatever came of it.
    pub(crate) short: u64,
    pub(crate) in_use: u32,
    /// The most connections in use at once since it was last read.
    pub(crate) peak_in_use: u32,
}

impl Flow {
    pub(crate) const fn new() -> Self {
        Self {
            held: 0,
            returns: 0,
            queued: 0,
            short: 0,
            in_use: 0,
            peak_in_use: 0,
        }
    }

    #[inline]
    pub(crate) const fn lent(&mut self) {
        self.in_use += 1;
        if self.in_use > self.peak_in_use {
            self.peak_in_use = self.in_use;
        }
    }

    /// Notes that a checkout has ended after `held`. Says how many had ended before.
    #[inline]
    pub(crate) fn returned(&mut self, held: Nanos) -> u64 {
        self.held += u128::from(held);
        self.returns += 1;
        self.returns - 1
    }
}
