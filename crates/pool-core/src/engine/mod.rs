//! The engine without I/O: every rule of the pool as a step from one state to the next.
//!
//! Nothing in this folder awaits, spawns, sleeps or calls foreign code. A step takes the time as
//! an argument and leaves what remains to be done in [`Effects`]; the rest of the crate carries
//! that out after the lock is free. So each rule can be tested, compared with a reference model
//! and explored by a model checker without a runtime.
//!
//! | room | rule |
//! |---|---|
//! | `waiters` | first in, first out, with removal from the middle |
//! | `slot` | one connection; the table of where each one is |
//! | `checkout` | taking an idle connection, queueing, being handed one, giving up |
//! | `give_back` | a connection comes back, from a caller or from a task |
//! | `growth` | when to connect, what a connect that lands or fails changes, backoff |
//! | `operate` | limits, target, eviction, pause, close |
//! | `upkeep` | idle timeout, lifetime, keepalive, leaks; when to look again |
//! | `flow` | the counts that change with each checkout while callers queue |
//! | `tally` | counters of everything else, and histograms |
//! | `effects` | what is left to do once the lock is free |

mod checkout;
mod effects;
mod flow;
mod give_back;
mod growth;
mod operate;
mod slot;
mod tally;
mod upkeep;
mod waiters;

#[cfg(all(test, pool_loom))]
mod loom;
#[cfg(all(test, not(pool_loom)))]
mod tests;

use std::sync::Arc;

use crate::Limits;
use crate::clock::Nanos;
use crate::sizing::reactive::Guess;

pub(crate) use self::checkout::{Given, Refused, Withdrawn};
pub use self::effects::CloseReason;
pub(crate) use self::effects::{ConnectFailure, ConnectOrder, Effects, Refusal, Task, TimedOut};
pub(crate) use self::flow::Flow;
pub(crate) use self::give_back::PutBack;
pub(crate) use self::growth::{Backoff, ClosedSlot, Landing};
pub(crate) use self::slot::{Holder, Longest, Phase, Slot, SlotTable, Waited};
pub(crate) use self::tally::Tally;
pub(crate) use self::waiters::{Delivery, Mailbox, Place, WaitQueue};

/// What a caller in the queue is given.
pub(crate) type Outcome<C> = Result<Box<Slot<C>>, Refusal>;

/// A caller's end of its place in the queue.
#[derive(Debug)]
pub(crate) struct Waiter<C> {
    pub(crate) number: u64,
    pub(crate) mailbox: Arc<Mailbox<Outcome<C>>>,
}

