//! What stands between a pool and its server.

use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, Error, PgConnection};

/// How a server is reached: directly, or through a pooler that shares its sessions.
///
/// A pooler in transaction mode gives each transaction another session. What lives in a session
/// (`set`, `listen`, temporary tables, session advisory locks, SQL `prepare`) does not work through
/// it, and two things of this pool change: `init_sql` and `reset_sql` are refused when the pool is
/// built, and an abandoned statement is not cancelled, since the backend that runs it may by then
/// work for somebody else; its connection is closed when it does not end within `recycle_timeout`.
/// For `Migrator::run` use a direct pool, or `set_locking(false)`.
///
/// Any flavor but [`Direct`](Self::Direct) leaves out the start-up parameter `extra_float_digits`,
/// which poolers refuse unless they are told to ignore it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum PgFlavor {
    /// PostgreSQL itself, or what forwards bytes to it. The default.
    #[default]
    Direct,
    /// PgBouncer with `pool_mode = session`: a session lasts as long as its client.
    #[serde(alias = "pgbouncer_session", alias = "pgBouncerSession")]
    PgBouncerSession,
    /// PgBouncer 1.21 or later with `pool_mode = transaction` and `max_prepared_statements` of at
    /// least the statement cache of a connection, which is 100.
    ///
    /// The first connect proves that prepared statements are kept, and fails for good otherwise,
    /// naming the setting to change.
    #[serde(alias = "pgbouncer_transaction", alias = "pgBouncerTransaction")]
    PgBouncerTransaction,
    /// PgDog with `prepared_statements = "extended"`, its default; proved like PgBouncer's.
    #[serde(alias = "pgdog", alias = "pgDog")]
    PgDog,
    /// Amazon RDS Proxy, which pins a session to a client that prepares statements.
    #[serde(alias = "rds_proxy")]
    RdsProxy,
}

impl PgFlavor {
    /// Whether a connection has one session, the same from its first statement to its last.
    pub(crate) const fn keeps_a_session(self) -> bool {
        matches!(self, Self::Direct | Self::PgBouncerSession)
    }

    pub(crate) const fn is_to_be_proved(self) -> bool {
        matches!(self, Self::PgBouncerTransaction | Self::PgDog)
    }

    pub(crate) fn adapt(self, options: PgConnectOptions) -> PgConnectOptions {
        match self {
            Self::Direct => options,
            _ => options.extra_float_digits(None),
        }
    }

    /// What has to change where prepared statements are lost.
    pub(crate) const fn remedy(self) -> &'static str {
        match self {
            Self::PgDog => "set `prepared_statements = \"extended\"` in pgdog.toml",
            _ => {
                "set `max_prepared_statements = 200` in pgbouncer.ini, which needs PgBouncer 1.21 \
                 or later; an older one serves only with `pool_mode = session` and \
                 `PgFlavor::PgBouncerSession`"
            }
        }
    }
}

/// How sqlx names its statements. A pooler that keeps track of them renames them.
const NAMES_OF_SQLX: &str = "sqlx_s_";

/// Finds out whether prepared statements are kept across transactions: by the name under which
/// the server knows the very statement that asks for it.
pub(crate) async fn keeps_statements(connection: &mut PgConnection) -> Result<bool, Error> {
    const SQL: &str = "select name from pg_prepared_statements \
                       where statement like 'select name from pg_prepared_statements%' \
                       order by prepare_time desc limit 1";
    let mut transaction = connection.begin().await?;
    let name = sqlx::query_scalar::<_, String>(SQL)
        .fetch_one(&mut *transaction)
        .await;
    let kept = match name {
        Ok(name) => !name.starts_with(NAMES_OF_SQLX),
        // Another client's statement has the same name, or ours went to another session.
        Err(Error::Database(error))
            if matches!(error.code().as_deref(), Some("42P05" | "26000")) =>
        {
            false
        }
        Err(error) => return Err(error),
    };
    if !kept {
        // The session is somebody else's next: it must not keep the name.
        let _ = transaction.clear_cached_statements().await;
    }
    transaction.rollback().await?;
    Ok(kept)
}
