//! The settings of a pool, as they are written in files and as they are kept.

use std::sync::Arc;
use std::time::Duration;

use pool_core::{DynamicPoolConfig, Limits};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;

use crate::builder::{MongoPoolBuilder, checked};
use crate::error::{MongoPoolError, SettingProblem};
use crate::made::{Made, Written};
use crate::uri;

/// A pool's settings as data: from a file, from the environment, from code.
///
/// Deserialises both `snake_case` and `camelCase` names; an unknown field is an error. The URI is
/// never printed.
///
/// # Example
///
/// ```
/// use pool_mongo::MongoConfig;
///
/// let config: MongoConfig = serde_json::from_str(
///     r#"{
///         "uri": "mongodb://app:secret@db.example/?replicaSet=rs0",
///         "database": "market",
///         "minConnections": 2,
///         "maxConnections": 20
///     }"#,
/// )?;
/// assert_eq!(config.max_connections, 20);
/// assert!(!format!("{config:?}").contains("secret@"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "Written")]
#[non_exhaustive]
pub struct MongoConfig {
    /// The connection string: hosts, user, TLS, read and write concern. Sizes and times belong to
    /// the fields below; where a field is not set, the URI's is taken, and where both are, they
    /// have to say the same.
    pub uri: SecretString,
    /// The database that a lease stands for. Defaults to the one in the URI.
    pub database: Option<String>,
    /// The name in errors, events, metrics and logs. Defaults to `default`.
    pub name: Option<String>,
    /// Leases, and sockets, that are kept without demand. Defaults to 0.
    pub min_connections: u32,
    /// Leases that are never exceeded. Defaults to 10.
    pub max_connections: u32,
    /// The most sockets to one server, whatever the limits become. Defaults to 100, or to the
    /// largest maximum in this configuration if that is more.
    pub ceiling: Option<u32>,
    /// How long a caller waits for a lease, in milliseconds. Defaults to 30,000.
    pub acquire_timeout_ms: u64,
    /// How long one attempt to reach the server may take, in milliseconds. Defaults to 5,000.
    pub connect_timeout_ms: u64,
    /// How long what is above the minimum stays idle, in milliseconds; `null` for ever. Defaults
    /// to 60,000.
    pub idle_timeout_ms: Option<u64>,
    /// How many sockets to one server may be being opened at once. Defaults to 4.
    pub max_connecting: u32,
    /// How many callers may wait; `null`, the default, for any number.
    pub max_waiters: Option<u32>,
    /// How long a lease may be held before it is reported, in milliseconds; `null`, the default,
    /// for ever.
    pub leak_threshold_ms: Option<u64>,
    /// Whether the database must exist. Defaults to false: MongoDB creates one with its first
    /// document.
    pub require_database: bool,
    /// Sizing by load. Its sizes take the place of the two limits above.
    pub dynamic: Option<DynamicPoolConfig>,
    /// What was written, also where it says the same as the default.
    pub(crate) made: Made,
}

impl MongoConfig {
    /// All defaults.
    #[must_use]
    pub fn new(uri: impl Into<SecretString>) -> Self {
        Self {
            uri: uri.into(),
            database: None,
            name: None,
            min_connections: 0,
            max_connections: max_connections(),
            ceiling: None,
            acquire_timeout_ms: acquire_timeout(),
            connect_timeout_ms: connect_timeout(),
            idle_timeout_ms: idle_timeout(),
            max_connecting: max_connecting(),
            max_waiters: None,
            leak_threshold_ms: None,
            require_database: false,
            dynamic: None,
            made: Made::default(),
        }
    }

    /// Everything that can be said against these settings without a server or a runtime: what
    /// [`MongoPool::from_config`](crate::MongoPool::from_config) would say first.
    /// [`SettingProblem::setting`] names the field.
    #[must_use]
    pub fn problems(&self) -> Vec<SettingProblem> {
        let settings = self.clone().into_builder().settings;
        match checked(self.uri.expose_secret(), settings) {
            Err(MongoPoolError::Settings { problems, .. }) => problems,
            _ => Vec::new(),
        }
    }

    /// The servers that the URI names, each as `host:port`, or as the one name of a
    /// `mongodb+srv://` URI. None for a URI that cannot be used.
    #[must_use]
    pub fn servers(&self) -> Vec<String> {
        uri::servers(self.uri.expose_secret())
    }

