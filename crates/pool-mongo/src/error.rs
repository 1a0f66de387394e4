//! What can go wrong, by verb. No error here ever contains a password.

use std::error::Error as StdError;
use std::fmt;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use mongodb::error::{Error as DriverError, ErrorKind, SYSTEM_OVERLOADED_ERROR};
use pool_core::{AcquireError, AcquireErrorKind, BuildError, ConnectFault, InvalidLimits, Step};

use crate::manager::MongoManager;
use crate::uri::UriProblem;

/// `IngressRequestRateLimitExceeded`.
const INGRESS_RATE_EXCEEDED: i32 = 462;

/// A pool cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MongoPoolError {
    /// Settings that are malformed or contradict each other: all of them, not only the first.
    #[error("pool `{pool}` cannot be built: {}", list(problems))]
    #[non_exhaustive]
    Settings {
        /// The name of the pool.
        pool: String,
        /// Every problem.
        problems: Vec<SettingProblem>,
    },
    /// The driver does not accept what it was given: a certificate file that it cannot read, a
    /// name whose SRV record it cannot resolve.
    #[error("pool `{pool}` cannot be built: {message}")]
    #[non_exhaustive]
    Driver {
        /// The name of the pool.
        pool: String,
        /// The driver's own words.
        message: String,
    },
    /// Resolving the addresses in the URI took longer than `acquire_timeout`.
    #[error("pool `{pool}` cannot be built: no answer to the DNS lookup within {after:.1?}")]
    #[non_exhaustive]
    Lookup {
        /// The name of the pool.
        pool: String,
        /// `acquire_timeout`.
        after: Duration,
    },
    /// The engine does not accept the settings.
    #[error(transparent)]
    Engine(#[from] BuildError),
}

/// One reason why a pool cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingProblem {
    /// The URI is malformed.
    #[error("uri: {0}")]
    Uri(#[from] UriProblem),
    /// The URI sets what the pool sets as well, to another value.
    #[error(
        "the URI says {uri_option}={uri_value} and the pool says {setting}={value}: say it once"
    )]
    #[non_exhaustive]
    Conflict {
        /// The option in the URI.
        uri_option: &'static str,
        /// Its value.
        uri_value: String,
        /// The pool's setting.
        setting: &'static str,
        /// Its value.
        value: String,
    },
    /// Operations would look for a server for longer than callers wait for a lease.
    #[error(
        "the URI says serverSelectionTimeoutMS={selection} and the pool says \
         acquire_timeout={acquire}: lower the first or raise the second"
    )]
    #[non_exhaustive]
    ServerSelection {
        /// `serverSelectionTimeoutMS`.
        selection: u128,
        /// `acquire_timeout` in milliseconds.
        acquire: u128,
    },
    /// The limits contradict each other.
    #[error(transparent)]
    Limits(#[from] InvalidLimits),
    /// The pool could grow beyond what the driver was created for.
    #[error("{setting} {value} is above ceiling {ceiling}: lower it or raise the ceiling")]
    #[non_exhaustive]
    AboveCeiling {
        /// `max` or `maxSize`.
        setting: &'static str,
        /// Its value.
        value: u32,
        /// The ceiling.
        ceiling: u32,
    },
    /// More sockets than any pool may have.
    #[error("ceiling {ceiling} is above {most}: no server has room for so many sockets")]
    #[non_exhaustive]
    Ceiling {
        /// The ceiling.
        ceiling: u32,
        /// [`Limits::CEILING`](pool_core::Limits::CEILING).
        most: u32,
    },
    /// The fields of dynamic sizing contradict each other.
    #[error("{0}")]
    Dynamic(String),
    /// Neither the pool nor the URI names a database.
    #[error("no database: name one by `database`, or in the URI behind the host")]
    NoDatabase,
    /// A name that MongoDB does not accept for a database.
    #[error("database `{name}`: {reason}")]
    #[non_exhaustive]
    DatabaseName {
        /// The name.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A setting is zero that must not be.
    #[error("{setting} is zero: {remedy}")]
    #[non_exhaustive]
    Zero {
        /// The builder's method.
        setting: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

impl SettingProblem {
    /// The field of [`MongoConfig`](crate::MongoConfig) that it is about, in `snake_case`.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Uri(_) | Self::Conflict { .. } | Self::ServerSelection { .. } => "uri",
            Self::Limits(_) => "max_connections",
            Self::AboveCeiling { setting: "max", .. } => "max_connections",
            Self::AboveCeiling { .. } | Self::Dynamic(_) => "dynamic",
            Self::Ceiling { .. } => "ceiling",
            Self::NoDatabase | Self::DatabaseName { .. } => "database",
            Self::Zero { setting, .. } => match *setting {
                "acquire_timeout" => "acquire_timeout_ms",
                "connect_timeout" => "connect_timeout_ms",
                "idle_timeout" => "idle_timeout_ms",
                "leak_threshold" => "leak_threshold_ms",
                other => other,
            },
        }
    }
}

fn list(problems: &[SettingProblem]) -> String {
    let problems: Vec<_> = problems.iter().map(ToString::to_string).collect();
    problems.join("; ")
}

/// A server cannot be used, and which, and why.
///
/// Cheap to clone. The driver's own error is in [`driver_error`](Self::driver_error); its `Display`
/// prints whole server responses, so this error's text has the essence only, and
/// [`source`](StdError::source) continues below it.
#[derive(Clone, Debug)]
pub struct MongoConnectError {
    inner: Arc<Connect>,
}

#[derive(Debug)]
struct Connect {
    hosts: String,
    problem: ConnectProblem,
    driver: Option<DriverError>,
}

/// The reason for a [`MongoConnectError`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectProblem {
    /// The server knows no such user, or the password is wrong.
    #[non_exhaustive]
    Authentication {
        /// The user's name, if there is one.
        user: Option<String>,
        /// The database that the server looks the user up in.
        source: Option<String>,
    },
    /// No server answered in time.
    #[non_exhaustive]
    NoAnswer {
        /// How long was waited.
        after: Duration,
    },
    /// The server's certificate was not accepted.
    Tls,
    /// The server asks for a user and the URI names none, or the user may not do this.
    Unauthorized,
    /// There is no such database on the server, or the user may not see it.
    #[non_exhaustive]
    UnknownDatabase {
        /// Its name.
        name: String,
    },
    /// Something else: the driver's error says what.
    Other,
}

