//! Which kind of database a pool leads to.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of database behind a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Database {
    /// MongoDB.
    Mongodb,
    /// PostgreSQL.
    Postgresql,
}

impl Database {
    /// The name for reports: `mongodb` or `postgresql`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mongodb => "mongodb",
            Self::Postgresql => "postgresql",
        }
    }

    /// The key of its table in a configuration: `mongodb` or `postgres`.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Self::Mongodb => "mongodb",
            Self::Postgresql => "postgres",
        }
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
