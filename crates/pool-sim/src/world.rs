//! The world: one database, its pools, their callers, and a queue of what happens next.

mod act;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use pool_core::sizing;

use crate::database::Database;
use crate::pool::{Place, Pool};
use crate::random::Random;
use crate::score::{Decisions, Recorder, Run};
use crate::subject::{Growth, Plan, Subject};
use crate::time::{NEVER, Nanos, SECOND, from_secs, secs};
use crate::workload::Workload;

/// How often idle connections are looked at and curves are drawn.
const TICK: Nanos = SECOND / 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    Crowd(u32),
    Act(usize),
    Leak,
    Tick,
    Evaluate(usize),
    /// The pool wants to look again at what it needs.
    Again(usize),
    /// Hikari's opener has paused.
    OpenerFree(usize),
    /// Pool, disasters before, when it began, for whom.
    Landed(usize, u32, Nanos, Option<(usize, u64)>),
    /// An inline connect that failed is tried again.
    Inline(usize, u64),
    /// A caller that held on after its query is done.
    LetsGo(usize, u64),
    TimesOut(usize, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Waits,
    /// It opens a connection of its own, so many failures before.
    Opens(u32),
    Holds(Nanos),
}

#[derive(Clone, Copy, Debug)]
struct Request {
    pool: usize,
    state: State,
    /// Tells a place from who had it before.
    serial: u64,
    since: Nanos,
    work: f64,
    holds_on: f64,
    tries: u32,
    generation: u32,
}

struct World<'w> {
    workload: &'w Workload,
    now: Nanos,
    end: Nanos,
    events: BinaryHeap<Reverse<(Nanos, u64, Event)>>,
    sequence: u64,
    database: Database,
    down: bool,
    connections: u32,
    pools: Vec<Pool>,
    /// The share of the load up to and with each pool that takes part.
    shares: Vec<f64>,
    first: usize,
    requests: Vec<Request>,
    free: Vec<usize>,
    serial: u64,
    leaks_due: u32,
    arrivals: Random,
    works: Random,
    connects: Random,
    choices: Random,
    recorder: Recorder,
    plan: &'w dyn Fn() -> Plan,
}

/// Runs `workload` on pools of `subject`. The same seed gives the same run, to the nanosecond.
#[must_use]
pub fn run(workload: &Workload, subject: Subject, oracle: u32, seed: u64) -> Run {
    run_plan(workload, &|| subject.plan(workload.limits, oracle), seed)
}

/// Runs `workload` on pools of a fixed size.
#[must_use]
pub fn run_fixed(workload: &Workload, size: u32, seed: u64) -> Run {
    run(workload, Subject::FixedOracle, size, seed)
}

fn run_plan(workload: &Workload, plan: &dyn Fn() -> Plan, seed: u64) -> Run {
    let end = from_secs(workload.lasts);
    let mut world = World {
        workload,
        now: 0,
        end,
        events: BinaryHeap::new(),
        sequence: 0,
        database: Database::new(workload.law),
        down: false,
        connections: 0,
        pools: Vec::new(),
        shares: Vec::new(),
        first: 0,
        requests: Vec::new(),
        free: Vec::new(),
        serial: 0,
        leaks_due: 0,
        arrivals: Random::new(seed, 1),
        works: Random::new(seed, 2),
        connects: Random::new(seed, 3),
        choices: Random::new(seed, 4),
        recorder: Recorder::new(end, TICK),
        plan,
    };
    world.begin();
    world.go();
    world.finish()
}

