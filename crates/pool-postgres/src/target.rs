//! Where connections lead: one host or several, and which of them will do.

use std::fmt;

use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Error, Executor as _, PgConnection, Row as _};

use crate::url;

/// What a server must be for a connection to it to be used, as libpq's parameter
/// `target_session_attrs`.
///
/// With several hosts, the first that is so is used, beginning with the one that served last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TargetSessionAttrs {
    /// Any server will do. The default.
    #[default]
    Any,
    /// Its sessions can write: not a standby, and `default_transaction_read_only` is off.
    ReadWrite,
    /// Its sessions cannot write.
    ReadOnly,
    /// It is not a standby.
    Primary,
    /// It is a standby.
    Standby,
    /// It is a standby; any server when no host is one.
    PreferStandby,
}

impl TargetSessionAttrs {
    const ALL: [Self; 6] = [
        Self::Any,
        Self::ReadWrite,
        Self::ReadOnly,
        Self::Primary,
        Self::Standby,
        Self::PreferStandby,
    ];

    /// As it stands in a URL.
    const fn text(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|attrs| attrs.text() == text)
    }

    /// What is asked of all hosts in turn, and then, if none is so, of all hosts again.
    pub(crate) const fn passes(self) -> &'static [Self] {
        match self {
            Self::Any => &[Self::Any],
            Self::ReadWrite => &[Self::ReadWrite],
            Self::ReadOnly => &[Self::ReadOnly],
            Self::Primary => &[Self::Primary],
            Self::Standby => &[Self::Standby],
            Self::PreferStandby => &[Self::Standby, Self::Any],
        }
    }

    /// Whether a server that cannot write is of no use.
    pub(crate) const fn is_for_writes(self) -> bool {
        matches!(self, Self::ReadWrite | Self::Primary)
    }

    /// Whether the server of a connection is so; what it is instead, if not.
    pub(crate) async fn check(
        self,
        connection: &mut PgConnection,
    ) -> Result<Option<&'static str>, Error> {
        if self == Self::Any {
            return Ok(None);
        }
        let sql = "select pg_is_in_recovery(), current_setting('transaction_read_only')::bool";
        let row = connection.fetch_one(sqlx::raw_sql(sql)).await?;
        let (standby, read_only): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
        Ok(match self {
            Self::ReadWrite if read_only => Some("read-only"),
            Self::ReadOnly if !read_only => Some("read-write"),
            Self::Primary if standby => Some("a standby"),
            Self::Standby if !standby => Some("a primary"),
            _ => None,
        })
    }
}

impl fmt::Display for TargetSessionAttrs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Where a pool connects to: one host or several, as whom, and what the server must be.
///
/// From [`PostgresConfig::hosts`](crate::PostgresConfig::hosts), for
/// [`PostgresPool::set_hosts`](crate::PostgresPool::set_hosts). `Debug` shows no password.
#[derive(Clone)]
pub struct PgHosts(pub(crate) Target);

impl fmt::Debug for PgHosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgHosts")
            .field("address", &self.0.address())
            .field("target_session_attrs", &self.0.attrs)
            .finish_non_exhaustive()
    }
}

/// The hosts of a pool.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// One for each host, at least one; they differ in host and port alone.
    pub(crate) hosts: Vec<PgConnectOptions>,
    pub(crate) attrs: TargetSessionAttrs,
    /// Whether nobody has said how far the servers are to be verified.
    pub(crate) tls_by_default: bool,
}

impl Target {
    /// Options for another host; all else is as for the first.
    pub(crate) fn another(&self, host: &str, port: u16) -> PgConnectOptions {
        let options = self.hosts[0].clone().host(host).port(port);
        if self.tls_by_default {
            url::verified(options)
        } else {
            options
        }
    }

    pub(crate) fn map(self, change: impl FnMut(PgConnectOptions) -> PgConnectOptions) -> Self {
        Self {
            hosts: self.hosts.into_iter().map(change).collect(),
            ..self
        }
    }

    /// How often a connect may be attempted before it has failed.
    pub(crate) fn attempts(&self) -> u32 {
        let attempts = self.hosts.len() * self.attrs.passes().len();
        u32::try_from(attempts).unwrap_or(u32::MAX)
    }

    /// `host:port/database`; of several hosts `host:port,host:port/database`.
    pub(crate) fn address(&self) -> String {
        format!("{}/{}", self.servers(), url::database(&self.hosts[0]))
    }

    /// `host:port`, or several as `host:port,host:port`.
    pub(crate) fn servers(&self) -> String {
        self.each_server().join(",")
    }

    /// Each as `host:port`.
    pub(crate) fn each_server(&self) -> Vec<String> {
        self.hosts.iter().map(url::server).collect()
    }
}

impl From<PgConnectOptions> for Target {
    fn from(options: PgConnectOptions) -> Self {
        Self {
            hosts: vec![options],
            attrs: TargetSessionAttrs::Any,
            tls_by_default: false,
        }
    }
}