impl MongoConnectError {
    pub(crate) fn new(hosts: &str, problem: ConnectProblem, driver: Option<DriverError>) -> Self {
        Self {
            inner: Arc::new(Connect {
                hosts: hosts.to_owned(),
                problem,
                driver,
            }),
        }
    }

    /// The servers that the pool was given.
    #[must_use]
    pub fn hosts(&self) -> &str {
        &self.inner.hosts
    }

    /// The reason.
    #[must_use]
    pub fn problem(&self) -> &ConnectProblem {
        &self.inner.problem
    }

    /// What the driver said, if it said anything.
    #[must_use]
    pub fn driver_error(&self) -> Option<&DriverError> {
        self.inner.driver.as_ref()
    }

    pub(crate) fn is_refusal(&self) -> bool {
        matches!(self.inner.problem, ConnectProblem::Authentication { .. })
    }

    /// What this means for the next attempt.
    ///
    /// [`ConnectFault::Saturated`] where the server *answers* that it is overloaded (code 462, or
    /// the label `SystemOverloadedError`; from MongoDB 8.2 on). One whose
    /// `maxIncomingConnections` are taken closes the socket without a word, as one does that goes
    /// down: that is transient, and so is what the driver itself labels as overload because a
    /// handshake broke off.
    #[must_use]
    pub fn fault(&self) -> ConnectFault {
        match &self.inner.problem {
            ConnectProblem::Authentication { .. }
            | ConnectProblem::Tls
            | ConnectProblem::Unauthorized
            | ConnectProblem::UnknownDatabase { .. } => ConnectFault::Permanent,
            ConnectProblem::NoAnswer { .. } => ConnectFault::Transient,
            ConnectProblem::Other => match self.inner.driver.as_ref().map(|error| &*error.kind) {
                Some(
                    ErrorKind::InvalidArgument { .. }
                    | ErrorKind::InvalidTlsConfig { .. }
                    | ErrorKind::IncompatibleServer { .. }
                    | ErrorKind::Shutdown,
                ) => ConnectFault::Permanent,
                Some(ErrorKind::Command(answer)) if self.is_overload(answer.code) => {
                    ConnectFault::Saturated
                }
                _ => ConnectFault::Transient,
            },
        }
    }

