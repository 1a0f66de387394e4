//! The second tier: the same workloads on the real engine, under paused time.
//!
//! Here the queue, the hand-off, the connect tasks and the controller are those of `pool-core`; the
//! database, the callers and the scores are the simulator's. Time is `tokio`'s, paused, so that a
//! day passes in seconds. Its timers know milliseconds only, so everything happens in slow motion:
//! what takes 5 ms in a workload takes 100 ms here, for policies as well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pool_core::sizing::{
    AdaptiveConfig, AdaptivePolicy, Decision, Observation, SizingPolicy, ThresholdPolicy,
};
use pool_core::{
    ConnectFault, ConnectionManager, DynamicPoolConfig, DynamicSizing as _, Liveness, Pool,
    ReleaseCheck, TimeSource,
};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::database::Database;
use crate::random::Random;
use crate::score::{Decisions, Recorder, Run};
use crate::subject::{Subject, threshold};
use crate::time::{NEVER, Nanos, SECOND, from_secs};
use crate::workload::{Act, Workload};

/// How many times slower than in the workload.
const SLOW_MOTION: u32 = 20;

/// How often curves are drawn.
const TICK: Nanos = SECOND / 20;

/// The subjects that the engine can be.
pub const SUBJECTS: [Subject; 5] = [
    Subject::FixedMin,
    Subject::FixedMax,
    Subject::FixedOracle,
    Subject::ThresholdReactive,
    Subject::AdaptiveReactive,
];

/// Runs `workload` on the engine, on one thread. The same seed gives the same callers.
///
/// # Panics
///
/// For a subject that is not one of [`SUBJECTS`], a workload of several instances, and within a
/// runtime.
#[must_use]
pub fn run(workload: &Workload, subject: Subject, oracle: u32, seed: u64) -> Run {
    assert!(
        SUBJECTS.contains(&subject),
        "the engine is not {}",
        subject.name()
    );
    assert_eq!(workload.instances, 1, "one pool at a time");
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O")
        .block_on(drive(workload, subject, oracle, seed))
}

fn slow(nanos: Nanos) -> Duration {
    Duration::from_nanos(nanos) * SLOW_MOTION
}

/// What the server, the callers and the pool's connections share.
struct World {
    began: Instant,
    state: Mutex<State>,
    /// The next query to be done is another one.
    changed: Notify,
    down: AtomicBool,
    decisions: Mutex<Decisions>,
}

struct State {
    database: Database,
    queries: Vec<Option<oneshot::Sender<()>>>,
    free: Vec<usize>,
    connects: Random,
    open: u32,
    generation: u64,
    recorder: Recorder,
    workload: Workload,
    leaks_due: u32,
}

impl World {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The workload's clock.
    fn now(&self) -> Nanos {
        let passed = self.began.elapsed() / SLOW_MOTION;
        Nanos::try_from(passed.as_nanos()).unwrap_or(NEVER)
    }

    async fn sleep_until(&self, at: Nanos) {
        tokio::time::sleep_until(self.began + slow(at)).await;
    }

    /// The database works for a query; ends as well when the connection dies.
    async fn query(&self, work: f64) {
        let done = {
            let (tell, done) = oneshot::channel();
            let now = self.now();
            let mut state = self.state();
            let query = match state.free.pop() {
                Some(query) => query,
                None => {
                    state.queries.push(None);
                    state.queries.len() - 1
                }
            };
            state.queries[query] = Some(tell);
            state.database.begin(query, work, now);
            done
        };
        self.changed.notify_one();
        // An error is the end of the connection, and of the query with it.
        let _ = done.await;
    }

    /// Tells callers that their queries are done, for as long as it is not dropped.
    async fn serve(&self) {
        loop {
            let next = self.state().database.next();
            if next == NEVER {
                self.changed.notified().await;
            } else if next > self.now() {
                tokio::select! {
                    () = self.sleep_until(next) => {}
                    () = self.changed.notified() => {}
                }
            } else {
                let mut state = self.state();
                let now = self.now().max(next);
                if let Some(query) = state.database.finish(now) {
                    state.queries[query].take().map(|tell| tell.send(()));
                    state.free.push(query);
                }
            }
        }
    }

    fn act(&self, act: Act, pool: &Pool<Server>) {
        let now = self.now();
        match act {
            Act::Slow(times) => self.state().database.slow_down(times, now),
            Act::Down => {
                self.down.store(true, Ordering::Relaxed);
                let mut state = self.state();
                state.generation += 1;
                state.open = 0;
                state.recorder.sized(now, 0);
                for query in state.database.abort(now) {
                    state.queries[query] = None;
                    state.free.push(query);
                }
                drop(state);
                // What an adapter does when a server says that it goes down.
                pool.soft_evict();
            }
            Act::Up => self.down.store(false, Ordering::Relaxed),
            Act::Deploy | Act::Retire => {}
        }
        self.changed.notify_one();
    }
}

struct Server(Arc<World>);

