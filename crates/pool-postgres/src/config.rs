//! A pool's configuration as it stands in a file.

use std::time::Duration;

use pool_core::{DynamicPoolConfig, RuntimeSettings};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sqlx::postgres::PgConnectOptions;

use crate::builder::PostgresPoolBuilder;
use crate::error::{PostgresConfigError, PostgresConfigProblem};
use crate::target::Target;
use crate::{PgFlavor, PgHosts, url};

/// A pool's configuration, to be deserialised from any format.
///
/// Reads both `snake_case` and `camelCase` names; an unknown field is an error. The URL and the
/// password are secrets: `Debug` does not show them. What is not set has the default of
/// [`PostgresPoolBuilder`]'s method of the same name.
///
/// # Example
///
/// ```
/// use pool_postgres::PostgresConfig;
///
/// let config: PostgresConfig = serde_json::from_str(
///     r#"{
///         "url": "postgres://app@db.example:5432/market",
///         "password": "secret",
///         "minConnections": 2,
///         "max_connections": 20,
///         "acquireTimeoutMs": 1500,
///         "dynamic": { "enabled": true, "minSize": 2, "maxSize": 20 }
///     }"#,
/// )?;
/// assert_eq!(config.acquire_timeout(), Some(std::time::Duration::from_millis(1500)));
/// assert!(!format!("{config:?}").contains("secret"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct PostgresConfig {
    /// Where to connect to: see [`PostgresPool::builder`](crate::PostgresPool::builder).
    pub url: SecretString,
    /// The password, when it does not stand in the URL.
    #[serde(default)]
    pub password: Option<SecretString>,
    /// The name of the pool. Defaults to `host:port/database`.
    #[serde(default)]
    pub name: Option<String>,
    /// What the server shows of the connections. Defaults to the name of the pool.
    #[serde(default, alias = "application_name")]
    pub application_name: Option<String>,
    /// Connections kept without demand. Defaults to 0.
    #[serde(default, alias = "min_connections")]
    pub min_connections: Option<u32>,
    /// Connections never exceeded. Defaults to 10.
    #[serde(default, alias = "max_connections")]
    pub max_connections: Option<u32>,
    /// How long a caller waits for a connection, in milliseconds. Defaults to 30,000.
    #[serde(default, alias = "acquire_timeout_ms")]
    pub acquire_timeout_ms: Option<u64>,
    /// How long one attempt to connect may take, in milliseconds. Defaults to 5,000.
    #[serde(default, alias = "connect_timeout_ms")]
    pub connect_timeout_ms: Option<u64>,
    /// How long a connection above the minimum stays idle, in milliseconds; zero for ever.
    /// Defaults to 600,000.
    #[serde(default, alias = "idle_timeout_ms")]
    pub idle_timeout_ms: Option<u64>,
    /// How long a connection lives, in milliseconds; zero for ever. Defaults to 1,800,000.
    #[serde(default, alias = "max_lifetime_ms")]
    pub max_lifetime_ms: Option<u64>,
    /// How long an idle connection goes without a check, in milliseconds; zero for ever, which
    /// is the default.
    #[serde(default, alias = "keepalive_ms")]
    pub keepalive_ms: Option<u64>,
    /// How long a checkout may last before it is reported, in milliseconds; zero for ever, which
    /// is the default.
    #[serde(default, alias = "leak_threshold_ms")]
    pub leak_threshold_ms: Option<u64>,
    /// How many connections may be being opened at once. Defaults to 4.
    #[serde(default, alias = "max_connecting")]
    pub max_connecting: Option<u32>,
    /// How many callers may wait. Defaults to no bound.
    #[serde(default, alias = "max_waiters")]
    pub max_waiters: Option<u32>,
    /// Prepared statements kept by each connection, at least 1. Defaults to 100.
    #[serde(default, alias = "statement_cache_capacity")]
    pub statement_cache_capacity: Option<usize>,
    /// What stands between the pool and the server. Defaults to `direct`.
    #[serde(default)]
    pub flavor: Option<PgFlavor>,
    /// Statements to run once on each new connection.
    #[serde(default, alias = "init_sql")]
    pub init_sql: Option<String>,
    /// Statements to run on each connection that comes back.
    #[serde(default, alias = "reset_sql")]
    pub reset_sql: Option<String>,
    /// Sizing by load. Its sizes take the place of the limits.
    #[serde(default)]
    pub dynamic: Option<DynamicPoolConfig>,
}

