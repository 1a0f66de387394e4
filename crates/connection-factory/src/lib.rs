//! Named PostgreSQL and MongoDB pools for each service, from one configuration.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod config;
mod database;
mod drain;
mod error;
mod events;
mod factory;
mod managed;
mod metrics;

pub use crate::config::{
    ConfigError, ConfigProblem, ConfigSources, FactoryConfig, MongoSettings, PostgresSettings,
    ServiceConfig,
};
pub use crate::database::Database;
pub use crate::drain::{DrainedPool, FactoryDrainReport};
pub use crate::error::{CreateError, CreateErrorKind};
pub use crate::events::{FactoryEvent, FactoryEvents};
pub use crate::factory::ConnectionFactory;
pub use crate::metrics::ServiceMetrics;
