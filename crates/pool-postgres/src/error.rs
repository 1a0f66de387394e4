//! What can go wrong with a PostgreSQL pool, by verb.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use pool_core::sizing::InvalidDynamicPoolConfig;
use pool_core::{AcquireError, AcquireErrorKind, BuildError, BuildProblem, SharedError};

pub use crate::url::UrlProblem;
use crate::{PgFlavor, TargetSessionAttrs};

/// A pool's configuration cannot be used. Nothing was started.
#[derive(Debug, thiserror::Error)]
#[error("pool `{pool}` cannot be configured: {}", list(problems))]
#[non_exhaustive]
pub struct PostgresConfigError {
    /// The name of the pool, or `postgres` when it has none yet.
    pub pool: String,
    /// Every problem, not only the first.
    pub problems: Vec<PostgresConfigProblem>,
}

/// One reason for a [`PostgresConfigError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresConfigProblem {
    /// The sizes, thresholds or increments of dynamic sizing contradict each other.
    #[error(transparent)]
    Dynamic(#[from] InvalidDynamicPoolConfig),
    /// A setting of the pool.
    #[error(transparent)]
    Setting(#[from] BuildProblem),
    /// The URL. The text never repeats its password.
    #[error("url: {0}")]
    Url(#[from] UrlProblem),
    /// A setting that needs a session, behind a pooler that keeps none.
    #[error(
        "{setting} does not last behind {flavor:?}, which gives each transaction another session: \
         use `alter role ... set`, or `set local` in each transaction"
    )]
    #[non_exhaustive]
    Session {
        /// The setting's name.
        setting: &'static str,
        /// The pooler.
        flavor: PgFlavor,
    },
    /// Several hosts, of which one is a socket that sqlx would use for all of them.
    #[error(
        "the socket {socket:?} cannot be one of several hosts, since sqlx goes to a socket whatever \
         the host is: give hosts by name, or the socket alone"
    )]
    #[non_exhaustive]
    Socket {
        /// The folder of the socket.
        socket: std::path::PathBuf,
    },
    /// A statement cache without room, which leaks statements at the server.
    #[error("{}", crate::url::NO_STATEMENT_CACHE)]
    NoStatementCache,
}

impl PostgresConfigProblem {
    /// The field of [`PostgresConfig`](crate::PostgresConfig) that it is about, in `snake_case`.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        match self {
            Self::Dynamic(_) => "dynamic",
            Self::Setting(BuildProblem::Limits(_)) => "max_connections",
            Self::Setting(BuildProblem::Zero { setting, .. }) => match *setting {
                "acquire_timeout" => "acquire_timeout_ms",
                "connect_timeout" => "connect_timeout_ms",
                "idle_timeout" => "idle_timeout_ms",
                "keepalive" => "keepalive_ms",
                "leak_threshold" => "leak_threshold_ms",
                "max_lifetime" => "max_lifetime_ms",
                other => other,
            },
            Self::Session { setting, .. } => setting,
            Self::NoStatementCache => "statement_cache_capacity",
            // What else a builder can be told does not stand in a configuration.
            Self::Setting(_) | Self::Url(_) | Self::Socket { .. } => "url",
        }
    }
}

impl PostgresConfigError {
    pub(crate) fn new(pool: &str, problems: Vec<PostgresConfigProblem>) -> Self {
        Self {
            pool: pool.to_owned(),
            problems,
        }
    }
}

impl From<BuildError> for PostgresConfigError {
    fn from(error: BuildError) -> Self {
        Self {
            pool: error.pool,
            problems: error.problems.into_iter().map(Into::into).collect(),
        }
    }
}

fn list(problems: &[impl fmt::Display]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// A connection could not be opened: where, in which step, and why.
///
/// It is the `source` of the [`AcquireError`] that callers get, and what
/// [`PoolEvent::ConnectFailed`](pool_core::PoolEvent::ConnectFailed) carries.
#[derive(Debug)]
#[non_exhaustive]
pub struct PostgresConnectError {
    /// `host:port/database`.
    pub address: Arc<str>,
    /// The user that was to log in.
    pub user: Arc<str>,
    /// What was being done.
    pub step: ConnectStep,
    /// Why it failed.
    pub cause: ConnectCause,
}

/// A step on the way to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectStep {
    /// Running `after_connect`.
    AfterConnect,
    /// Asking the credential provider.
    Credentials,
    /// Running `init_sql`.
    InitSql,
    /// Opening the socket, TLS, logging in, and finding out whether the server will do.
    Open,
}

