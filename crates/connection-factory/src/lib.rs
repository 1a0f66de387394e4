//! Named PostgreSQL and MongoDB pools for each service, from one configuration.
//!
//! A service that makes its pools where it happens to need them ends up with several, with settings
//! that nobody compares. A factory makes each pool of a configuration once, on demand, and ends
//! them together.
//!
//! ```no_run
//! use std::time::Duration;
//! use connection_factory::{ConnectionFactory, FactoryConfig};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let config = FactoryConfig::sources()
//!     .file("pools.toml")
//!     .environment("POOLS_")
//!     .load()?;
//! let factory = ConnectionFactory::new(config);
//!
//! let postgres = factory.postgres("market-data").await?; // made once, whoever asks
//! let mongodb = factory.mongodb("market-data").await?;
//!
//! for pool in factory.pool_metrics() {
//!     println!("{}/{}: {}", pool.service, pool.database, pool.metrics.total_connections);
//! }
//! println!("{}", factory.drain(Duration::from_secs(10)).await);
//! # Ok(())
//! # }
//! ```
//!
//! # Configure
//!
//! | key | meaning |
//! |---|---|
//! | `service` | the service that this process is; the only one when one is configured |
//! | `drain_timeout_ms` | how long pools may take to close; 10,000 |
//! | `budgets.NAME.server`, `.max_connections` | a number of connections for all pools that lead to that server |
//! | `defaults.postgres.*`, `defaults.mongodb.*` | settings under those of every service |
//! | `services.NAME.postgres.*` | the fields of [`PostgresConfig`](pool_postgres::PostgresConfig): `url`, `max_connections`, ... |
//! | `services.NAME.mongodb.*` | the fields of [`MongoConfig`](pool_mongo::MongoConfig): `uri`, `database`, `max_connections`, ... |
//! | `....password_file`, `.url_file`, `.uri_file` | the path of a file with that secret, as Docker and Kubernetes mount them |
//! | `....dynamic.*` | the eight fields of [`DynamicPoolConfig`](pool_core::DynamicPoolConfig) |
//!
//! ```toml
//! [defaults.postgres]
//! acquire_timeout_ms = 2_000
//!
//! [services.market-data.postgres]
//! url = "postgres://market@db.example/market"
//! dynamic = { enabled = true, minSize = 5, maxSize = 100 }
//!
//! [services.market-data.mongodb]
//! uri = "mongodb://market@db.example/?replicaSet=rs0"
//! database = "market"
//! ```
//!
//! [`ConfigSources`] lays sources over each other, usually defaults, file, environment, code. Keys
//! are the same in `snake_case`, `camelCase` and `UPPER_CASE`, so the JSON of the TypeScript layer
//! is read as it is. In the environment a path is joined by two underscores:
//! `POOLS_SERVICES__MARKET_DATA__POSTGRES__PASSWORD`. When services are configured by nothing but
//! defaults, there is one, named `default`.
//!
//! A secret that stands in a file is read, without the line ends behind it, whenever the
//! configuration is loaded: one that was rotated takes part in the next [reload](#reload). A secret
//! is given by itself or by its file, not both. `POSTGRES_URL_FILE` and `MONGODB_URL_FILE` are to
//! `POSTGRES_URL` and `MONGODB_URL` what `url_file` is to `url`.
//!
//! All mistakes are reported together, each with the key as its source spells it and the file, the
//! variable or the line of code that it comes from. No value is ever part of such a report, and no
//! URL or password part of anything that is printed.
//!
//! # Make
//!
//! [`ConnectionFactory::postgres`] and [`ConnectionFactory::mongodb`] make a pool in a task of its
//! own: a cancelled caller takes nothing from the others. When they return, the server has let the
//! pool in. A failure goes to all who waited for that attempt; the next call begins a new one.
//!
//! # Share a server
//!
//! A budget bounds all pools of this factory that lead to one server, whatever their own limits:
//!
//! ```toml
//! [budgets.main]
//! server = "db.example:5432" # as the URLs of the pools name it
//! max_connections = 40
//! ```
//!
//! The server never has more of their connections than that. Each pool has its minimum first; then
//! those that need more get equally much; what nobody needs is at everybody's disposal. A pool that
//! has more than its part yields idle connections at once, the others when they come back: no holder
//! is interrupted. [`ConnectionFactory::budgets`] shows the parts. What a budget does not count: the
//! short-lived connections that cancel statements, those of another factory or process, and what
//! MongoDB's driver has beside leases, which are monitors, and sockets until `idle_timeout_ms`.
//!
//! # Reload
//!
//! [`ConnectionFactory::reload`] puts another configuration in force while the pools run: limits,
//! sizing, times, credentials, servers, budgets. New credentials and servers are tried first, and a
//! configuration that cannot be put in force for every pool is put in force for none. Connections
//! that lead where they led before stay open.
//!
//! # Observe
//!
//! [`ConnectionFactory::subscribe`] follows the events of every pool with the names of its service
//! and database; [`ConnectionFactory::pool_metrics`] reads the numbers of all;
//! [`ConnectionFactory::health`] asks their servers.
//!
//! # Shut down
//!
//! [`ConnectionFactory::drain`] closes the pools, the last made first, within one deadline that a
//! stuck pool cannot use up alone, and says how each of them ended.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod any_pool;
mod budget;
mod change;
mod config;
mod database;
mod drain;
mod error;
mod events;
mod factory;
mod health;
mod managed;
mod metrics;
mod reload;

// The crates whose types the factory gives, in the versions it was built with.
pub use {pool_core, pool_mongo, pool_postgres};

pub use crate::budget::{BudgetMetrics, BudgetPart};
pub use crate::config::{
    BudgetConfig, ConfigError, ConfigProblem, ConfigSources, FactoryConfig, MongoSettings,
    PostgresSettings, ServiceConfig,
};
pub use crate::database::Database;
pub use crate::drain::{DrainedPool, FactoryDrainReport};
pub use crate::error::{CreateError, CreateErrorKind};
pub use crate::events::{FactoryEvent, FactoryEvents};
pub use crate::factory::ConnectionFactory;
pub use crate::health::{FactoryHealth, PoolHealth, PoolStatus};
pub use crate::metrics::ServiceMetrics;
pub use crate::reload::{ChangedPool, ReloadError, ReloadProblem, ReloadReason, ReloadReport};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
