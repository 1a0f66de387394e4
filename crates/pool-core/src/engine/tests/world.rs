//! Callers, tasks and a server around one engine, moved by random steps.

mod invariants;
mod operators;
mod tasks;

use std::collections::{BTreeMap, VecDeque};
use std::panic::Location;
use std::sync::Arc;
use std::task::Waker;

use super::model::{Model, Where};
use crate::Limits;
use crate::clock::{NEVER, Nanos};
use crate::engine::{
    CloseReason, ClosedSlot, ConnectOrder, Delivery, Effects, Given, Mailbox, Place, PutBack,
    Refusal, Refused, Rules, Slot, State, Task, Waiter, Withdrawn,
};

/// A step of the engine.
type Step = Box<dyn FnOnce(&mut State<u64>, Nanos, &mut Effects<u64>)>;

/// A connection is nothing but its number.
type Held = Box<Slot<u64>>;

pub(super) struct World {
    state: State<u64>,
    model: Model,
    now: Nanos,
    next_caller: u64,
    next_connection: u64,
    /// Callers in line with their places, in no particular order.
    callers: Vec<(u64, Waiter<u64>)>,
    /// When callers came.
    since: BTreeMap<u64, Nanos>,
    held: Vec<Held>,
    connects: Vec<ConnectOrder>,
    checks: Vec<Held>,
    cleanings: Vec<Held>,
    closings: Vec<(ClosedSlot, u64)>,
    connects_take: Nanos,
    /// Whether the step under way evicts what is idle, or tells of something broken.
    evicting: bool,
    failing: bool,
    /// Whether the last step looked at the queue and at what it is worth.
    pumped: bool,
    /// What the last step broke.
    broken: Option<String>,
    story: VecDeque<String>,
}

type Verdict = Result<(), String>;

/// The steps that end by serving the queue and connecting for the rest of it, by how their names
/// begin.
const PUMPS: &[&str] = &[
    "allow",
    "check failed",
    "closed",
    "connect failed",
    "detach",
    "landed",
    "queued",
    "release broken",
    "resize",
    "resume",
    "upkeep",
];

impl World {
    pub(super) fn new(rng: &mut fastrand::Rng) -> Self {
        let max = rng.u32(1..12);
        let min = rng.u32(0..=max.min(3));
        let sometimes =
            |rng: &mut fastrand::Rng, value: Nanos| if rng.bool() { value } else { NEVER };
        let rules = Rules {
            acquire_timeout: 150,
            bypass: [0, 40, NEVER][rng.usize(0..3)],
            idle_timeout: sometimes(rng, 300),
            surplus_timeout: sometimes(rng, 100),
            max_lifetime: sometimes(rng, 1_000),
            keepalive: sometimes(rng, 200),
            leak_threshold: sometimes(rng, 100),
            max_waiters: if rng.bool() { u32::MAX } else { 6 },
            max_connecting: rng.u32(1..5),
            backoff_base: 10,
            backoff_cap: 100,
            saturation_hold: 200,
            controlled_delay: rng.bool().then_some((50, 200)),
        };
        let limits = Limits::new(min, max).unwrap();
        let model = Model {
            min,
            max,
            allowance: u32::MAX,
            allowed: u32::MAX,
            always_checked: rules.bypass == 0,
            max_waiters: rules.max_waiters,
            ..Model::default()
        };
        let mut world = Self {
            state: State::new(limits, rules, rng.u64(..)),
            model,
            now: 0,
            next_caller: 1,
            next_connection: 1,
            callers: Vec::new(),
            since: BTreeMap::new(),
            held: Vec::new(),
            connects: Vec::new(),
            checks: Vec::new(),
            cleanings: Vec::new(),
            closings: Vec::new(),
            // Longer than most holds, or not.
            connects_take: [5, 2_000][rng.usize(0..2)],
            evicting: false,
            failing: false,
            pumped: false,
            broken: None,
            story: VecDeque::new(),
        };
        world.engine("start", State::grow);
        world
    }

    /// The last steps, for the report of a failure.
    pub(super) fn story(&self) -> String {
        let story: Vec<_> = self.story.iter().map(String::as_str).collect();
        format!(
            "{}\nmodel: {:#?}\ncounts: {}",
            story.join("\n"),
            self.model,
            self.state.counts()
        )
    }

