//! The numbers of every pool, in one call.

use std::sync::Arc;

use pool_core::PoolMetrics;
use serde::Serialize;

use crate::Database;

/// The numbers of one of the pools.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ServiceMetrics {
    /// The service that the pool belongs to.
    #[serde(serialize_with = "as_text")]
    pub service: Arc<str>,
    /// The kind of database that it leads to.
    pub database: Database,
    /// Its numbers.
    pub metrics: PoolMetrics,
}

fn as_text<S: serde::Serializer>(text: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text)
}
