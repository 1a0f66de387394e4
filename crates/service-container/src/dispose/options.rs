//! How long ending a scope may take.

use std::num::NonZeroUsize;
use std::time::Duration;

/// How long each part of a disposal may take. The parts share one deadline.
///
/// ```
/// use std::time::Duration;
/// use service_container::DisposeOptions;
///
/// let options = DisposeOptions::default()
///     .deadline(Duration::from_secs(20))
///     .service_timeout(Duration::from_secs(5));
/// assert_eq!(options.grace, Duration::from_secs(1));
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct DisposeOptions {
    /// The longest the whole disposal may take, grace periods excepted. Scopes inside have no more
    /// time, also those that were closing before. Defaults to 30 seconds.
    pub deadline: Duration,
    /// What services not yet begun with get, all at once, when the deadline has passed; those of
    /// the scopes inside no more, and before those of the scope. Defaults to 1 second.
    pub grace: Duration,
    /// How many services may be disposed of at the same time. A service waits for those that used
    /// it whatever this is. Defaults to 1: one after the other, the last created first.
    pub max_concurrent: NonZeroUsize,
    /// The longest one disposer may take when its registration does not say. Defaults to 10 seconds.
    pub service_timeout: Duration,
    /// The longest to wait for tracked tasks and for creations in flight, before anything is
    /// disposed of. Defaults to 10 seconds.
    pub task_timeout: Duration,
}

impl DisposeOptions {
    /// Sets the longest the whole disposal may take. Defaults to 30 seconds.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Sets what is left for services not begun with by the deadline. Defaults to 1 second.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Sets how many services may be disposed of at the same time. Defaults to 1.
    #[must_use]
    pub fn max_concurrent(mut self, max_concurrent: NonZeroUsize) -> Self {
        self.max_concurrent = max_concurrent;
        self
    }

    /// Sets the longest one disposer may take when its registration does not say. Defaults to 10
    /// seconds.
    #[must_use]
    pub fn service_timeout(mut self, timeout: Duration) -> Self {
        self.service_timeout = timeout;
        self
    }

    /// Sets the longest to wait for tracked tasks and creations in flight. Defaults to 10 seconds.
    #[must_use]
    pub fn task_timeout(mut self, timeout: Duration) -> Self {
        self.task_timeout = timeout;
        self
    }
}

impl Default for DisposeOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(30),
            grace: Duration::from_secs(1),
            max_concurrent: NonZeroUsize::MIN,
            service_timeout: Duration::from_secs(10),
            task_timeout: Duration::from_secs(10),
        }
    }
}
