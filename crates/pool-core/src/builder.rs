//! The settings of a pool.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{NEVER, Nanos, TimeSource, nanos};
use crate::engine::Rules;
use crate::error::{BuildError, BuildProblem};
use crate::events::ConnectionEvents;
use crate::hooks::Hooks;
use crate::{ConnectionManager, Limits, Pool};

/// More events than this are not kept for a listener.
const MOST_EVENTS: usize = 1 << 20;

/// When an idle connection is checked before it is lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Liveness {
    /// Before each checkout: one round trip more.
    Always,
    /// When it has not been used or checked for this long.
    IdleFor(Duration),
    /// Never: a dead connection is noticed by its next user.
    Never,
}

impl Default for Liveness {
    /// [`Liveness::IdleFor`] half a second.
    fn default() -> Self {
        Self::IdleFor(Duration::from_millis(500))
    }
}

/// Controlled delay on the queue: when even the shortest wait of an `interval` was above `target`,
/// callers that have waited more than twice the target are turned away, so that the others are
/// served in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "the two numbers of the algorithm"
)]
pub struct ControlledDelay {
    /// The wait that is acceptable for a while.
    pub target: Duration,
    /// For how long at the most.
    pub interval: Duration,
}

impl Default for ControlledDelay {
    /// A target of 50 ms within intervals of 2 s, as in Elixir's `db_connection`.
    fn default() -> Self {
        Self {
            target: Duration::from_millis(50),
            interval: Duration::from_secs(2),
        }
    }
}

/// Builds a [`Pool`]; from [`Pool::builder`].
#[must_use = "a builder does nothing until `build`"]
pub struct PoolBuilder<M: ConnectionManager> {
    pub(crate) manager: M,
    pub(crate) settings: Settings,
    pub(crate) limits: (u32, u32),
    pub(crate) allowance: Option<u32>,
    pub(crate) hooks: Hooks<M::Connection>,
    pub(crate) listeners: Vec<Arc<dyn ConnectionEvents>>,
    pub(crate) runtime: Option<tokio::runtime::Handle>,
}

/// The settings that do not depend on the backend.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: Arc<str>,
    pub(crate) acquire_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) validate_timeout: Duration,
    pub(crate) recycle_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) leak_threshold: Option<Duration>,
    pub(crate) liveness: Liveness,
    pub(crate) max_connecting: u32,
    pub(crate) max_waiters: u32,
    pub(crate) backoff: (Duration, Duration),
    pub(crate) controlled_delay: Option<ControlledDelay>,
    pub(crate) event_capacity: usize,
    pub(crate) time: TimeSource,
    pub(crate) seed: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "default".into(),
            acquire_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            validate_timeout: Duration::from_secs(2),
            recycle_timeout: Duration::from_secs(2),
            close_timeout: Duration::from_secs(5),
            idle_timeout: Some(Duration::from_secs(600)),
            max_lifetime: Some(Duration::from_secs(1_800)),
            keepalive: None,
            leak_threshold: None,
            liveness: Liveness::default(),
            max_connecting: 4,
            max_waiters: u32::MAX,
            backoff: (Duration::from_millis(10), Duration::from_millis(500)),
            controlled_delay: None,
            event_capacity: 1_024,
            time: TimeSource::default(),
            seed: None,
        }
    }
}

impl<M: ConnectionManager> PoolBuilder<M> {
    pub(crate) fn new(manager: M) -> Self {
        Self {
            manager,
            settings: Settings::default(),
            limits: (Limits::default().min(), Limits::default().max()),
            allowance: None,
            hooks: Hooks::none(),
            listeners: Vec::new(),
            runtime: None,
        }
    }

    /// The manager that the pool will be built over.
    #[must_use]
    pub const fn manager(&self) -> &M {
        &self.manager
    }