    pub(super) fn step(&mut self, rng: &mut fastrand::Rng) {
        self.now += [0, 1, 7, 60][rng.usize(0..4)];
        self.pumped = false;
        match rng.u32(0..100) {
            0..22 => self.acquire(),
            22..40 => self.release(rng),
            40..45 => self.race(rng),
            45..50 => self.cancel(rng, false),
            50..54 => self.cancel(rng, true),
            54..66 => self.finish_connect(rng),
            66..74 => self.finish_check(rng),
            74..78 => self.finish_cleaning(rng),
            78..86 => self.finish_close(rng),
            86..89 => self.resize(rng),
            89 => self.allow(rng),
            90..93 => self.upkeep(),
            93 => self.retarget(rng),
            94 => self.evict(rng),
            95 => self.pause(rng),
            96 | 97 => self.resume(),
            98 => self.detach(rng),
            _ if rng.u32(0..20) == 0 => self.close(),
            _ => self.upkeep(),
        }
    }

    fn tell(&mut self, what: &str) {
        if self.story.len() == 40 {
            self.story.pop_front();
        }
        self.story.push_back(format!("{:>6} {what}", self.now));
    }

    fn expect(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(what());
        }
    }

    /// Takes one step of the engine and collects what it leaves to do.
    fn engine<T>(
        &mut self,
        name: &str,
        step: impl FnOnce(&mut State<u64>, Nanos, &mut Effects<u64>) -> T,
    ) -> T {
        self.evicting = name == "evict idle";
        self.failing = name.ends_with("broken") || name.ends_with("failed");
        self.pumped = PUMPS.iter().any(|pump| name.starts_with(pump));
        let resizing = name.starts_with("resize") || name.starts_with("allow");
        let before = self.settings();
        let idle = self.model.idle.clone();
        let mut surplus = Vec::new();
        let mut fx = Effects::none();
        let result = step(&mut self.state, self.now, &mut fx);
        self.tell(&format!("{name}: {} tasks", fx.tasks.len()));
        let mut connects = 0;
        for task in fx.tasks {
            match task {
                Task::Close { slot, reason } => {
                    self.check_reason(&slot, reason);
                    if reason == CloseReason::Surplus {
                        surplus.push(slot.connection);
                    }
                    self.model.put(slot.connection, Where::Closing);
                    let closed = ClosedSlot {
                        row: slot.row,
                        id: slot.id,
                        reason,
                    };
                    self.closings.push((closed, slot.connection));
                }
                Task::Connect(order) => {
                    connects += 1;
                    self.model.connecting += 1;
                    self.connects.push(order);
                }
                Task::Recycle(slot) => {
                    self.model.put(slot.connection, Where::Recycling);
                    self.cleanings.push(slot);
                }
                Task::Validate(slot) => {
                    self.model.put(slot.connection, Where::Validating);
                    self.checks.push(slot);
                }
            }
        }
        // Contract 3: of what is idle, the oldest is closed first.
        if resizing {
            self.expect(idle.starts_with(&surplus), || {
                format!("{surplus:?} were closed of {idle:?}, the oldest first")
            });
        }
        if connects > 0 {
            let shut = self.model.paused || self.model.closed;
            self.expect(!shut, || "a connect began at a closed gate".to_owned());
            // Contract 3: no connect starts while total ≥ max; contract 4: at most so many at once.
            let (total, max) = (self.model.total(), self.model.bound());
            self.expect(total <= max, || {
                format!("a connect began at {total} of {max}")
            });
            let (under_way, most) = (self.model.connecting, self.state.rules.max_connecting);
            self.expect(under_way <= most, || {
                format!("{under_way} connects at once of {most}")
            });
        }
        for delivery in fx.delivery.into_iter().chain(fx.deliveries) {
            if let Err(Ok(slot)) = delivery.hand_over() {
                let untake: Step = Box::new(|state, now, fx| state.untake(slot, now, fx));
                self.engine("passed on", untake);
            }
        }
        self.settle();
        // What is as it was before is not put in force again.
        self.pumped &= !(resizing || name == "resume") || self.settings() != before;
        result
    }

    fn settings(&self) -> impl PartialEq + use<> {
        let state = &self.state;
        (state.limits, state.allowance, state.allowed, state.gate)
    }

    /// Nothing is closed without the reason that is given for it.
    fn check_reason(&mut self, slot: &Slot<u64>, reason: CloseReason) {
        let model = &self.model;
        let connection = model.connections[&slot.connection];
        let wanted = self
            .state
            .target
            .unwrap_or(model.min)
            .clamp(model.min, model.max)
            .min(model.allowance);
        let open = model.open();
        let holds = match reason {
            CloseReason::Surplus => open > model.bound(),
            CloseReason::Idle => open + model.connecting > wanted.min(self.state.ceiling),
            CloseReason::Lifetime => slot.retiring || self.now >= slot.expires,
            CloseReason::Evicted => self.evicting || connection.generation != model.generation,
            CloseReason::Closed => model.closed,
            CloseReason::Broken | CloseReason::Invalid => self.failing,
            CloseReason::Refused => false,
        };
        let id = slot.connection;
        self.expect(holds, || {
            format!("connection {id} was closed as {reason} without cause")
        });
    }

    /// Lets every caller look. Those that were served must be the oldest ones, in order.
    fn settle(&mut self) {
        let mut served = Vec::new();
        let mut refused = Vec::new();
        for (caller, waiter) in std::mem::take(&mut self.callers) {
            match waiter.mailbox.look(Waker::noop()) {
                Err(_) => self.callers.push((caller, waiter)),
                Ok(Ok(slot)) => served.push((caller, slot)),
                Ok(Err(refusal)) => refused.push((caller, refusal)),
            }
        }
        refused.sort_by_key(|(caller, _)| *caller);
        for (caller, refusal) in refused {
            self.check_refusal(caller, &refusal);
            self.model.queue.retain(|waiting| *waiting != caller);
        }
        served.sort_by_key(|(caller, _)| *caller);
        for (caller, slot) in served {
            let oldest = self.model.queue.pop_front();
            let lending = !self.model.paused && !self.model.closed;
            self.expect(oldest == Some(caller) && lending, || {
                format!("{caller} served before {oldest:?}, lending: {lending}")
            });
            self.model.put(slot.connection, Where::Held);
            self.held.push(slot);
        }
    }

    /// Nobody is turned away without the reason that is given for it.
    fn check_refusal(&mut self, caller: u64, refusal: &Refusal) {
        let since = self.since.remove(&caller);
        let oldest = self.model.queue.front().copied();
        let holds = match refusal {
            Refusal::Closed => self.model.closed,
            Refusal::Connect(_) => self.failing && self.model.is_hopeless(),
            // Only the oldest are shed.
            Refusal::Shed => self.state.rules.controlled_delay.is_some() && oldest == Some(caller),
            Refusal::TimedOut(_) => {
                !has_own_timer(caller) && since.is_some_and(|since| self.is_over(since))
            }
        };
        self.expect(holds, || {
            format!("{caller}, since {since:?}, was told {refusal:?}; oldest: {oldest:?}")
        });
    }

    /// Whether the time of a caller is over that came at `since`.
    fn is_over(&self, since: Nanos) -> bool {
        since + self.state.rules.acquire_timeout <= self.now
    }

    fn acquire(&mut self) {
        let caller = self.next_caller;
        self.next_caller += 1;
        let (now, bypass) = (self.now, self.state.rules.bypass);
        let idle: Vec<_> = self
            .state
            .idle
            .iter()
            .map(|slot| (slot.connection, slot.proven))
            .collect();
        let expected = self.model.at_once(now, |id| {
            idle.iter()
                .any(|(idle, proven)| *idle == id && now - proven < bypass)
        });
        let here = Location::caller();
        if let Some(slot) = self.state.try_take(now, here) {
            let got = Some(slot.connection);
            self.expect(expected == got, || {
                format!("given {got:?}, expected {expected:?}")
            });
            self.model.put(slot.connection, Where::Held);
            self.held.push(slot);
            self.engine("taken", |_, _, _| {});
            return;
        }
        let mut fx = Effects::none();
        // The timer's clock is the same one here.
        let expires = if has_own_timer(caller) {
            NEVER
        } else {
            now + self.state.rules.acquire_timeout
        };
        let place = Place {
            since: now,
            caller: here,
            expires,
        };
        let mailbox = Mailbox::new(Waker::noop().clone());
        let full = self.model.queue_is_full(self.state.ceiling);
        let backing_off = self.state.backoff.waits(now);
        let given = self.state.queue(now, place, Arc::clone(&mailbox), &mut fx);
        let name = match given {
            Given::Place(_) => "queued",
            Given::Refused(_) => "refused",
        };
        match given {
            Given::Place(number) => {
                let refusable = full || self.model.closed;
                self.expect(expected.is_none() && !refusable, || {
                    format!("queued in front of {expected:?}; full: {full}")
                });
                self.callers.push((caller, Waiter { number, mailbox }));
                self.since.insert(caller, now);
                self.model.queue.push_back(caller);
            }
            Given::Refused(refused) => {
                let holds = match &refused {
                    Refused::Closed => self.model.closed,
                    Refused::Connect(_) => {
                        self.model.is_hopeless() && self.model.connecting == 0 && backing_off
                    }
                    Refused::QueueFull => full,
                };
                self.expect(expected.is_none() && holds, || {
                    format!("refused, {refused:?}, expected {expected:?}; full: {full}")
                });
            }
        }
        self.engine(name, |_, _, out| *out = fx);
    }

    fn release(&mut self, rng: &mut fastrand::Rng) {
        if self.held.is_empty() {
            return;
        }
        let slot = self.held.swap_remove(rng.usize(0..self.held.len()));
        let id = slot.connection;
        match rng.u32(0..10) {
            0 => {
                self.engine("release broken", |state, now, fx| {
                    state.put_back_broken(slot, now, fx)
                });
                self.check_place(id, (Where::Closing, None));
            }
            1 => {
                self.engine("release dirty", |state, now, fx| {
                    state.put_back_dirty(slot, now, fx)
                });
            }
            _ => {
                let retiring = slot.retiring || self.now >= slot.retires;
                let expected = self.model.destination(id, self.now);
                let shedding = self.state.rules.controlled_delay.is_some();
                self.engine("release", |state, now, fx| {
                    match state.try_put_back(slot, now) {
                        PutBack::Idle => {}
                        PutBack::Handed(slot, mailbox) => {
                            fx.deliver(Delivery::new(mailbox, Ok(slot)))
                        }
                        PutBack::NotYet(slot) => state.put_back(slot, now, fx),
                    }
                });
                if retiring || shedding {
                    // Settled by the general invariants.
                    self.sync_place(id);
                } else {
                    self.check_place(id, expected);
                }
            }
        }
    }

    /// Where the engine put a connection, from the engine's own table.
    fn place_of(&self, id: u64) -> Where {
        if self.state.idle.iter().any(|slot| slot.connection == id) {
            Where::Idle
        } else {
            self.model.connections[&id].place
        }
    }

    fn sync_place(&mut self, id: u64) {
        if self.place_of(id) == Where::Idle {
            self.model.put(id, Where::Idle);
        }
    }

    fn check_place(&mut self, id: u64, expected: (Where, Option<u64>)) {
        self.sync_place(id);
        let place = self.place_of(id);
        let (wanted, _) = expected;
        self.expect(place == wanted, || {
            format!("connection {id} is {place:?}, not {wanted:?}")
        });
    }

    fn cancel(&mut self, rng: &mut fastrand::Rng, timeout: bool) {
        if self.callers.is_empty() {
            return;
        }
        let (caller, waiter) = self.callers.swap_remove(rng.usize(0..self.callers.len()));
        self.model.queue.retain(|waiting| *waiting != caller);
        let withdrawn = if timeout {
            self.engine("timeout", |state, _, _| state.expire(&waiter))
        } else {
            self.engine("cancel", |state, now, fx| state.cancel(&waiter, now, fx))
        };
        // Callers look after each step, so nobody gives up with something in its hands; that is
        // what `race` is for.
        let bare = matches!(withdrawn, Withdrawn::Place(_));
        self.expect(bare, || format!("{caller} gave up with {withdrawn:?}"));
    }

    /// A connection is handed to the oldest caller, which gives up before it has looked.
    fn race(&mut self, rng: &mut fastrand::Rng) {
        let Some(caller) = self.model.queue.front().copied() else {
            return;
        };
        if self.held.is_empty() || self.state.rules.controlled_delay.is_some() {
            return;
        }
        let slot = self.held.swap_remove(rng.usize(0..self.held.len()));
        let id = slot.connection;
        let handed = self.model.destination(id, self.now) == (Where::Held, Some(caller));
        if slot.retiring || self.now >= slot.retires || !handed {
            self.held.push(slot);
            return;
        }
        let at = self
            .callers
            .iter()
            .position(|(other, _)| *other == caller)
            .unwrap();
        let (_, waiter) = self.callers.swap_remove(at);
        self.model.queue.pop_front();
        let (arrived, timeout) = (rng.bool(), rng.bool());
        let next = self.model.queue.front().copied();
        let withdrawn = self.engine("hand, give up", |state, now, fx| {
            state.put_back(slot, now, fx);
            if arrived {
                let delivery = fx.delivery.take().expect("it was handed on");
                assert!(delivery.hand_over().is_ok(), "the caller is there");
            }
            if timeout {
                state.expire(&waiter)
            } else {
                state.cancel(&waiter, now, fx)
            }
        });
        match withdrawn {
            // Its time was over just then: it takes what has arrived.
            Withdrawn::Outcome(Ok(slot)) if arrived && timeout => {
                self.expect(slot.connection == id, || format!("not {id}"));
                self.held.push(slot);
                return;
            }
            // It was dropped, or nothing had arrived yet: the next one gets the connection.
            Withdrawn::PassedOn if arrived && !timeout => {}
            Withdrawn::Place(_) if !arrived => {}
            other => self.expect(false, || format!("{caller} lost {id}: {other:?}")),
        }
        let wanted = if next.is_some() {
            Where::Held
        } else {
            Where::Idle
        };
        self.check_place(id, (wanted, next));
    }
}

/// One caller in five has a timer of its own; the pool keeps the time of the others.
const fn has_own_timer(caller: u64) -> bool {
    caller.is_multiple_of(5)
}