impl PostgresConfig {
    /// A configuration with nothing but a URL.
    #[must_use]
    pub fn new(url: impl Into<SecretString>) -> Self {
        Self {
            url: url.into(),
            password: None,
            name: None,
            application_name: None,
            min_connections: None,
            max_connections: None,
            acquire_timeout_ms: None,
            connect_timeout_ms: None,
            idle_timeout_ms: None,
            max_lifetime_ms: None,
            keepalive_ms: None,
            leak_threshold_ms: None,
            max_connecting: None,
            max_waiters: None,
            statement_cache_capacity: None,
            flavor: None,
            init_sql: None,
            reset_sql: None,
            dynamic: None,
        }
    }

    /// Those of the settings that can change while the pool runs, with the defaults of what is not
    /// set.
    #[must_use]
    pub fn runtime_settings(&self) -> RuntimeSettings {
        let mut settings = RuntimeSettings::default();
        macro_rules! apply {
            ($($field:ident: $value:expr,)*) => {$(
                if let Some(value) = $value {
                    settings.$field = value;
                }
            )*};
        }
        apply! {
            acquire_timeout: self.acquire_timeout(),
            connect_timeout: self.connect_timeout(),
            idle_timeout: self.idle_timeout(),
            max_lifetime: self.max_lifetime(),
            max_connecting: self.max_connecting,
        }
        settings.keepalive = self.keepalive();
        settings.leak_threshold = self.leak_threshold();
        settings.max_waiters = self.max_waiters;
        settings
    }

    /// How long a caller waits for a connection, if that is set.
    #[must_use]
    pub fn acquire_timeout(&self) -> Option<Duration> {
        self.acquire_timeout_ms.map(Duration::from_millis)
    }