    /// The name in errors, events, metrics and logs. Defaults to `default`.
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        self.settings.name = name.as_ref().into();
        self
    }

    /// How many connections are kept without demand, and how many there are at the most.
    /// Defaults to 0 and 10.
    pub const fn limits(mut self, min: u32, max: u32) -> Self {
        self.limits = (min, max);
        self
    }

    /// How much of the maximum the pool may use from the start; see [`Pool::set_allowance`].
    /// Defaults to all of it.
    pub const fn allowance(mut self, connections: u32) -> Self {
        self.allowance = Some(connections);
        self
    }

    /// How long a caller waits for a connection, all steps together. Defaults to 30 s.
    pub const fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.settings.acquire_timeout = timeout;
        self
    }

    /// How long one attempt to connect may take. Defaults to 5 s.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long the check of an idle connection may take. Defaults to 2 s.
    pub const fn validate_timeout(mut self, timeout: Duration) -> Self {
        self.settings.validate_timeout = timeout;
        self
    }

    /// How long a connection that came back dirty may take to be cleaned. Defaults to 2 s.
    pub const fn recycle_timeout(mut self, timeout: Duration) -> Self {
        self.settings.recycle_timeout = timeout;
        self
    }

    /// How long a connection that is being closed counts against the maximum. Defaults to 5 s.
    pub const fn close_timeout(mut self, timeout: Duration) -> Self {
        self.settings.close_timeout = timeout;
        self
    }

    /// How long a connection above the minimum stays idle; `None` for ever. Defaults to 10 min.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = timeout.into();
        self
    }

    /// How long a connection lives, 10 % more or less, drawn once for each; `None` for ever.
    /// Idle ones are replaced before they are closed where the maximum leaves room.
    /// Defaults to 30 min.
    pub fn max_lifetime(mut self, lifetime: impl Into<Option<Duration>>) -> Self {
        self.settings.max_lifetime = lifetime.into();
        self
    }

    /// How long an idle connection goes without a check; `None` for ever, which is the default.
    pub fn keepalive(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.settings.keepalive = interval.into();
        self
    }

    /// How long a checkout may last before it is reported, once, with the line that acquired the
    /// connection; `None` for ever, which is the default.
    pub fn leak_threshold(mut self, threshold: impl Into<Option<Duration>>) -> Self {
        self.settings.leak_threshold = threshold.into();
        self
    }

    /// When an idle connection is checked before it is lent. Defaults to 500 ms after its last
    /// use or check.
    pub const fn liveness(mut self, liveness: Liveness) -> Self {
        self.settings.liveness = liveness;
        self
    }

    /// How many connections may be being opened at once. Defaults to 4.
    pub const fn max_connecting(mut self, connects: u32) -> Self {
        self.settings.max_connecting = connects;
        self
    }

    /// How many callers may wait for a return; the next one is refused at once. Those for whom a
    /// connection is being opened, or can be, do not count. Defaults to no bound.
    pub const fn max_waiters(mut self, waiters: u32) -> Self {
        self.settings.max_waiters = waiters;
        self
    }

    /// The pause after failed connects, shared by the whole pool: drawn between zero and a bound
    /// that starts at `first` and doubles up to `most`. Defaults to 10 ms and 500 ms.
    pub const fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.settings.backoff = (first, most);
        self
    }

    /// Turns callers away while the queue is too slow. Off by default.
    pub fn controlled_delay(mut self, delay: impl Into<Option<ControlledDelay>>) -> Self {
        self.settings.controlled_delay = delay.into();
        self
    }

    /// Adds a listener. See [`EventHandlers`](crate::EventHandlers) for closures.
    pub fn events(mut self, listener: impl ConnectionEvents) -> Self {
        self.listeners.push(Arc::new(listener));
        self
    }

    /// How many events are kept for a listener or subscription that is slower than the pool.
    /// Defaults to 1,024.
    pub const fn event_capacity(mut self, events: usize) -> Self {
        self.settings.event_capacity = events;
        self
    }

    /// Where time is read. Defaults to the hardware's counter; tests that pause tokio's time use
    /// [`TimeSource::Tokio`].
    pub const fn time_source(mut self, time: TimeSource) -> Self {
        self.settings.time = time;
        self
    }

    /// Seeds the random numbers of backoff and lifetime. Defaults to a random seed.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = Some(seed);
        self
    }

    /// The runtime that the pool's tasks run on. Defaults to the one in which `build` is called.
    pub fn runtime(mut self, runtime: tokio::runtime::Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Everything that [`build`](Self::build) would say against the settings, for code that checks
    /// them before there is a runtime.
    #[must_use]
    pub fn problems(&self) -> Vec<BuildProblem> {
        let mut problems = self.settings.problems();
        if let Err(invalid) = Limits::new(self.limits.0, self.limits.1) {
            problems.push(invalid.into());
        }
        problems
    }

    /// Checks the settings and builds the pool, without I/O.
    ///
    /// The minimum is opened in the background; [`Pool::warmup_pool`] waits for it.
    ///
    /// # Errors
    ///
    /// Limits or settings that contradict each other, or no tokio runtime: all problems are
    /// reported together.
    pub fn build(self) -> Result<Pool<M>, BuildError> {
        let mut problems = self.problems();
        let limits = Limits::new(self.limits.0, self.limits.1).ok();
        let runtime = match self.runtime {
            Some(runtime) => Some(runtime),
            None => tokio::runtime::Handle::try_current().ok(),
        };
        if runtime.is_none() {
            problems.push(BuildProblem::NoRuntime);
        }
        match (limits, runtime) {
            (Some(limits), Some(runtime)) if problems.is_empty() => Ok(Pool::start(
                self.manager,
                self.settings,
                (limits, self.allowance),
                self.hooks,
                self.listeners,
                runtime,
            )),
            _ => Err(BuildError {
                pool: self.settings.name.to_string(),
                problems,
            }),
        }
    }
}

