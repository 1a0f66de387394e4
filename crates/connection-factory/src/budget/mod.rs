//! One number of connections for all pools of this process that lead to one server.
//!
//! A server has a number of connections that it can serve, and each pool has limits of its own.
//! Where several pools lead to the same server, the sum of their maximums is either more than the
//! server can bear, or leaves each of them less than it could use while the others are idle. A
//! budget is the sum itself: each pool is *allowed* a part of it, within its own limits, and the
//! parts move with demand.
//!
//! | question | answer |
//! |---|---|
//! | how many are there at most? | the budget, at any moment: a pool is allowed more only after another has closed as many |
//! | who gets how much? | minimums first, then max-min fair by demand, then what is left evenly ([`divide`]) |
//! | who yields? | who has more than its part: idle connections at once, others when they come back; nobody is interrupted |
//! | when? | when a caller has to wait, a connection has gone, or limits have changed; and every 25 ms while a pool is short |
//!
//! What a pool had in use at once within the last 100 ms is not taken from it, so that connections
//! are not closed and opened between two requests.

mod divide;

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use pool_core::{Limits, PoolCounts};
use serde::Serialize;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};

use self::divide::{Claim, divide, step};

/// How often the budget is divided anew while a pool has less than it wants.
const LOOK_EVERY: Duration = Duration::from_millis(25);

/// How long a pool keeps what it has had in use.
const KEEP: Duration = Duration::from_millis(100);

/// How long a pool keeps what others wait for that have nothing at all.
const TURN: Duration = Duration::from_millis(250);

/// A pool that takes part in a budget.
pub(crate) trait Shares: Send + Sync {
    fn counts(&self) -> PoolCounts;
    /// Its own limits, whatever it is allowed.
    fn limits(&self) -> Limits;
    /// Connections that it has beside those it counts.
    fn lent(&self) -> u32;
    fn allow(&self, connections: u32);
    fn watch(&self, changes: Arc<Notify>);
    fn is_closed(&self) -> bool;
}

/// The budgets of a factory, by name.
pub(crate) struct Budgets {
    changes: Arc<Notify>,
    divided: Mutex<All>,
}

#[derive(Default)]
struct All {
    budgets: BTreeMap<String, Divided>,
    /// Whether somebody looks when something changes.
    attended: bool,
}

/// One budget and the pools that share it.
struct Divided {
    max: u32,
    members: Vec<Member>,
    /// Who is first in line for what cannot be divided evenly, and since when.
    first: usize,
    turn_began: Option<Instant>,
}

struct Member {
    label: String,
    pool: Arc<dyn Shares>,
    allowed: u32,
    /// The most that was in use since then.
    used: u32,
    since: Instant,
}

/// What a look has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// Everybody has what it wants.
    Content,
    /// Somebody has less than it wants.
    Short,
}

/// How a budget is divided at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BudgetMetrics {
    /// Its name.
    pub name: String,
    /// Connections that its pools together never exceed.
    pub max_connections: u32,
    /// Connections that they have, those on their way out included.
    pub total: u32,
    /// What each pool has of it, in the order in which they were made.
    pub pools: Vec<BudgetPart>,
}

/// What one pool has of a budget.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct BudgetPart {
    /// The pool, as `service/database`.
    pub pool: String,
    /// How many connections it may have now.
    pub allowed: u32,
    /// How many it has.
    pub total: u32,
}

impl Budgets {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            changes: Arc::new(Notify::new()),
            divided: Mutex::default(),
        })
    }

    /// Puts exactly these budgets in force. A smaller one is reached as connections come back;
    /// pools whose budget is gone have all their limits allow.
    pub(crate) fn set(&self, wanted: &BTreeMap<String, u32>) {
        let mut all = self.divided.lock();
        all.budgets.retain(|name, divided| {
            let stays = wanted.contains_key(name);
            if !stays {
                divided.release();
            }
            stays
        });
        for (name, max) in wanted {
            let divided = all.budgets.entry(name.clone()).or_insert_with(|| Divided {
                max: *max,
                members: Vec::new(),
                first: 0,
                turn_began: None,
            });
            divided.max = *max;
        }
        self.changes.notify_one();
    }

    /// Lets a pool take part, with what it has; one that was built with an allowance of zero has
    /// nothing yet.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, at the first call.
    pub(crate) fn join(self: &Arc<Self>, budget: &str, label: String, pool: Arc<dyn Shares>) {
        pool.watch(Arc::clone(&self.changes));
        let mut all = self.divided.lock();
        if !std::mem::replace(&mut all.attended, true) {
            tokio::spawn(attend(Arc::downgrade(self), Arc::clone(&self.changes)));
        }
        let Some(divided) = all.budgets.get_mut(budget) else {
            pool.allow(u32::MAX);
            return;
        };
        let allowed = pool.counts().total;
        pool.allow(allowed);
        divided.members.push(Member {
            label,
            pool,
            allowed,
            used: 0,
            since: Instant::now(),
        });
        divided.look();
    }

    /// Lets a pool go, with all that its limits allow. One that is closed counts until its
    /// connections are gone.
    pub(crate) fn leave(&self, label: &str) {
        let mut all = self.divided.lock();
        for divided in all.budgets.values_mut() {
            divided.members.retain(|member| {
                let leaves = member.label == label && !member.pool.is_closed();
                if leaves {
                    member.pool.allow(u32::MAX);
                }
                !leaves
            });
            divided.look();
        }
    }

    pub(crate) fn metrics(&self) -> Vec<BudgetMetrics> {
        let all = self.divided.lock();
        all.budgets
            .iter()
            .map(|(name, divided)| divided.metrics(name))
            .collect()
    }

    fn look(&self) -> Found {
        let mut all = self.divided.lock();
        let mut found = Found::Content;
        for divided in all.budgets.values_mut() {
            if divided.look() == Found::Short {
                found = Found::Short;
            }
        }
        found
    }
}