    /// How long one attempt to connect may take, if that is set.
    #[must_use]
    pub fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout_ms.map(Duration::from_millis)
    }

    /// How long a connection above the minimum stays idle, if that is set; `Some(None)` for ever.
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Option<Duration>> {
        self.idle_timeout_ms.map(unless_zero)
    }

    /// How long a connection lives, if that is set; `Some(None)` for ever.
    #[must_use]
    pub fn max_lifetime(&self) -> Option<Option<Duration>> {
        self.max_lifetime_ms.map(unless_zero)
    }

    /// How long an idle connection goes without a check; `None` for ever.
    #[must_use]
    pub fn keepalive(&self) -> Option<Duration> {
        self.keepalive_ms.and_then(unless_zero)
    }

    /// How long a checkout may last before it is reported; `None` for ever.
    #[must_use]
    pub fn leak_threshold(&self) -> Option<Duration> {
        self.leak_threshold_ms.and_then(unless_zero)
    }

    /// Everything that can be said against this configuration without a server or a runtime: what
    /// [`PostgresPool::from_config`](crate::PostgresPool::from_config) would say. [`PostgresConfigProblem::setting`] names the field.
    #[must_use]
    pub fn problems(&self) -> Vec<PostgresConfigProblem> {
        let with_a_url_that_does = || Self {
            url: "postgres://postgres@localhost".into(),
            ..self.clone()
        };
        let (mut problems, builder) = match self.builder() {
            Ok(builder) => (Vec::new(), builder),
            // The rest can be looked at all the same.
            Err(error) => match with_a_url_that_does().builder() {
                Ok(builder) => (error.problems, builder),
                Err(_) => return error.problems,
            },
        };
        let own = builder.own_problems();
        let engine = match self.dynamic {
            // Its sizes take the place of the limits.
            Some(config) => {
                if let Err(invalid) = config.validate() {
                    problems.push(invalid.into());
                }
                builder.into_engine().limits(0, 1)
            }
            None => builder.into_engine(),
        };
        problems.extend(own);
        problems.extend(engine.problems().into_iter().map(Into::into));
        problems
    }

    /// Whether connections that were opened with `other` are as good as those that this
    /// configuration opens: the same server, database, user and parameters, whatever the password.
    #[must_use]
    pub fn leads_where(&self, other: &Self) -> bool {
        let without_password = |config: &Self| url::without_password(config.url.expose_secret());
        without_password(self) == without_password(other)
            && self.statement_cache_capacity == other.statement_cache_capacity
    }

    /// The servers that the URL leads to, each as `host:port`, or the folder of its socket in place
    /// of the host. None for a URL that cannot be used.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        let target = url::parse(self.url.expose_secret());
        target.map_or_else(|_| Vec::new(), |target| target.each_server())
    }

    /// Where and as whom to connect: what the connections of a pool with this configuration are
    /// opened with; of several hosts the first. The `application_name` is set only if one is
    /// configured.
    ///
    /// # Errors
    ///
    /// A URL that cannot be used; the error never repeats the password.
    pub fn connect_options(&self) -> Result<PgConnectOptions, PostgresConfigError> {
        Ok(self.target()?.hosts.swap_remove(0))
    }

    /// Where and as whom to connect, with all hosts of the URL; else as
    /// [`connect_options`](Self::connect_options).
    ///
    /// # Errors
    ///
    /// A URL that cannot be used; the error never repeats the password.
    pub fn hosts(&self) -> Result<PgHosts, PostgresConfigError> {
        self.target().map(PgHosts)
    }

    fn target(&self) -> Result<Target, PostgresConfigError> {
        let mut target = url::parse(self.url.expose_secret()).map_err(|problem| {
            let name = self.name.as_deref().unwrap_or("postgres");
            PostgresConfigError::new(name, vec![problem.into()])
        })?;
        if let Some(password) = &self.password {
            target = target.map(|options| options.password(password.expose_secret()));
        }
        if let Some(application_name) = &self.application_name {
            target = target.map(|options| options.application_name(application_name));
        }
        if let Some(capacity) = self.statement_cache_capacity {
            target = target.map(|options| options.statement_cache_capacity(capacity));
        }
        Ok(target)
    }

    /// A builder with this configuration, for what a file cannot say: listeners, hooks, a
    /// credential provider.
    ///
    /// # Errors
    ///
    /// A URL that cannot be used; the error never repeats the password.
    pub fn builder(&self) -> Result<PostgresPoolBuilder, PostgresConfigError> {
        let mut builder = PostgresPoolBuilder::new(self.target()?).limits(
            self.min_connections.unwrap_or(0),
            self.max_connections.unwrap_or(10),
        );
        macro_rules! apply {
            ($($method:ident: $value:expr,)*) => {$(
                if let Some(value) = $value {
                    builder = builder.$method(value);
                }
            )*};
        }
        apply! {
            name: self.name.clone(),
            acquire_timeout: self.acquire_timeout(),
            connect_timeout: self.connect_timeout(),
            idle_timeout: self.idle_timeout(),
            max_lifetime: self.max_lifetime(),
            keepalive: self.keepalive(),
            leak_threshold: self.leak_threshold(),
            max_connecting: self.max_connecting,
            max_waiters: self.max_waiters,
            statement_cache_capacity: self.statement_cache_capacity,
            flavor: self.flavor,
            init_sql: self.init_sql.as_deref(),
            reset_sql: self.reset_sql.as_deref(),
            dynamic: self.dynamic,
        }
        Ok(builder)
    }
}

const fn unless_zero(millis: u64) -> Option<Duration> {
    match millis {
        0 => None,
        millis => Some(Duration::from_millis(millis)),
    }
}
