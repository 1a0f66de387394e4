//! How a transaction begins.

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

/// What a transaction sees of others. PostgreSQL treats `READ UNCOMMITTED` as `READ COMMITTED`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IsolationLevel {
    /// Each statement sees what was committed before it began. PostgreSQL's usual default.
    ReadCommitted,
    /// All statements see what was committed before the first one.
    RepeatableRead,
    /// As if transactions ran one after another; one that cannot fails with SQLSTATE 40001.
    Serializable,
}

/// How a transaction begins: isolation level, read-only, deferrable.
///
/// What is not set is the server's default.
///
/// # Example
///
/// ```
/// use pool_postgres::{IsolationLevel, TransactionOptions};
///
/// let options = TransactionOptions::new()
///     .isolation(IsolationLevel::Serializable)
///     .read_only()
///     .deferrable();
/// assert_eq!(options.sql(), "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY DEFERRABLE");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "options do nothing until a transaction begins with them"]
pub struct TransactionOptions {
    isolation: Option<IsolationLevel>,
    read_only: bool,
    deferrable: bool,
}

impl TransactionOptions {
    /// The server's defaults: a plain `BEGIN`.
    pub const fn new() -> Self {
        Self {
            isolation: None,
            read_only: false,
            deferrable: false,
        }
    }

    /// Sets the isolation level.
    pub const fn isolation(mut self, level: IsolationLevel) -> Self {
        self.isolation = Some(level);
        self
    }

    /// Has the server refuse writes, with SQLSTATE 25006.
    pub const fn read_only(mut self) -> Self {
        self.read_only = true;
        self
    }

    /// Has a serializable read-only transaction wait until it cannot be cancelled by others; it
    /// changes nothing for the others.
    pub const fn deferrable(mut self) -> Self {
        self.deferrable = true;
        self
    }

    pub(crate) const fn is_read_only(self) -> bool {
        self.read_only
    }

    /// The statement that begins the transaction.
    #[must_use]
    pub fn sql(self) -> String {
        let mut sql = String::from("BEGIN");
        if let Some(level) = self.isolation {
            sql.push_str(" ISOLATION LEVEL ");
            sql.push_str(match level {
                IsolationLevel::ReadCommitted => "READ COMMITTED",
                IsolationLevel::RepeatableRead => "REPEATABLE READ",
                IsolationLevel::Serializable => "SERIALIZABLE",
            });
        }
        if self.read_only {
            sql.push_str(" READ ONLY");
        }
        if self.deferrable {
            sql.push_str(" DEFERRABLE");
        }
        sql
    }

    pub(crate) fn statement(self) -> SqlStr {
        if self == Self::new() {
            return "BEGIN".into_sql_str();
        }
        AssertSqlSafe(self.sql()).into_sql_str()
    }
}