impl Drop for Budgets {
    fn drop(&mut self) {
        // The attendant finds that there is nothing to attend any more.
        self.changes.notify_one();
        for divided in self.divided.get_mut().budgets.values_mut() {
            divided.release();
        }
    }
}

/// Looks after budgets for as long as they exist. Does not keep them, or their pools.
async fn attend(budgets: Weak<Budgets>, changes: Arc<Notify>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut found = Found::Content;
    loop {
        tokio::select! {
            _ = ticks.tick(), if found == Found::Short => {}
            () = changes.notified() => {}
        }
        let Some(budgets) = budgets.upgrade() else {
            return;
        };
        found = budgets.look();
    }
}

impl Divided {
    /// Divides anew, and takes the first step towards that.
    fn look(&mut self) -> Found {
        let now = Instant::now();
        // What a closed pool has left counts until it is gone.
        self.members
            .retain(|member| !member.pool.is_closed() || member.pool.counts().total > 0);
        let lent: u32 = self.members.iter().map(|member| member.pool.lent()).sum();
        let budget = self.max.saturating_sub(lent);
        let claims: Vec<_> = self
            .members
            .iter_mut()
            .map(|member| member.claim(now))
            .collect();
        let parts = divide(budget, &claims, self.first);
        for (member, part) in self.members.iter_mut().zip(&parts) {
            member.allow(member.allowed.min(*part));
        }
        // Read again: from here on the counts of those that are allowed less only fall.
        let claims: Vec<_> = self.members.iter().map(Member::reading).collect();
        let allowed = step(budget, &claims, &parts, self.first);
        for (member, allowed) in self.members.iter_mut().zip(allowed) {
            member.allow(allowed);
        }
        self.take_turns(&claims, &parts, now);
        if self.members.iter().any(Member::is_short) {
            return Found::Short;
        }
        for member in &mut self.members {
            member.used = 0;
        }
        Found::Content
    }

    /// Where there are not enough for one each, everybody has one for a while.
    fn take_turns(&mut self, claims: &[Claim], parts: &[u32], now: Instant) {
        let starved = claims
            .iter()
            .zip(parts)
            .any(|(claim, part)| claim.demand > 0 && *part == 0);
        if !starved {
            self.turn_began = None;
            return;
        }
        let began = *self.turn_began.get_or_insert(now);
        if now.duration_since(began) >= TURN {
            self.turn_began = Some(now);
            self.first = (self.first + 1) % self.members.len();
        }
    }

    fn release(&mut self) {
        for member in self.members.drain(..) {
            // Nobody would give it more when it needs it.
            member.pool.allow(u32::MAX);
        }
    }

    fn metrics(&self, name: &str) -> BudgetMetrics {
        let part = |member: &Member| BudgetPart {
            pool: member.label.clone(),
            allowed: member.allowed,
            total: member.pool.counts().total + member.pool.lent(),
        };
        let pools: Vec<_> = self.members.iter().map(part).collect();
        BudgetMetrics {
            name: name.to_owned(),
            max_connections: self.max,
            total: pools.iter().map(|part| part.total).sum(),
            pools,
        }
    }
}

impl Member {
    fn reading(&self) -> Claim {
        let limits = self.pool.limits();
        let counts = self.pool.counts();
        let open = !self.pool.is_closed();
        Claim {
            min: if open { limits.min() } else { 0 },
            max: if open { limits.max() } else { 0 },
            demand: counts.active.max(self.used) + counts.waiting,
            staying: counts.total - counts.closing,
            total: counts.total,
            allowed: self.allowed,
        }
    }

    /// As [`reading`](Self::reading), having noted what is in use now.
    fn claim(&mut self, now: Instant) -> Claim {
        let active = self.pool.counts().active;
        if active >= self.used || now.duration_since(self.since) >= KEEP {
            self.used = active;
            self.since = now;
        }
        self.reading()
    }

    fn allow(&mut self, connections: u32) {
        if self.allowed != connections {
            self.allowed = connections;
            self.pool.allow(connections);
        }
    }

    fn is_short(&self) -> bool {
        let counts = self.pool.counts();
        counts.waiting > 0 && self.allowed < self.pool.limits().max()
    }
}

#[cfg(test)]
mod tests;