/// Everything that the pool's lock protects.
///
/// Invariants, checked after each step of the model test:
///
/// - `total` = idle + in use + validating + recycling + connecting + closing, and equals the
///   occupied rows of the table;
/// - no connect begins while `total` ≥ the ceiling;
/// - while callers are queued and the gate is open, no fit connection is idle;
/// - idle connections are ordered by the time since when they are idle, oldest first.
///
/// The fields lie in the order in which they stand here: what a checkout writes while callers queue
/// first, next to the lock's own byte, then what one writes that finds an idle connection, then what
/// both only read, then the rest. Two processors that take turns fetch from each other what the other has written, a
/// cache line at a time, and that is most of what a checkout costs them.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct State<C> {
    pub(crate) waiters: WaitQueue<Outcome<C>>,
    pub(crate) flow: Flow,
    /// Last in, first out: the warmest connection is lent again, the coldest ages.
    pub(crate) idle: Vec<Box<Slot<C>>>,
    /// Checkouts that found an idle connection; they waited for nothing.
    pub(crate) immediate: u64,
    pub(crate) slots: SlotTable,
    pub(crate) gate: Gate,
    /// Whether the last check of an idle connection failed: the others may be dead as well.
    pub(crate) doubt: bool,
    /// Whether a connection below the top may have been proven later than the top.
    pub(crate) proven_below: bool,
    /// Whether a warm-up has succeeded.
    pub(crate) warmed: bool,
    pub(crate) total: u32,
    pub(crate) closing: u32,
    pub(crate) connecting: u32,
    pub(crate) validating: u32,
    /// How far the pool may grow at this moment: to [`bound`](Self::bound), or to less while the
    /// server has said that it has no room. What is open already stays.
    pub(crate) ceiling: u32,
    /// How many connections a sizing policy allows demand to open; surplus to it is closed.
    pub(crate) allowed: u32,
    /// The part of the maximum that whoever divides something between pools allows this one.
    pub(crate) allowance: u32,
    /// Connections whose replacement has been asked for.
    pub(crate) retiring: u32,
    /// The size that a sizing policy wants kept warm; without one, the minimum is.
    pub(crate) target: Option<u32>,
    pub(crate) limits: Limits,
    pub(crate) generation: u64,
    pub(crate) rules: Rules,
    /// When upkeep looks at the callers' time again, on the timer's clock, unless something has it look
    /// sooner.
    pub(crate) looks_at: Nanos,
    pub(crate) last_failure: Option<Arc<ConnectFailure>>,
    /// When it will be known whether it was right to wait for returns instead of connecting.
    pub(crate) guess_holds_until: Nanos,
    pub(crate) backoff: Backoff,
    pub(crate) tally: Tally,
    /// How many the server has room for, as far as it has said.
    pub(crate) server_room: u32,
    pub(crate) recycling: u32,
    /// Of those being validated, the ones that nobody has asked for.
    pub(crate) own_checks: u32,
    /// What had lasted longest when that was last looked up, and until when that will do.
    pub(crate) looked: Option<(Nanos, Longest)>,
    /// When the server may be asked again for more than it had room for.
    pub(crate) saturated_until: Option<Nanos>,
    pub(crate) paused_until: Nanos,
    pub(crate) guess: Guess,
    pub(crate) next_id: u64,
    pub(crate) delay: give_back::QueueDelay,
    pub(crate) rng: fastrand::Rng,
    /// Warm-ups begun.
    pub(crate) warmups: u64,
}

/// With the lock's byte, and what aligns the state after it, the queue and the counts fill two cache lines,
/// and what a caller reads of the queue before anything else lies in the first.
#[cfg(target_pointer_width = "64")]
const _: () = {
    const LOCK: usize = 16;
    const LINE: usize = 64;
    assert!(std::mem::offset_of!(State<()>, waiters) == 0);
    assert!(LOCK + waiters::READ_FIRST <= LINE);
    assert!(LOCK + std::mem::offset_of!(State<()>, flow) + size_of::<Flow>() <= 2 * LINE);
};

/// Whether connections are lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Closed,
    Open,
    Paused,
}

/// The settings that steps of the engine need, in nanoseconds and counts.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    /// How long a caller waits that has no timer of its own.
    pub(crate) acquire_timeout: Nanos,
    /// An idle connection that was proven more recently than this is lent without a check.
    pub(crate) bypass: Nanos,
    pub(crate) idle_timeout: Nanos,
    /// How long a connection above the target may stay idle.
    pub(crate) surplus_timeout: Nanos,
    pub(crate) max_lifetime: Nanos,
    pub(crate) keepalive: Nanos,
    pub(crate) leak_threshold: Nanos,
    pub(crate) max_waiters: u32,
    pub(crate) max_connecting: u32,
    pub(crate) backoff_base: Nanos,
    pub(crate) backoff_cap: Nanos,
    /// How long the pool does not grow after the server said that it has no room.
    pub(crate) saturation_hold: Nanos,
    /// Target and interval of controlled delay on the queue.
    pub(crate) controlled_delay: Option<(Nanos, Nanos)>,
}

/// The numbers of one moment, all read under one lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PoolCounts {
    /// Connections that exist in any state: active + idle + connecting + closing.
    pub total: u32,
    /// Connections with a caller, or with a task that validates or cleans one for the next.
    pub active: u32,
    /// Connections that wait for a caller.
    pub idle: u32,
    /// Connections being opened.
    pub connecting: u32,
    /// Connections being closed.
    pub closing: u32,
    /// Callers in the queue.
    pub waiting: u32,
    /// The minimum in force.
    pub min: u32,
    /// The maximum in force: that of the limits, or the
    /// [allowance](crate::Pool::set_allowance) if that is less.
    pub max: u32,
}

impl std::fmt::Display for PoolCounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            total,
            active,
            idle,
            connecting,
            closing,
            waiting,
            max,
            ..
        } = self;
        write!(
            f,
            "{total} of at most {max} connections: {active} active, {idle} idle, \
             {connecting} connecting, {closing} closing; {waiting} waiting"
        )
    }
}