    /// Whether an answer of the server with this code says that it is overloaded.
    fn is_overload(&self, code: i32) -> bool {
        let labelled = |error: &DriverError| error.contains_label(SYSTEM_OVERLOADED_ERROR);
        code == INGRESS_RATE_EXCEEDED || self.inner.driver.as_ref().is_some_and(labelled)
    }

    /// What this is counted under: the reason's name, or the code of the server's answer.
    #[must_use]
    pub fn code(&self) -> String {
        let name = match &self.inner.problem {
            ConnectProblem::Authentication { .. } => "authentication",
            ConnectProblem::NoAnswer { .. } => "timeout",
            ConnectProblem::Tls => "tls",
            ConnectProblem::Unauthorized => "unauthorized",
            ConnectProblem::UnknownDatabase { .. } => "unknown_database",
            ConnectProblem::Other => match self.inner.driver.as_ref().map(|error| &*error.kind) {
                Some(ErrorKind::Command(answer)) => return answer.code.to_string(),
                Some(ErrorKind::ServerSelection { .. }) => "server_selection",
                Some(ErrorKind::Io(_)) => "io",
                _ => "driver",
            },
        };
        name.to_owned()
    }
}

impl fmt::Display for MongoConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Connect {
            hosts,
            problem,
            driver,
        } = &*self.inner;
        write!(f, "{hosts}: ")?;
        match problem {
            ConnectProblem::Authentication { user, source } => {
                write!(f, "authentication failed")?;
                if let Some(user) = user {
                    write!(f, " for user `{user}`")?;
                }
                if let Some(source) = source {
                    write!(f, " in database `{source}`")?;
                }
            }
            ConnectProblem::NoAnswer { after } => write!(f, "no answer within {after:.1?}")?,
            ConnectProblem::Tls => write!(f, "the server's certificate was not accepted")?,
            ConnectProblem::Unauthorized => write!(f, "not authorized")?,
            ConnectProblem::UnknownDatabase { name } => write!(
                f,
                "no database `{name}` on this server, or the user may not see it"
            )?,
            ConnectProblem::Other => write!(f, "cannot be used")?,
        }
        match driver {
            Some(error) => write!(f, ": {}", error.kind),
            None => Ok(()),
        }
    }
}

impl StdError for MongoConnectError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &*self.inner.driver.as_ref()?.kind {
            ErrorKind::Io(error) => Some(&**error),
            _ => None,
        }
    }
}

/// A caller got no lease, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum LeaseError {
    /// The pool had none to give; the engine's error names the step, the time waited, the counts,
    /// the longest holder and the last failure to connect.
    Acquire(AcquireError),
    /// The same, and the task that waited holds leases of this pool itself. It may have waited for
    /// itself: take one lease and pass it on.
    #[non_exhaustive]
    HeldByCaller {
        /// The engine's error.
        error: AcquireError,
        /// How many leases the task holds.
        leases: u32,
    },
    /// The same, and the driver has no server that it could use.
    #[non_exhaustive]
    Unreachable {
        /// The engine's error.
        error: AcquireError,
        /// Which servers, and what the last heartbeat met if it failed.
        cause: MongoConnectError,
    },
    /// Work to which the pool has given a lease asked the pool for another.
    #[non_exhaustive]
    Nested {
        /// The name of the pool.
        pool: String,
        /// The line that asked.
        caller: &'static Location<'static>,
    },
}

impl LeaseError {
    pub(crate) fn new(error: AcquireError, manager: &MongoManager) -> Self {
        let waits_for_others = error.kind() == AcquireErrorKind::Timeout(Step::Return);
        let leases = waits_for_others.then(|| manager.holders().held_here());
        if let Some(leases @ 1..) = leases {
            return Self::HeldByCaller { error, leases };
        }
        // Where an attempt of our own has failed, the engine's error has its cause.
        let unexplained = error.is_timeout() && error.last_connect_error().is_none();
        let out_of_reach = || manager.backend().out_of_reach(error.waited());
        match unexplained.then(out_of_reach).flatten() {
            Some(cause) => Self::Unreachable { error, cause },
            None => Self::Acquire(error),
        }
    }

