//! What can go wrong, by verb.

use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::PoolCounts;
use crate::limits::InvalidLimits;

/// An error of any kind that can be shared between callers.
pub type SharedError = Arc<dyn StdError + Send + Sync>;

/// A caller got no connection, and why.
///
/// Its text holds all that is needed to act: the step, the time waited, the pool's counts, the
/// oldest holder and the last failure to connect.
#[derive(Clone, Debug)]
pub struct AcquireError {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    pool: Arc<str>,
    kind: AcquireErrorKind,
    waited: Duration,
    counts: PoolCounts,
    oldest_holder: Option<HeldSince>,
    oldest_connect: Option<Duration>,
    last_connect_error: Option<(Duration, SharedError)>,
}

/// The reason for an [`AcquireError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AcquireErrorKind {
    /// The pool is closed.
    Closed,
    /// No connection could be opened, and another attempt would fail for the same reason.
    Connect,
    /// The queue is as long as it may be.
    QueueFull,
    /// The queue was too slow for too long, and this caller had waited more than its share.
    Shed,
    /// The caller's time was over, in this step.
    Timeout(Step),
}

/// What a caller was waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// For a connection to be closed: what is being closed counts until it is, and nothing else is
    /// open.
    Close,
    /// For a connection to be opened.
    Connect,
    /// For the pool to be resumed.
    Paused,
    /// For another caller to return a connection: the pool could not open one more just then.
    Return,
    /// For an idle connection to pass its check.
    Validate,
}

/// A checkout in progress.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct HeldSince {
    /// The line that acquired the connection.
    pub caller: &'static Location<'static>,
    /// For how long it has been held.
    pub held: Duration,
}

impl AcquireError {
    pub(crate) fn new(
        pool: Arc<str>,
        kind: AcquireErrorKind,
        waited: Duration,
        context: ErrorContext,
    ) -> Self {
        let ErrorContext {
            counts,
            oldest_holder,
            oldest_connect,
            last_connect_error,
        } = context;
        Self {
            inner: Arc::new(Inner {
                pool,
                kind,
                waited,
                counts,
                oldest_holder,
                oldest_connect,
                last_connect_error,
            }),
        }
    }

    /// The reason.
    #[must_use]
    pub fn kind(&self) -> AcquireErrorKind {
        self.inner.kind
    }

    /// Whether the caller's time was over.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self.inner.kind, AcquireErrorKind::Timeout(_))
    }

    /// The name of the pool.
    #[must_use]
    pub fn pool(&self) -> &str {
        &self.inner.pool
    }

    /// How long the caller had waited.
    #[must_use]
    pub fn waited(&self) -> Duration {
        self.inner.waited
    }

    /// The pool's counts at that moment.
    #[must_use]
    pub fn counts(&self) -> PoolCounts {
        self.inner.counts
    }

    /// The checkout that had lasted longest at that moment.
    #[must_use]
    pub fn oldest_holder(&self) -> Option<HeldSince> {
        self.inner.oldest_holder
    }

    /// For how long the slowest connect had been under way at that moment, if the caller's time was
    /// over: a server that swallows packets refuses nothing, and a connect that hangs is all there
    /// is to see.
    #[must_use]
    pub fn oldest_connect(&self) -> Option<Duration> {
        self.inner.oldest_connect
    }

    /// The last failure to connect, with its age: if the pool has not connected since, or if it
    /// befell while this caller waited.
    #[must_use]
    pub fn last_connect_error(&self) -> Option<(Duration, &SharedError)> {
        self.inner
            .last_connect_error
            .as_ref()
            .map(|(age, error)| (*age, error))
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            pool,
            kind,
            waited,
            counts,
            oldest_holder,
            oldest_connect,
            last_connect_error,
        } = &*self.inner;
        write!(f, "pool `{pool}`: ")?;
        match kind {
            AcquireErrorKind::Closed => write!(f, "the pool is closed")?,
            AcquireErrorKind::Connect => write!(f, "no connection can be opened")?,
            AcquireErrorKind::QueueFull => {
                write!(f, "the queue is full with {} callers", counts.waiting)?;
            }
            AcquireErrorKind::Shed => {
                write!(
                    f,
                    "turned away after {waited:.1?} in a queue that is too slow"
                )?;
            }
            AcquireErrorKind::Timeout(step) => {
                write!(f, "timed out after {waited:.1?} waiting for {step}")?;
            }
        }
        write!(f, " ({counts}")?;
        if let Some(HeldSince { caller, held }) = oldest_holder {
            write!(f, "; longest held for {held:.1?} by {caller}")?;
        } else if *kind == AcquireErrorKind::Timeout(Step::Return) && counts.active > 0 {
            write!(
                f,
                "; no caller holds any: they have come back and are being cleaned"
            )?;
        }
        if let (AcquireErrorKind::Timeout(Step::Connect), Some(age)) = (kind, oldest_connect) {
            write!(f, "; longest under way for {age:.1?}")?;
        }
        if let Some((age, error)) = last_connect_error {
            write!(f, "; last connect failed {age:.1?} ago: {error}")?;
            // A driver's own message often stands one level below.
            let mut source = error.source();
            while let Some(cause) = source {
                let (text, cause_text) = (error.to_string(), cause.to_string());
                if !text.contains(&cause_text) {
                    write!(f, ": {cause_text}")?;
                }
                source = cause.source();
            }
        }
        write!(f, ")")
    }
}