impl<C> State<C> {
    pub(crate) fn new(limits: Limits, rules: Rules, seed: u64) -> Self {
        Self {
            idle: Vec::new(),
            proven_below: false,
            waiters: WaitQueue::new(),
            gate: Gate::Open,
            generation: 0,
            ceiling: limits.max(),
            allowed: u32::MAX,
            server_room: u32::MAX,
            total: 0,
            connecting: 0,
            closing: 0,
            validating: 0,
            recycling: 0,
            doubt: false,
            own_checks: 0,
            retiring: 0,
            slots: SlotTable::new(),
            looked: None,
            flow: Flow::new(),
            immediate: 0,
            tally: Tally::new(),
            backoff: Backoff::new(),
            rules,
            limits,
            allowance: u32::MAX,
            target: None,
            last_failure: None,
            saturated_until: None,
            paused_until: crate::clock::NEVER,
            guess_holds_until: crate::clock::NEVER,
            looks_at: 0,
            guess: Guess::none(),
            next_id: 1,
            delay: give_back::QueueDelay::new(),
            rng: fastrand::Rng::with_seed(seed),
            warmups: 0,
            warmed: false,
        }
    }

    /// Callers that have asked and do not wait any more, whatever came of it.
    pub(crate) const fn settled(&self) -> u64 {
        self.immediate + self.flow.queued + self.tally.unserved() - self.tally.passed_on
    }

    pub(crate) fn counts(&self) -> PoolCounts {
        PoolCounts {
            total: self.total,
            active: self.flow.in_use + self.validating + self.recycling,
            idle: self.idle_len(),
            connecting: self.connecting,
            closing: self.closing,
            waiting: self.waiters.len(),
            min: self.limits.min(),
            max: self.most(),
        }
    }

    /// The maximum in force.
    #[inline]
    pub(crate) const fn most(&self) -> u32 {
        let max = self.limits.max();
        if self.allowance < max {
            self.allowance
        } else {
            max
        }
    }

    /// Connections that exist or are about to, without those on their way out.
    #[inline]
    pub(crate) const fn staying(&self) -> u32 {
        self.total - self.closing
    }

    /// Connections that are open: they can be lent now or will come back.
    pub(crate) const fn open(&self) -> u32 {
        self.total - self.closing - self.connecting
    }

    /// The size that is to be kept without demand: the target, or the minimum.
    pub(crate) fn wanted(&self) -> u32 {
        let (min, max) = (self.limits.min(), self.limits.max());
        let wanted = self.target.unwrap_or(min).clamp(min, max);
        wanted.min(self.allowance)
    }

    /// How many connections there may be: the maximum in force, or what a sizing policy allows. What
    /// is open above it is surplus.
    #[inline]
    pub(crate) const fn bound(&self) -> u32 {
        let most = self.most();
        if self.allowed < most {
            self.allowed
        } else {
            most
        }
    }

    /// Computes the ceiling anew after one of its parts has changed.
    pub(crate) fn set_ceiling(&mut self) {
        self.ceiling = self.bound().min(self.server_room);
    }

    /// The size that can be kept without demand: less while the server has no room for it.
    pub(crate) fn floor(&self) -> u32 {
        self.wanted().min(self.ceiling)
    }

    /// Connections in use × time, for the checkouts that have ended and those in progress.
    pub(crate) fn use_integral(&self, now: Nanos) -> u128 {
        let running = self
            .slots
            .holders()
            .map(|holder| u128::from(now.saturating_sub(holder.since)));
        self.flow.held + running.sum::<u128>()
    }

    /// When a connection was last lent or returned.
    pub(crate) fn last_used(&self) -> Option<Nanos> {
        let idle = self.idle.iter().rev().find_map(|slot| slot.last_used());
        let lent = self.slots.holders().map(|holder| holder.since).max();
        idle.max(lent).max(self.tally.last_used)
    }

    #[allow(
        clippy::cast_possible_truncation,
        reason = "the stack is bounded by the limits"
    )]
    pub(crate) const fn idle_len(&self) -> u32 {
        self.idle.len() as u32
    }
}
