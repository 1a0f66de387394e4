//! What the pool saw between two readings.

use super::Observation;
use crate::clock::{Nanos, between};
use crate::engine::State;

/// The readings at the beginning of an interval.
#[derive(Debug)]
pub(super) struct Window {
    began: Nanos,
    use_integral: u128,
    size_integral: u128,
    short: u64,
    arrivals: u64,
    returns: u64,
    held: u128,
    opened: u64,
    connect_failures: u64,
    refusals: u64,
}

impl Window {
    pub(super) fn open<C>(state: &mut State<C>, now: Nanos) -> Self {
        state.flow.peak_in_use = state.flow.in_use;
        let tally = &state.tally;
        Self {
            began: now,
            use_integral: state.use_integral(now),
            size_integral: tally.size_integral(now, state.total),
            short: state.flow.short,
            arrivals: state.settled() + u64::from(state.waiters.len()),
            returns: state.flow.returns,
            held: state.flow.held,
            opened: tally.opened,
            connect_failures: tally.connect_failures,
            refusals: tally.refusals,
        }
    }

    /// What was seen since the interval began; the next one begins. The limits are those that
    /// a decision is to keep.
    #[allow(
        clippy::cast_precision_loss,
        reason = "averages need no more than 52 bits"
    )]
    pub(super) fn close<C>(
        &mut self,
        state: &mut State<C>,
        (min, max): (u32, u32),
        now: Nanos,
    ) -> Observation {
        let peak_in_use = state.flow.peak_in_use;
        let then = std::mem::replace(self, Self::open(state, now));
        let interval = between(then.began, now);
        let nanos = interval.as_nanos().max(1) as f64;
        let used = self.use_integral.saturating_sub(then.use_integral);
        let sized = self.size_integral.saturating_sub(then.size_integral);
        let returns = self.returns - then.returns;
        let held = (self.held - then.held) / u128::from(returns.max(1));
        Observation {
            interval,
            average_in_use: used as f64 / nanos,
            average_size: sized as f64 / nanos,
            peak_in_use,
            waiting: state.waiters.len(),
            waited: self.short - then.short,
            arrivals: self.arrivals.saturating_sub(then.arrivals),
            returns,
            hold: between(0, Nanos::try_from(held).unwrap_or(Nanos::MAX)),
            connect: between(0, state.tally.typical_connect),
            opened: self.opened - then.opened,
            connect_failures: self.connect_failures - then.connect_failures,
            refusals: self.refusals - then.refusals,
            size: state.staying(),
            target: state.floor(),
            min,
            max,
            server_room: match state.saturated_until {
                // Not the ceiling: what a policy has allowed is no word of the server's.
                Some(_) => state.server_room.min(max),
                None => max,
            },
        }
    }
}