impl World<'_> {
    fn begin(&mut self) {
        self.start_instances();
        // Pools begin warm: what is compared is not how a service starts.
        let connect = self.workload.connect.mean();
        for pool in &mut self.pools {
            pool.knows_connects(from_secs(connect));
            let room = self.workload.accepts - self.connections;
            for _ in 0..pool.floor().min(room) {
                pool.idle.push_back(0);
                self.connections += 1;
            }
        }
        if self.workload.rate.most() > 0.0 {
            self.next_arrival();
        }
        if let Some((at, callers)) = self.workload.crowd {
            self.at(from_secs(at), Event::Crowd(callers));
        }
        for (index, (at, _)) in self.workload.events.iter().enumerate() {
            self.at(from_secs(*at), Event::Act(index));
        }
        if let Some(every) = self.workload.leak {
            self.at(from_secs(every), Event::Leak);
        }
        self.at(TICK, Event::Tick);
    }

    /// A fleet's instances, or the one there is. Those that start take the whole load.
    fn start_instances(&mut self) {
        self.first = self.pools.len();
        self.shares.clear();
        let mut share = 0.0;
        for rank in 1..=self.workload.instances {
            let pool = Pool::new((self.plan)(), self.now);
            let index = self.pools.len();
            if let Some((_, every)) = &pool.plan.policy {
                let every = from_secs(every.as_secs_f64());
                self.at(self.now + every, Event::Evaluate(index));
            }
            self.pools.push(pool);
            share += 1.0 / f64::from(rank);
            self.shares.push(share);
        }
    }

    fn at(&mut self, at: Nanos, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn go(&mut self) {
        loop {
            let next = self.events.peek().map_or(NEVER, |Reverse((at, ..))| *at);
            let done = self.database.next().max(self.now);
            if next.min(done) > self.end {
                break;
            }
            if done <= next {
                self.now = done;
                if let Some(request) = self.database.finish(done) {
                    self.query_done(request);
                }
            } else if let Some(Reverse((at, _, event))) = self.events.pop() {
                self.now = at;
                self.happen(event);
            }
        }
        self.now = self.end;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrives => {
                self.next_arrival();
                self.arrives();
            }
            Event::Crowd(callers) => (0..callers).for_each(|_| self.arrives()),
            Event::Act(index) => self.act(self.workload.events[index].1),
            Event::Leak => {
                self.leaks_due += 1;
                let every = from_secs(self.workload.leak.unwrap_or(f64::MAX));
                self.at(self.now + every, Event::Leak);
            }
            Event::Tick => self.tick(),
            Event::Evaluate(pool) => self.evaluate(pool),
            Event::Again(pool) => self.grow(pool),
            Event::OpenerFree(pool) => {
                self.pools[pool].opener_busy = false;
                self.grow(pool);
            }
            Event::Landed(pool, generation, began, caller) => {
                self.landed(pool, generation, began, caller);
            }
            Event::Inline(request, serial) => {
                if self.is_still(request, serial) {
                    let pool = self.requests[request].pool;
                    self.connect(pool, Some((request, serial)));
                }
            }
            Event::LetsGo(request, serial) => {
                if self.is_still(request, serial) {
                    self.gives_back(request);
                }
            }
            Event::TimesOut(request, serial) => self.times_out(request, serial),
        }
    }

    fn is_still(&self, request: usize, serial: u64) -> bool {
        self.requests[request].serial == serial
    }

    /// The next moment of a Poisson process whose rate changes, by thinning.
    fn next_arrival(&mut self) {
        let most = self.workload.rate.most();
        let mut at = secs(self.now);
        while at <= self.workload.lasts {
            at += self.arrivals.exponential() / most;
            let rate = self.workload.rate.at(at, self.workload.lasts);
            if self.arrivals.unit() * most < rate {
                self.at(from_secs(at), Event::Arrives);
                return;
            }
        }
    }

    fn arrives(&mut self) {
        let work = self.works.seconds(self.workload.query);
        let (share, holds_on) = self.workload.long;
        let holds_on = if share > 0.0 && self.works.unit() < share {
            holds_on
        } else {
            0.0
        };
        let pool = self.choose();
        self.asks(pool, work, holds_on, 0);
    }

    fn choose(&mut self) -> usize {
        let whole = self.shares.last().copied().unwrap_or(1.0);
        let drawn = if self.shares.len() > 1 {
            self.choices.unit() * whole
        } else {
            0.0
        };
        self.first + self.shares.partition_point(|share| *share <= drawn)
    }

    fn asks(&mut self, pool: usize, work: f64, holds_on: f64, tries: u32) {
        self.recorder.arrived();
        self.serial += 1;
        let request = Request {
            pool,
            state: State::Waits,
            serial: self.serial,
            since: self.now,
            work,
            holds_on,
            tries,
            generation: 0,
        };
        let index = match self.free.pop() {
            Some(index) => {
                self.requests[index] = request;
                index
            }
            None => {
                self.requests.push(request);
                self.requests.len() - 1
            }
        };
        self.recorder.waits(self.now, 1);
        let patience = from_secs(self.workload.patience);
        let (serial, now) = (self.serial, self.now);
        let target = &mut self.pools[pool];
        target.integrate(now);
        target.counts.arrivals += 1;
        if target.waiting == 0 && target.take_idle() {
            return self.lend(pool, index);
        }
        self.at(now + patience, Event::TimesOut(index, serial));
        self.pools[pool].counts.waited += 1;
        let target = &mut self.pools[pool];
        if target.plan.growth == Growth::Inline && target.total() < target.most() {
            self.opens_inline(pool, index);
            return;
        }
        if target.waiting == 0 {
            target.guess.forget();
        }
        target.waiters.push_back(Place {
            request: index,
            serial,
            since: now,
        });
        target.waiting += 1;
        self.grow(pool);
    }

    fn opens_inline(&mut self, pool: usize, request: usize) {
        self.pools[pool].integrate(self.now);
        self.pools[pool].connecting += 1;
        self.requests[request].state = State::Opens(0);
        let serial = self.requests[request].serial;
        self.connect(pool, Some((request, serial)));
    }

    /// The connection has been taken from where it was.
    fn lend(&mut self, pool: usize, index: usize) {
        let now = self.now;
        let request = &mut self.requests[index];
        let waited = now - request.since;
        request.state = State::Holds(now);
        let target = &mut self.pools[pool];
        request.generation = target.generation;
        // The serial changes, so that its timeout finds nobody.
        self.serial += 1;
        request.serial = self.serial;
        target.lent();
        target.waited(waited);
        self.recorder.waits(now, -1);
        self.recorder.holds(now, 1);
        self.recorder.served(now, waited);
        self.database.begin(index, request.work, now);
    }

    fn query_done(&mut self, request: usize) {
        let holds_on = self.requests[request].holds_on;
        if holds_on > 0.0 {
            let serial = self.requests[request].serial;
            self.at(
                self.now + from_secs(holds_on),
                Event::LetsGo(request, serial),
            );
        } else {
            self.gives_back(request);
        }
    }

    fn gives_back(&mut self, index: usize) {
        let request = self.requests[index];
        let State::Holds(since) = request.state else {
            return;
        };
        self.forget(index);
        let (pool, now) = (request.pool, self.now);
        let held = now - since;
        self.recorder.holds(now, -1);
        self.recorder.held(held);
        let target = &mut self.pools[pool];
        target.integrate(now);
        if self.leaks_due > 0 {
            // The caller is done and its connection never comes back.
            self.leaks_due -= 1;
            return;
        }
        target.returned(held);
        target.in_use -= 1;
        if request.generation != target.generation {
            return self.grow(pool);
        }
        self.deliver(pool);
    }

    fn forget(&mut self, index: usize) {
        self.requests[index].state = State::Free;
        self.requests[index].serial = 0;
        self.free.push(index);
    }

    /// A connection that is in no place goes to the oldest caller, or becomes idle, or is closed.
    fn deliver(&mut self, pool: usize) {
        let now = self.now;
        let target = &mut self.pools[pool];
        let over = target.retired && target.waiting == 0;
        if over || target.open() >= target.most() {
            self.connections -= 1;
            self.recorder.sized(now, self.connections);
            return self.grow(pool);
        }
        while let Some(place) = target.waiters.pop_front() {
            if self.requests[place.request].serial == place.serial {
                target.waiting -= 1;
                return self.lend(pool, place.request);
            }
        }
        target.idle.push_back(now);
    }

    fn times_out(&mut self, index: usize, serial: u64) {
        if !self.is_still(index, serial) {
            return;
        }
        let Request {
            pool,
            state,
            since,
            work,
            holds_on,
            tries,
            ..
        } = self.requests[index];
        self.forget(index);
        self.recorder.waits(self.now, -1);
        self.recorder.timed_out(self.now, self.now - since);
        let target = &mut self.pools[pool];
        target.integrate(self.now);
        if matches!(state, State::Opens(_)) {
            // Whoever gives up drops the connect as well.
            target.connecting -= 1;
            self.next_inline(pool);
        } else {
            target.waiting -= 1;
            // Nobody of those who gave up stays in front of the queue.
            while target
                .waiters
                .front()
                .is_some_and(|place| self.requests[place.request].serial != place.serial)
            {
                target.waiters.pop_front();
            }
        }
        self.pools[pool].waited(self.now - since);
        self.grow(pool);
        if tries < self.workload.retries {
            self.asks(pool, work, holds_on, tries + 1);
        }
    }

    /// There is room for the connect of another caller in line.
    fn next_inline(&mut self, pool: usize) {
        loop {
            let target = &mut self.pools[pool];
            if target.plan.growth != Growth::Inline || target.total() >= target.most() {
                return;
            }
            let Some(place) = target.waiters.pop_front() else {
                return;
            };
            if self.requests[place.request].serial == place.serial {
                target.waiting -= 1;
                self.opens_inline(pool, place.request);
            }
        }
    }

    fn grow(&mut self, pool: usize) {
        let target = &mut self.pools[pool];
        target.integrate(self.now);
        let wish = target.wish(self.now);
        if let Some(again) = wish.again {
            self.at(again, Event::Again(pool));
        }
        for _ in 0..wish.connects {
            let target = &mut self.pools[pool];
            target.connecting += 1;
            target.opener_busy = true;
            self.connect(pool, None);
        }
    }

    fn connect(&mut self, pool: usize, caller: Option<(usize, u64)>) {
        self.recorder.connects += 1;
        let takes = self.connects.nanos(self.workload.connect);
        let takes = if self.down { SECOND / 1_000 } else { takes };
        let generation = self.pools[pool].generation;
        let landed = Event::Landed(pool, generation, self.now, caller);
        self.at(self.now + takes, landed);
    }

    fn landed(&mut self, pool: usize, generation: u32, began: Nanos, caller: Option<(usize, u64)>) {
        let now = self.now;
        if caller.is_some_and(|(request, serial)| !self.is_still(request, serial)) {
            // It has given up, and its connect with it.
            return;
        }
        let target = &mut self.pools[pool];
        target.integrate(now);
        let full = self.connections >= self.workload.accepts;
        let failed = self.down || full || generation != target.generation;
        if failed {
            self.recorder.failures += 1;
            target.failed(full && !self.down, now, &mut self.choices);
            match caller {
                Some((request, serial)) => self.fails_inline(request, serial),
                None => {
                    target.connecting -= 1;
                    target.opener_busy = false;
                    self.grow(pool);
                }
            }
            return;
        }
        target.connecting -= 1;
        target.landed(now - began);
        self.connections += 1;
        self.recorder.sized(now, self.connections);
        match caller {
            Some((request, _)) => self.lend(pool, request),
            None => {
                self.deliver(pool);
                if self.pools[pool].plan.growth == Growth::Hikari {
                    // It pauses for 30 ms after each connection.
                    self.at(now + 3 * SECOND / 100, Event::OpenerFree(pool));
                } else {
                    self.grow(pool);
                }
            }
        }
    }

    /// sqlx's pause: from 10 ms, doubled, up to a fifth of the caller's time.
    fn fails_inline(&mut self, request: usize, serial: u64) {
        if let State::Opens(failures) = &mut self.requests[request].state {
            let pause =
                (0.010 * f64::from(1 << (*failures).min(12))).min(self.workload.patience / 5.0);
            *failures += 1;
            self.at(self.now + from_secs(pause), Event::Inline(request, serial));
        }
    }

    fn evaluate(&mut self, pool: usize) {
        let target = &mut self.pools[pool];
        if target.retired {
            return;
        }
        let seen = target.observe(self.now);
        let Some((policy, every)) = &mut target.plan.policy else {
            return;
        };
        let decision = sizing::decide(policy.as_mut(), &seen);
        let every = from_secs(every.as_secs_f64());
        let closed = target.apply(&seen, &decision);
        self.connections -= closed;
        self.recorder.sized(self.now, self.connections);
        self.at(self.now + every, Event::Evaluate(pool));
        self.next_inline(pool);
        self.grow(pool);
    }

    fn tick(&mut self) {
        for index in 0..self.pools.len() {
            if self.pools[index].retired {
                continue;
            }
            let target = &mut self.pools[index];
            target.integrate(self.now);
            let closed = target.upkeep(self.now);
            self.connections -= closed;
            self.grow(index);
        }
        self.recorder.sized(self.now, self.connections);
        self.recorder.tick(self.now, self.connections);
        self.at(self.now + TICK, Event::Tick);
    }

    fn finish(mut self) -> Run {
        let now = self.now;
        // Brings the database's account up to the end.
        self.database.slow_down(1.0, now);
        self.recorder.sized(now, self.connections);
        self.recorder.waits(now, 0);
        self.recorder.holds(now, 0);
        let decisions = Decisions::sum(self.pools.iter().map(|pool| pool.decisions));
        self.recorder
            .into_run(self.workload, decisions, &self.database)
    }
}