impl StdError for AcquireError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.inner
            .last_connect_error
            .as_ref()
            .map(|(_, error)| &**error as _)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Close => "a connection to be closed, to make room",
            Self::Connect => "a connection to be opened",
            Self::Paused => "the pool to be resumed",
            Self::Return => "a connection to be returned",
            Self::Validate => "an idle connection to pass its check",
        })
    }
}

/// What the pool knows at the moment of an error.
#[derive(Debug)]
pub(crate) struct ErrorContext {
    pub(crate) counts: PoolCounts,
    pub(crate) oldest_holder: Option<HeldSince>,
    pub(crate) oldest_connect: Option<Duration>,
    pub(crate) last_connect_error: Option<(Duration, SharedError)>,
}

/// The settings of a pool contradict each other, or there is no runtime to run it on.
#[derive(Debug, thiserror::Error)]
#[error("pool `{pool}` cannot be built: {}", list(problems))]
#[non_exhaustive]
pub struct BuildError {
    /// The name of the pool.
    pub pool: String,
    /// Every problem, not only the first.
    pub problems: Vec<BuildProblem>,
}

/// One reason for a [`BuildError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildProblem {
    /// The pause after failed connects would shrink.
    #[error("backoff begins at {first:?} and ends at {most:?}: want first ≤ most")]
    Backoff {
        /// The first bound.
        first: Duration,
        /// The last one.
        most: Duration,
    },
    /// The limits contradict each other.
    #[error(transparent)]
    Limits(#[from] InvalidLimits),
    /// The pool was built outside a tokio runtime.
    #[error(
        "no tokio runtime is running here: build the pool inside one, or name one by `runtime`"
    )]
    NoRuntime,
    /// A setting is larger than makes sense.
    #[error("{setting} is {value}: want at most {most}")]
    TooLarge {
        /// The builder's method.
        setting: &'static str,
        /// What was given.
        value: usize,
        /// The largest value.
        most: usize,
    },
    /// A setting is zero that must not be.
    #[error("{setting} is zero: {remedy}")]
    Zero {
        /// The builder's method.
        setting: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

fn list(problems: &[BuildProblem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// The pool did not reach its minimum in time.
#[derive(Debug)]
#[non_exhaustive]
pub struct WarmupError {
    /// The name of the pool.
    pub pool: String,
    /// How many connections were wanted.
    pub wanted: u32,
    /// How many were open.
    pub ready: u32,
    /// How long that took.
    pub elapsed: Duration,
    /// The last failure, if there was one.
    pub cause: Option<SharedError>,
}

impl fmt::Display for WarmupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pool,
            wanted,
            ready,
            elapsed,
            cause,
        } = self;
        write!(
            f,
            "pool `{pool}`: warm-up opened {ready} of {wanted} connections in {elapsed:.1?}"
        )?;
        match cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl StdError for WarmupError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}