/// A connection, opened before or after so many disasters.
struct Line {
    world: Arc<World>,
    generation: u64,
}

impl Drop for Line {
    fn drop(&mut self) {
        let now = self.world.now();
        let mut state = self.world.state();
        if state.generation == self.generation {
            state.open -= 1;
            let open = state.open;
            state.recorder.sized(now, open);
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Refused {
    Down,
    Full,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Down => "the server is down",
            Self::Full => "the server has no room",
        })
    }
}

impl std::error::Error for Refused {}

impl ConnectionManager for Server {
    type Connection = Line;
    type Error = Refused;

    async fn connect(&self) -> Result<Line, Refused> {
        let world = &self.0;
        let takes = {
            let mut state = world.state();
            state.recorder.connects += 1;
            let law = state.workload.connect;
            state.connects.nanos(law)
        };
        let down = || world.down.load(Ordering::Relaxed);
        if !down() {
            tokio::time::sleep(slow(takes)).await;
        }
        let now = world.now();
        let mut state = world.state();
        let refused = if down() {
            Some(Refused::Down)
        } else if state.open >= state.workload.accepts {
            Some(Refused::Full)
        } else {
            None
        };
        if let Some(refused) = refused {
            state.recorder.failures += 1;
            return Err(refused);
        }
        state.open += 1;
        let (open, generation) = (state.open, state.generation);
        state.recorder.sized(now, open);
        Ok(Line {
            world: Arc::clone(world),
            generation,
        })
    }

    async fn validate(&self, line: &mut Line) -> Result<(), Refused> {
        match self.release_check(line) {
            ReleaseCheck::Clean => Ok(()),
            _ => Err(Refused::Down),
        }
    }

    fn release_check(&self, line: &mut Line) -> ReleaseCheck {
        if self.0.state().generation == line.generation {
            ReleaseCheck::Clean
        } else {
            ReleaseCheck::Broken
        }
    }

    fn classify(&self, refused: &Refused) -> ConnectFault {
        match refused {
            Refused::Down => ConnectFault::Transient,
            Refused::Full => ConnectFault::Saturated,
        }
    }
}

/// Counts what a policy changes.
#[derive(Debug)]
struct Counted<P>(P, Arc<World>);

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

impl<P: SizingPolicy> SizingPolicy for Counted<P> {
    fn decide(&mut self, seen: &Observation) -> Decision {
        let decision = self.0.decide(seen);
        let mut decisions = self
            .1
            .decisions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        decisions.note(seen, &decision);
        decision
    }

    fn interval(&self) -> Option<Duration> {
        self.0.interval()
    }

    fn surplus_timeout(&self) -> Option<Duration> {
        self.0.surplus_timeout()
    }
}

fn build(workload: &Workload, subject: Subject, oracle: u32, world: &Arc<World>) -> Pool<Server> {
    let (min, max) = match subject {
        Subject::FixedMin => (workload.limits.0, workload.limits.0),
        Subject::FixedMax => (workload.limits.1, workload.limits.1),
        Subject::FixedOracle => (oracle, oracle),
        _ => workload.limits,
    };
    let backoff = |millis| Duration::from_millis(millis) * SLOW_MOTION;
    let pool = Pool::builder(Server(Arc::clone(world)))
        .limits(min, max)
        .acquire_timeout(slow(from_secs(workload.patience)))
        .connect_timeout(slow(60 * SECOND))
        .backoff(backoff(10), backoff(500))
        .idle_timeout(None)
        .max_lifetime(None)
        .liveness(Liveness::Never)
        .time_source(TimeSource::Tokio)
        .seed(1)
        .build()
        .expect("the simulator's own settings are valid");
    let config = threshold(min, max);
    let config = DynamicPoolConfig {
        evaluation_interval: config.evaluation_interval * u64::from(SLOW_MOTION),
        ..config
    };
    match subject {
        Subject::ThresholdReactive => {
            pool.set_dynamic_pool_config(config)
                .expect("the simulator's own is valid");
            let policy = ThresholdPolicy::new(config).expect("the simulator's own is valid");
            pool.set_sizing_policy(Counted(policy, Arc::clone(world)));
        }
        Subject::AdaptiveReactive => {
            let mut config = AdaptiveConfig::default();
            for time in [
                &mut config.wait_target,
                &mut config.interval,
                &mut config.memory,
                &mut config.surplus_timeout,
            ] {
                *time *= SLOW_MOTION;
            }
            let policy = AdaptivePolicy::new(config).expect("the defaults are valid");
            pool.set_sizing_policy(Counted(policy, Arc::clone(world)));
        }
        _ => {}
    }
    pool
}

