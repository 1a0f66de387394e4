//! The settings that can change while a pool runs.

use std::time::Duration;

use crate::builder::Settings;
use crate::clock::{NEVER, nanos};
use crate::error::BuildError;
use crate::{ConnectionManager, Pool};

/// The settings that can change while a pool runs, each as the method of
/// [`PoolBuilder`](crate::PoolBuilder) of the same name explains it.
///
/// # Example
///
/// ```
/// # use std::time::Duration;
/// # fn example<M: pool_core::ConnectionManager>(pool: &pool_core::Pool<M>) -> Result<(), pool_core::BuildError> {
/// let mut settings = pool.runtime_settings();
/// settings.acquire_timeout = Duration::from_secs(2);
/// pool.set_runtime_settings(settings)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuntimeSettings {
    /// How long a caller waits for a connection.
    pub acquire_timeout: Duration,
    /// How long one attempt to connect may take.
    pub connect_timeout: Duration,
    /// How long the check of an idle connection may take.
    pub validate_timeout: Duration,
    /// How long a connection that came back dirty may take to be cleaned.
    pub recycle_timeout: Duration,
    /// How long a connection that is being closed counts against the maximum.
    pub close_timeout: Duration,
    /// How long a connection above the minimum stays idle; `None` for ever.
    pub idle_timeout: Option<Duration>,
    /// How long a connection that is opened from now on lives; `None` for ever.
    pub max_lifetime: Option<Duration>,
    /// How long an idle connection goes without a check; `None` for ever.
    pub keepalive: Option<Duration>,
    /// How long a checkout may last before it is reported; `None` for ever.
    pub leak_threshold: Option<Duration>,
    /// How many connections may be being opened at once.
    pub max_connecting: u32,
    /// How many callers may wait; `None` for any number.
    pub max_waiters: Option<u32>,
}

impl RuntimeSettings {
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            acquire_timeout: settings.acquire_timeout,
            connect_timeout: settings.connect_timeout,
            validate_timeout: settings.validate_timeout,
            recycle_timeout: settings.recycle_timeout,
            close_timeout: settings.close_timeout,
            idle_timeout: settings.idle_timeout,
            max_lifetime: settings.max_lifetime,
            keepalive: settings.keepalive,
            leak_threshold: settings.leak_threshold,
            max_connecting: settings.max_connecting,
            max_waiters: (settings.max_waiters != u32::MAX).then_some(settings.max_waiters),
        }
    }

    fn laid_over(self, settings: &Settings) -> Settings {
        Settings {
            acquire_timeout: self.acquire_timeout,
            connect_timeout: self.connect_timeout,
            validate_timeout: self.validate_timeout,
            recycle_timeout: self.recycle_timeout,
            close_timeout: self.close_timeout,
            idle_timeout: self.idle_timeout,
            max_lifetime: self.max_lifetime,
            keepalive: self.keepalive,
            leak_threshold: self.leak_threshold,
            max_connecting: self.max_connecting,
            max_waiters: self.max_waiters.unwrap_or(u32::MAX),
            ..settings.clone()
        }
    }
}

impl Default for RuntimeSettings {
    /// Those of a pool that was built without any.
    fn default() -> Self {
        Self::of(&Settings::default())
    }
}

impl<M: ConnectionManager> Pool<M> {
    /// The settings in force that can change while the pool runs.
    #[must_use]
    pub fn runtime_settings(&self) -> RuntimeSettings {
        *self.shared.tuned.lock()
    }

    /// Puts other settings in force while the pool runs.
    ///
    /// Callers that wait already keep the time that they came with, and connections that are open
    /// the lifetime that they were opened with; everything else holds from now on. No connection
    /// is closed for it, except those that have been idle for longer than a new `idle_timeout`.
    ///
    /// # Errors
    ///
    /// Settings that cannot be used, all of them together; what was in force stays.
    pub fn set_runtime_settings(&self, settings: RuntimeSettings) -> Result<(), BuildError> {
        let shared = &self.shared;
        let all = settings.laid_over(&shared.settings);
        let problems = all.problems();
        if !problems.is_empty() {
            let pool = self.name().to_owned();
            return Err(BuildError { pool, problems });
        }
        let mut tuned = shared.tuned.lock();
        let before = std::mem::replace(&mut *tuned, settings);
        // Under the lock, so that the two agree whoever else calls this.
        shared.step(|state, now, fx| {
            let new = all.rules(false);
            let rules = &mut state.rules;
            // Unless a sizing policy has set it, it is the idle timeout.
            if rules.surplus_timeout == before.idle_timeout.map_or(NEVER, nanos) {
                rules.surplus_timeout = new.idle_timeout;
            }
            rules.acquire_timeout = new.acquire_timeout;
            rules.idle_timeout = new.idle_timeout;
            rules.max_lifetime = new.max_lifetime;
            rules.keepalive = new.keepalive;
            rules.leak_threshold = new.leak_threshold;
            rules.max_connecting = new.max_connecting;
            rules.max_waiters = new.max_waiters;
            state.grow(now, fx);
            fx.kick = true;
        });
        Ok(())
    }
}