/// Why a connection could not be opened.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConnectCause {
    /// The driver or the server said so.
    Sqlx(sqlx::Error),
    /// A hook or the credential provider of the service failed.
    Other(SharedError),
    /// There was no answer within this time.
    TimedOut(Duration),
    /// The server is not what `target_session_attrs` asks for.
    #[non_exhaustive]
    Session {
        /// What it is.
        is: &'static str,
        /// What is asked for.
        wanted: TargetSessionAttrs,
    },
    /// The pooler in between loses prepared statements.
    LosesStatements(PgFlavor),
    /// No host would do; why, for each.
    Hosts(Vec<PostgresConnectError>),
}

impl fmt::Display for PostgresConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            address,
            user,
            step,
            cause,
        } = self;
        write!(f, "cannot connect to {address} as {user}: ")?;
        match step {
            ConnectStep::AfterConnect => write!(f, "after_connect: ")?,
            ConnectStep::Credentials => write!(f, "credentials: ")?,
            ConnectStep::InitSql => write!(f, "init_sql: ")?,
            ConnectStep::Open => {}
        }
        match cause {
            ConnectCause::Sqlx(sqlx::Error::Database(error)) => {
                write!(f, "{}", error.message())?;
                match error.code() {
                    Some(code) => write!(f, " (SQLSTATE {code})"),
                    None => Ok(()),
                }
            }
            ConnectCause::Sqlx(sqlx::Error::Io(error)) => write!(f, "{error}"),
            ConnectCause::Sqlx(sqlx::Error::Tls(error)) => write!(f, "TLS: {error}"),
            ConnectCause::Sqlx(error) => write!(f, "{error}"),
            ConnectCause::Other(error) => write!(f, "{error}"),
            ConnectCause::TimedOut(after) => write!(f, "no answer within {after:.1?}"),
            ConnectCause::Session { is, wanted } => write!(f, "the server is {is}: want {wanted}"),
            ConnectCause::LosesStatements(flavor) => write!(
                f,
                "the pooler loses prepared statements between transactions: {}",
                flavor.remedy()
            ),
            ConnectCause::Hosts(failures) => write!(f, "{}", list(failures)),
        }
    }
}

impl std::error::Error for PostgresConnectError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            // One level below what `sqlx::Error` wraps in words of its own, which are ours here.
            ConnectCause::Sqlx(sqlx::Error::Database(error)) => Some(&**error),
            ConnectCause::Sqlx(sqlx::Error::Io(error)) => Some(error),
            ConnectCause::Sqlx(sqlx::Error::Tls(error)) => Some(&**error),
            ConnectCause::Sqlx(error) => Some(error),
            ConnectCause::Other(error) => Some(&**error),
            ConnectCause::Hosts(failures) => failures.last().map(|error| error as _),
            ConnectCause::TimedOut(_)
            | ConnectCause::Session { .. }
            | ConnectCause::LosesStatements(_) => None,
        }
    }
}

/// Wraps a failed checkout for those who speak `sqlx::Error`.
///
/// As [`sqlx::Error::Io`], the only variant whose text is right and that keeps the original:
/// `kind()` of the `io::Error` is `TimedOut` for a timeout, `ResourceBusy` for a full or slow
/// queue, `NotConnected` otherwise.
pub(crate) fn to_sqlx(error: AcquireError) -> sqlx::Error {
    let kind = match error.kind() {
        AcquireErrorKind::Timeout(_) => io::ErrorKind::TimedOut,
        AcquireErrorKind::QueueFull | AcquireErrorKind::Shed => io::ErrorKind::ResourceBusy,
        _ => io::ErrorKind::NotConnected,
    };
    sqlx::Error::Io(io::Error::new(kind, error))
}

/// Finds the failed checkout in an `sqlx::Error`.
pub(crate) fn acquire_error(error: &sqlx::Error) -> Option<&AcquireError> {
    match error {
        sqlx::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

impl From<sqlx::Error> for ConnectCause {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlx(error)
    }
}