    /// The engine's error, if that is the reason.
    #[must_use]
    pub const fn acquire_error(&self) -> Option<&AcquireError> {
        match self {
            Self::Acquire(error)
            | Self::HeldByCaller { error, .. }
            | Self::Unreachable { error, .. } => Some(error),
            Self::Nested { .. } => None,
        }
    }

    /// Whether the caller's time was over.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.acquire_error().is_some_and(AcquireError::is_timeout)
    }

    /// Why the server could not be used, if the pool has been failing to reach it.
    #[must_use]
    pub fn connect_error(&self) -> Option<&MongoConnectError> {
        if let Self::Unreachable { cause, .. } = self {
            return Some(cause);
        }
        let (_, error) = self.acquire_error()?.last_connect_error()?;
        error.downcast_ref()
    }
}

impl fmt::Display for LeaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Acquire(error) => error.fmt(f),
            Self::HeldByCaller { error, leases } => write!(
                f,
                "{error}; the task that waited holds {leases} of them itself: take one lease and \
                 pass it on"
            ),
            Self::Unreachable { error, cause } => write!(f, "{error}; {cause}"),
            Self::Nested { pool, caller } => write!(
                f,
                "pool `{pool}`: {caller} asks for a lease inside work that has one: use that, or \
                 ask outside"
            ),
        }
    }
}

impl StdError for LeaseError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        if let Self::Unreachable { cause, .. } = self {
            return cause.source();
        }
        self.acquire_error().and_then(StdError::source)
    }
}

/// The work given to [`MongoPool::run`](crate::MongoPool::run) did not succeed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum RunError<E> {
    /// There was no lease for it; it was not begun.
    Lease(LeaseError),
    /// Its own error.
    Work(E),
}

impl<E> From<LeaseError> for RunError<E> {
    fn from(error: LeaseError) -> Self {
        Self::Lease(error)
    }
}

impl<E: fmt::Display> fmt::Display for RunError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lease(error) => error.fmt(f),
            Self::Work(error) => error.fmt(f),
        }
    }
}

impl<E: StdError> StdError for RunError<E> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Lease(error) => error.source(),
            Self::Work(error) => error.source(),
        }
    }
}

/// New limits were refused; those in force stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitsError {
    /// They contradict each other.
    #[error(transparent)]
    Invalid(#[from] InvalidLimits),
    /// The driver was created for less, and cannot be changed.
    #[error(
        "max {max} is above ceiling {ceiling}, which the driver was created with: lower max or \
         build the pool with a higher ceiling"
    )]
    #[non_exhaustive]
    AboveCeiling {
        /// The maximum that was asked for.
        max: u32,
        /// The ceiling.
        ceiling: u32,
    },
}

/// The pool was not warm in time, and why.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MongoWarmupError {
    /// The name of the pool.
    pub pool: String,
    /// How many sockets were wanted.
    pub wanted: u32,
    /// How many were open.
    pub open: u32,
    /// How long that took.
    pub elapsed: Duration,
    /// What failed last, if anything did.
    pub cause: Option<pool_core::SharedError>,
}

impl fmt::Display for MongoWarmupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            pool,
            wanted,
            open,
            elapsed,
            cause,
        } = self;
        write!(
            f,
            "pool `{pool}`: warm-up has {open} of {wanted} sockets open after {elapsed:.1?}"
        )?;
        match cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

impl StdError for MongoWarmupError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_ref().map(|cause| &**cause as _)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers with this code.
    fn answered(code: i32) -> MongoConnectError {
        let answer = serde_json::json!({ "code": code, "errmsg": "in words" });
        let answer = serde_json::from_value(answer).unwrap();
        let error = DriverError::from(ErrorKind::Command(answer));
        MongoConnectError::new("db:27017", ConnectProblem::Other, Some(error))
    }

    #[test]
    fn a_server_that_says_it_is_overloaded_has_no_room() {
        let full = answered(462);
        assert_eq!(full.fault(), ConnectFault::Saturated);
        assert_eq!(full.code(), "462");
        // `ShutdownInProgress`, and a socket that was closed without a word.
        assert_eq!(answered(91).fault(), ConnectFault::Transient);
        let closed = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let closed = DriverError::from(ErrorKind::Io(Arc::new(closed)));
        let closed = MongoConnectError::new("db:27017", ConnectProblem::Other, Some(closed));
        assert_eq!(closed.fault(), ConnectFault::Transient);
    }
}
