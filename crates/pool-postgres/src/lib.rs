//! PostgreSQL connection pools over sqlx's connection, resizable while they run.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod clean;
mod config;
mod credentials;
mod error;
mod executor;
mod guard;
mod manager;
mod options;
mod pool;
mod sentinel;
mod sqlstate;
mod transaction;
mod url;

pub use pool_core;

pub use crate::builder::PostgresPoolBuilder;
pub use crate::config::PostgresConfig;
pub use crate::credentials::Credentials;
pub use crate::error::{
    ConnectCause, ConnectStep, PostgresConfigError, PostgresConfigProblem, PostgresConnectError,
    UrlProblem,
};
pub use crate::guard::PgPooledConnection;
pub use crate::manager::{ManagedConnection, PostgresManager};
pub use crate::options::{IsolationLevel, TransactionOptions};
pub use crate::pool::PostgresPool;
pub use crate::transaction::PgTransaction;