    /// The same as a builder, for what data cannot say: listeners.
    pub fn into_builder(self) -> MongoPoolBuilder {
        let millis = Duration::from_millis;
        let made = self.made();
        let mut builder = MongoPoolBuilder::new(self.uri)
            .limits(self.min_connections, self.max_connections)
            .acquire_timeout(millis(self.acquire_timeout_ms))
            .connect_timeout(millis(self.connect_timeout_ms))
            .idle_timeout(self.idle_timeout_ms.map(millis))
            .max_connecting(self.max_connecting)
            .leak_threshold(self.leak_threshold_ms.map(millis))
            .require_database(self.require_database);
        if let Some(name) = self.name {
            builder = builder.name(name);
        }
        if let Some(database) = self.database {
            builder = builder.database(database);
        }
        if let Some(ceiling) = self.ceiling {
            builder = builder.ceiling(ceiling);
        }
        if let Some(waiters) = self.max_waiters {
            builder = builder.max_waiters(waiters);
        }
        if let Some(dynamic) = self.dynamic {
            builder = builder.dynamic(dynamic);
        }
        builder.settings.made = made;
        builder
    }

    /// The limits that a pool of this configuration begins with: those of
    /// [`dynamic`](Self::dynamic), or the fields, or what the URI says where a field is not set.
    #[must_use]
    pub fn limits(&self) -> (u32, u32) {
        if let Some(dynamic) = self.dynamic {
            return (dynamic.min_size, dynamic.max_size);
        }
        let settings = self.clone().into_builder().settings;
        match checked(self.uri.expose_secret(), settings) {
            Ok((_, settings)) => settings.limits,
            Err(_) => (self.min_connections, self.max_connections),
        }
    }

    /// What was written, and what code has set to something else than the default.
    fn made(&self) -> Made {
        self.made
            .and_if(self.min_connections != 0, Made::MIN)
            .and_if(self.max_connections != max_connections(), Made::MAX)
            .and_if(self.ceiling.is_some(), Made::CEILING)
            .and_if(
                self.acquire_timeout_ms != acquire_timeout(),
                Made::ACQUIRE_TIMEOUT,
            )
            .and_if(
                self.connect_timeout_ms != connect_timeout(),
                Made::CONNECT_TIMEOUT,
            )
            .and_if(self.idle_timeout_ms != idle_timeout(), Made::IDLE_TIMEOUT)
            .and_if(
                self.max_connecting != max_connecting(),
                Made::MAX_CONNECTING,
            )
    }
}

const fn max_connections() -> u32 {
    10
}

const fn acquire_timeout() -> u64 {
    30_000
}

const fn connect_timeout() -> u64 {
    5_000
}

#[allow(clippy::unnecessary_wraps, reason = "the field's type")]
const fn idle_timeout() -> Option<u64> {
    Some(60_000)
}

const fn max_connecting() -> u32 {
    4
}

/// The settings as the pool keeps them; without the URI.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: Arc<str>,
    pub(crate) database: Option<String>,
    pub(crate) limits: (u32, u32),
    pub(crate) ceiling: Option<u32>,
    pub(crate) acquire_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) leak_threshold: Option<Duration>,
    pub(crate) max_connecting: u32,
    pub(crate) max_waiters: Option<u32>,
    pub(crate) require_database: bool,
    pub(crate) dynamic: Option<DynamicPoolConfig>,
    pub(crate) made: Made,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "default".into(),
            database: None,
            limits: (0, max_connections()),
            ceiling: None,
            acquire_timeout: Duration::from_millis(acquire_timeout()),
            connect_timeout: Duration::from_millis(connect_timeout()),
            idle_timeout: idle_timeout().map(Duration::from_millis),
            leak_threshold: None,
            max_connecting: max_connecting(),
            max_waiters: None,
            require_database: false,
            dynamic: None,
            made: Made::default(),
        }
    }
}

impl Settings {
    /// The most sockets to one server: what was asked for, or room for growth.
    pub(crate) fn ceiling(&self) -> u32 {
        let largest = self
            .dynamic
            .map_or(0, |dynamic| dynamic.max_size)
            .max(self.limits.1);
        self.ceiling.unwrap_or_else(|| largest.max(100))
    }

    /// How long one attempt to prove the server may take: it has to end, with its cause, before
    /// the callers that wait for it do.
    pub(crate) fn proof_timeout(&self) -> Duration {
        self.connect_timeout.min(self.acquire_timeout.mul_f64(0.8))
    }

    /// Lowers a maximum that nobody has asked for to a ceiling that somebody has.
    pub(crate) fn fit_defaults(&mut self) {
        if let Some(ceiling) = self.ceiling.filter(|_| !self.made.has(Made::MAX)) {
            self.limits.1 = self.limits.1.min(ceiling);
        }
    }

