//! Loads that log every acknowledged write, and what can befall a server under them.
//!
//! A claim of being robust is worth what it was tried against. Here a [`Subject`], any pool, is
//! put under readers and writers ([`Load`]), a [`Scenario`] does its worst to the server or to the
//! network before it, and the [`Outcome`] counts what must not happen: acknowledged writes that
//! are gone, reads of something else, callers kept beyond their time, connections that nobody
//! counts, errors that do not say why.
//!
//! The server is one of the scenario's own ([`Stage`]), behind a proxy that can misbehave.
//! Truth is asked of the server itself, past the pool ([`Witness`]).
//!
//! `cargo xtask chaos` runs all scenarios on this project's pools and on their peers; the suites in
//! `tests/` run short forms of them.

mod befall;
mod consumers;
mod load;
mod mongo;
mod outcome;
mod postgres;
mod quiet;
mod refused;
mod run;
mod scenario;
mod stage;
mod subject;

pub use crate::consumers::SlowConsumers;
pub use crate::load::{Load, Patience};
pub use crate::mongo::{
    CONNECT_TIMEOUT, Leases, MAX_IDLE, MongoWitness, read as read_document, write as write_document,
};
pub use crate::outcome::Outcome;
pub use crate::postgres::{Postgres, PostgresWitness};
pub use crate::run::{left_after_the_end, run};
pub use crate::scenario::Scenario;
pub use crate::stage::{Place, Stage};
pub use crate::subject::{Failure, Subject, Witness, value_of};