impl<M: ConnectionManager> std::fmt::Debug for PoolBuilder<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolBuilder")
            .field("limits", &self.limits)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Settings {
    pub(crate) fn problems(&self) -> Vec<BuildProblem> {
        let durations = [
            (
                "acquire_timeout",
                self.acquire_timeout,
                "give callers time to wait",
            ),
            (
                "connect_timeout",
                self.connect_timeout,
                "give a connect time to finish",
            ),
            (
                "validate_timeout",
                self.validate_timeout,
                "give a check time to finish",
            ),
            (
                "recycle_timeout",
                self.recycle_timeout,
                "give cleaning time to finish",
            ),
            (
                "backoff",
                self.backoff.0,
                "a pause between failed connects protects the server",
            ),
            (
                "event_capacity",
                Duration::from_secs(self.event_capacity as u64),
                "keep at least one",
            ),
        ];
        let mut problems: Vec<_> = durations
            .into_iter()
            .filter(|(_, duration, _)| duration.is_zero())
            .map(|(setting, _, remedy)| BuildProblem::Zero { setting, remedy })
            .collect();
        let optional = [
            ("idle_timeout", self.idle_timeout),
            ("max_lifetime", self.max_lifetime),
            ("keepalive", self.keepalive),
            ("leak_threshold", self.leak_threshold),
        ];
        problems.extend(
            optional
                .into_iter()
                .filter(|(_, duration)| duration.is_some_and(|duration| duration.is_zero()))
                .map(|(setting, _)| BuildProblem::Zero {
                    setting,
                    remedy: "use None for never",
                }),
        );
        let (first, most) = self.backoff;
        if most < first {
            problems.push(BuildProblem::Backoff { first, most });
        }
        if let Some(delay) = self.controlled_delay
            && (delay.target.is_zero() || delay.interval.is_zero())
        {
            let remedy = "give the queue a target and an interval, or leave it off";
            problems.push(BuildProblem::Zero {
                setting: "controlled_delay",
                remedy,
            });
        }
        if self.event_capacity > MOST_EVENTS {
            let (setting, most) = ("event_capacity", MOST_EVENTS);
            problems.push(BuildProblem::TooLarge {
                setting,
                value: self.event_capacity,
                most,
            });
        }
        if self.max_connecting == 0 {
            let remedy = "without a connect there is no pool";
            problems.push(BuildProblem::Zero {
                setting: "max_connecting",
                remedy,
            });
        }
        problems
    }

    pub(crate) fn rules(&self, always_check: bool) -> Rules {
        let optional = |duration: Option<Duration>| -> Nanos { duration.map_or(NEVER, nanos) };
        let bypass = match self.liveness {
            _ if always_check => 0,
            Liveness::Always => 0,
            Liveness::IdleFor(window) => nanos(window),
            Liveness::Never => NEVER,
        };
        Rules {
            acquire_timeout: nanos(self.acquire_timeout),
            bypass,
            idle_timeout: optional(self.idle_timeout),
            surplus_timeout: optional(self.idle_timeout),
            max_lifetime: optional(self.max_lifetime),
            keepalive: optional(self.keepalive),
            leak_threshold: optional(self.leak_threshold),
            max_waiters: self.max_waiters,
            max_connecting: self.max_connecting,
            backoff_base: nanos(self.backoff.0),
            backoff_cap: nanos(self.backoff.1),
            saturation_hold: nanos(Duration::from_secs(10)),
            controlled_delay: self
                .controlled_delay
                .map(|delay| (nanos(delay.target), nanos(delay.interval))),
        }
    }
}