async fn drive(workload: &Workload, subject: Subject, oracle: u32, seed: u64) -> Run {
    let end = from_secs(workload.lasts);
    let world = Arc::new(World {
        began: Instant::now(),
        state: Mutex::new(State {
            database: Database::new(workload.law),
            queries: Vec::new(),
            free: Vec::new(),
            connects: Random::new(seed, 3),
            open: 0,
            generation: 0,
            recorder: Recorder::new(end, TICK),
            workload: workload.clone(),
            leaks_due: 0,
        }),
        changed: Notify::new(),
        down: AtomicBool::new(false),
        decisions: Mutex::default(),
    });
    let pool = build(workload, subject, oracle, &world);
    let scene = async {
        tokio::join!(
            callers(workload, seed, &world, &pool),
            crowd(workload, &world, &pool),
            acts(workload, &world, &pool),
            leaks(workload, &world),
            look(&world),
        )
    };
    tokio::select! {
        _ = scene => {}
        () = world.serve() => {}
        () = world.sleep_until(end) => {}
    }
    let decisions = *world
        .decisions
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let mut state = world.state();
    state.database.slow_down(1.0, end);
    let open = state.open;
    state.recorder.sized(end, open);
    let recorder = std::mem::replace(&mut state.recorder, Recorder::new(0, TICK));
    recorder.into_run(workload, decisions, &state.database)
}

/// The same callers as in the first tier, at the same moments, with the same work.
async fn callers(workload: &Workload, seed: u64, world: &Arc<World>, pool: &Pool<Server>) {
    let (mut arrivals, mut works) = (Random::new(seed, 1), Random::new(seed, 2));
    let most = workload.rate.most();
    if most <= 0.0 {
        return std::future::pending().await;
    }
    let mut at = 0.0;
    loop {
        at += arrivals.exponential() / most;
        let rate = workload.rate.at(at, workload.lasts);
        if arrivals.unit() * most < rate {
            world.sleep_until(from_secs(at)).await;
            ask(workload, &mut works, world, pool);
        }
    }
}

async fn crowd(workload: &Workload, world: &Arc<World>, pool: &Pool<Server>) {
    if let Some((at, callers)) = workload.crowd {
        let mut works = Random::new(0, 2);
        world.sleep_until(from_secs(at)).await;
        (0..callers).for_each(|_| ask(workload, &mut works, world, pool));
    }
    std::future::pending().await
}

fn ask(workload: &Workload, works: &mut Random, world: &Arc<World>, pool: &Pool<Server>) {
    let work = works.seconds(workload.query);
    let (share, holds_on) = workload.long;
    let long = share > 0.0 && works.unit() < share;
    let holds_on = if long { holds_on } else { 0.0 };
    let caller = Caller {
        world: Arc::clone(world),
        pool: pool.clone(),
        work,
        holds_on,
        retries: workload.retries,
    };
    tokio::spawn(caller.live());
}

struct Caller {
    world: Arc<World>,
    pool: Pool<Server>,
    work: f64,
    holds_on: f64,
    retries: u32,
}

impl Caller {
    async fn live(self) {
        for _ in 0..=self.retries {
            let asked = self.world.now();
            {
                let mut state = self.world.state();
                state.recorder.arrived();
                state.recorder.waits(asked, 1);
            }
            let acquired = self.pool.acquire_owned().await;
            let now = self.world.now();
            self.settled(now, now - asked, acquired.is_ok());
            if let Ok(line) = acquired {
                return self.hold(line, now).await;
            }
        }
    }

    fn settled(&self, now: Nanos, waited: Nanos, served: bool) {
        let recorder = &mut self.world.state().recorder;
        recorder.waits(now, -1);
        if served {
            recorder.served(now, waited);
            recorder.holds(now, 1);
        } else {
            recorder.timed_out(now, waited);
        }
    }

    async fn hold(self, line: pool_core::OwnedPooledConnection<Server>, since: Nanos) {
        self.world.query(self.work).await;
        if self.holds_on > 0.0 {
            tokio::time::sleep(slow(from_secs(self.holds_on))).await;
        }
        let now = self.world.now();
        let leaks = {
            let mut state = self.world.state();
            state.recorder.holds(now, -1);
            state.recorder.held(now - since);
            let leaks = state.leaks_due > 0;
            state.leaks_due -= u32::from(leaks);
            leaks
        };
        if leaks {
            // Somebody keeps it for good.
            std::future::pending::<()>().await;
        }
        drop(line);
    }
}

async fn acts(workload: &Workload, world: &Arc<World>, pool: &Pool<Server>) {
    for (at, act) in &workload.events {
        world.sleep_until(from_secs(*at)).await;
        world.act(*act, pool);
    }
    std::future::pending().await
}

async fn leaks(workload: &Workload, world: &Arc<World>) {
    let mut at = 0;
    while let Some(every) = workload.leak {
        at += from_secs(every);
        world.sleep_until(at).await;
        world.state().leaks_due += 1;
    }
    std::future::pending().await
}

async fn look(world: &Arc<World>) {
    let mut at = 0;
    loop {
        at += TICK;
        world.sleep_until(at).await;
        let mut state = world.state();
        let open = state.open;
        state.recorder.tick(at, open);
    }
}