    /// What is wrong with the settings by themselves.
    pub(crate) fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        // Sizing by load has sizes of its own, which are looked at below.
        let limits = Some(self.limits).filter(|_| self.dynamic.is_none());
        if let Some(Err(invalid)) = limits.map(|(min, max)| Limits::new(min, max)) {
            problems.push(invalid.into());
        }
        let ceiling = self.ceiling();
        if let Some(ceiling) = self.ceiling.filter(|ceiling| *ceiling > Limits::CEILING) {
            let most = Limits::CEILING;
            problems.push(SettingProblem::Ceiling { ceiling, most });
        }
        if let Some((_, max)) = limits.filter(|(_, max)| *max > ceiling) {
            problems.push(SettingProblem::AboveCeiling {
                setting: "max",
                value: max,
                ceiling,
            });
        }
        if let Some(dynamic) = &self.dynamic {
            if let Err(invalid) = dynamic.validate() {
                problems.push(SettingProblem::Dynamic(invalid.to_string()));
            }
            if dynamic.max_size > ceiling {
                problems.push(SettingProblem::AboveCeiling {
                    setting: "maxSize",
                    value: dynamic.max_size,
                    ceiling,
                });
            }
        }
        if let Some(name) = &self.database {
            problems.extend(database_problem(name));
        }
        let zero = |setting, remedy| SettingProblem::Zero { setting, remedy };
        if self.acquire_timeout.is_zero() {
            problems.push(zero("acquire_timeout", "give callers time to wait"));
        }
        if self.connect_timeout.is_zero() {
            problems.push(zero("connect_timeout", "give an attempt time to finish"));
        }
        if self.idle_timeout.is_some_and(|timeout| timeout.is_zero()) {
            problems.push(zero("idle_timeout", "use None for never"));
        }
        if self.leak_threshold.is_some_and(|time| time.is_zero()) {
            problems.push(zero("leak_threshold", "use None for never"));
        }
        if self.max_connecting == 0 {
            let remedy = "without a connect there is no pool";
            problems.push(zero("max_connecting", remedy));
        }
        problems
    }
}

/// What MongoDB would say against a database's name, but only at its first write.
pub(crate) fn database_problem(name: &str) -> Option<SettingProblem> {
    let reason = if name.is_empty() {
        "the name is empty"
    } else if name.len() > 63 {
        "the name is longer than 63 bytes"
    } else if name.contains([
        '/', '\\', '.', ' ', '"', '$', '*', '<', '>', ':', '|', '?', '\0',
    ]) {
        "the name has one of the characters / \\ . space \" $ * < > : | ?"
    } else {
        return None;
    };
    Some(SettingProblem::DatabaseName {
        name: name.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_unknown_fields_are_not() {
        let read = serde_json::from_str::<MongoConfig>;
        let camel = r#"{"uri": "mongodb://h", "minConnections": 3, "acquireTimeoutMs": 7}"#;
        let snake = r#"{"uri": "mongodb://h", "min_connections": 3, "acquire_timeout_ms": 7}"#;
        for text in [camel, snake] {
            let config = read(text).unwrap();
            assert_eq!((config.min_connections, config.acquire_timeout_ms), (3, 7));
            assert_eq!(config.idle_timeout_ms, Some(60_000));
        }
        let error = read(r#"{"uri": "mongodb://h", "poolSize": 3}"#).unwrap_err();
        assert!(error.to_string().contains("poolSize"), "{error}");
    }

    #[test]
    fn data_and_code_have_the_same_defaults() {
        let built = MongoPoolBuilder::new("mongodb://h").settings;
        let read: MongoConfig = serde_json::from_str(r#"{"uri": "mongodb://h"}"#).unwrap();
        let read = read.into_builder().settings;
        let new = MongoConfig::new("mongodb://h").into_builder().settings;
        for settings in [read, new] {
            assert_eq!(format!("{settings:?}"), format!("{built:?}"));
        }
    }

    #[test]
    fn the_ceiling_leaves_room_unless_it_is_given() {
        let mut settings = Settings::default();
        assert_eq!(settings.ceiling(), 100);
        settings.limits = (0, 150);
        assert_eq!(settings.ceiling(), 150);
        settings.ceiling = Some(120);
        let text = settings.problems()[0].to_string();
        assert!(
            text.contains("max 150") && text.contains("ceiling 120"),
            "{text}"
        );
    }

    /// The account of a server's sockets has a place for each.
    #[test]
    fn a_ceiling_that_no_server_has_room_for_is_refused() {
        let mut settings = Settings {
            ceiling: Some(Limits::CEILING),
            ..Settings::default()
        };
        assert_eq!(settings.problems(), []);
        settings.ceiling = Some(u32::MAX);
        let problems = settings.problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].setting(), "ceiling");
        let text = problems[0].to_string();
        assert!(text.contains("ceiling 4294967295"), "{text}");
    }

    #[test]
    fn names_that_mongodb_refuses_are_refused_at_once() {
        for name in ["", "a b", "a/b", "a.b", "a$b", &"x".repeat(64)] {
            assert!(database_problem(name).is_some(), "{name}");
        }
        assert_eq!(database_problem("market-data_2"), None);
    }
}
