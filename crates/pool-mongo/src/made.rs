//! Which settings the user has made.

use pool_core::DynamicPoolConfig;
use secrecy::SecretString;
use serde::Deserialize;

use crate::config::MongoConfig;

/// A bit for each setting that the user has made. The others are defaults, and a default gives way
/// to what the URI says: a contradiction is between two things that somebody said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Made(u8);

impl Made {
    pub(crate) const MIN: Self = Self(1);
    pub(crate) const MAX: Self = Self(1 << 1);
    pub(crate) const CEILING: Self = Self(1 << 2);
    pub(crate) const ACQUIRE_TIMEOUT: Self = Self(1 << 3);
    pub(crate) const CONNECT_TIMEOUT: Self = Self(1 << 4);
    pub(crate) const IDLE_TIMEOUT: Self = Self(1 << 5);
    pub(crate) const MAX_CONNECTING: Self = Self(1 << 6);
    /// The limits are those of a pool that runs, where the URI has no say about the minimum.
    pub(crate) const RUNNING: Self = Self(1 << 7);

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(crate) const fn and_if(self, condition: bool, other: Self) -> Self {
        if condition { self.and(other) } else { self }
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A [`MongoConfig`] as it is written: what is not there is told from what is there and says the
/// same as the default.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Written {
    uri: SecretString,
    #[serde(default)]
    database: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default, alias = "min_connections", deserialize_with = "there")]
    min_connections: Option<u32>,
    #[serde(default, alias = "max_connections", deserialize_with = "there")]
    max_connections: Option<u32>,
    #[serde(default)]
    ceiling: Option<u32>,
    #[serde(default, alias = "acquire_timeout_ms", deserialize_with = "there")]
    acquire_timeout_ms: Option<u64>,
    #[serde(default, alias = "connect_timeout_ms", deserialize_with = "there")]
    connect_timeout_ms: Option<u64>,
    #[serde(default, alias = "idle_timeout_ms", deserialize_with = "there")]
    idle_timeout_ms: Option<Option<u64>>,
    #[serde(default, alias = "max_connecting", deserialize_with = "there")]
    max_connecting: Option<u32>,
    #[serde(default, alias = "max_waiters")]
    max_waiters: Option<u32>,
    #[serde(default, alias = "leak_threshold_ms")]
    leak_threshold_ms: Option<u64>,
    #[serde(default, alias = "require_database")]
    require_database: bool,
    #[serde(default)]
    dynamic: Option<DynamicPoolConfig>,
}

/// A `null` is a value, and for most fields a wrong one.
fn there<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl From<Written> for MongoConfig {
    fn from(written: Written) -> Self {
        let defaults = Self::new(written.uri);
        let made = Made::default()
            .and_if(written.min_connections.is_some(), Made::MIN)
            .and_if(written.max_connections.is_some(), Made::MAX)
            .and_if(written.ceiling.is_some(), Made::CEILING)
            .and_if(written.acquire_timeout_ms.is_some(), Made::ACQUIRE_TIMEOUT)
            .and_if(written.connect_timeout_ms.is_some(), Made::CONNECT_TIMEOUT)
            .and_if(written.idle_timeout_ms.is_some(), Made::IDLE_TIMEOUT)
            .and_if(written.max_connecting.is_some(), Made::MAX_CONNECTING);
        Self {
            database: written.database,
            name: written.name,
            min_connections: written.min_connections.unwrap_or(defaults.min_connections),
            max_connections: written.max_connections.unwrap_or(defaults.max_connections),
            ceiling: written.ceiling,
            acquire_timeout_ms: written
                .acquire_timeout_ms
                .unwrap_or(defaults.acquire_timeout_ms),
            connect_timeout_ms: written
                .connect_timeout_ms
                .unwrap_or(defaults.connect_timeout_ms),
            idle_timeout_ms: written.idle_timeout_ms.unwrap_or(defaults.idle_timeout_ms),
            max_connecting: written.max_connecting.unwrap_or(defaults.max_connecting),
            max_waiters: written.max_waiters,
            leak_threshold_ms: written.leak_threshold_ms,
            require_database: written.require_database,
            dynamic: written.dynamic,
            made,
            uri: defaults.uri,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::builder::checked;

    /// A default is nothing that anybody said; what was written is, also where it says the same.
    #[test]
    fn what_is_not_set_is_taken_from_the_uri() {
        let uri = "mongodb://h/db?maxPoolSize=5&minPoolSize=2&maxIdleTimeMS=0&maxConnecting=3\
                   &waitQueueTimeoutMS=2000&connectTimeoutMS=700&serverSelectionTimeoutMS=500";
        let read = |rest: &str| {
            let text = format!(r#"{{"uri": "{uri}" {rest}}}"#);
            serde_json::from_str::<MongoConfig>(&text).unwrap()
        };
        let config = read("");
        assert_eq!((config.problems(), config.limits()), (Vec::new(), (2, 5)));
        let (_, settings) = checked(uri, config.into_builder().settings).unwrap();
        assert_eq!((settings.ceiling(), settings.idle_timeout), (5, None));
        assert_eq!(settings.max_connecting, 3);
        assert_eq!(settings.acquire_timeout, Duration::from_secs(2));
        assert_eq!(settings.connect_timeout, Duration::from_millis(700));

        for (written, named) in [
            (r#", "maxConnections": 10"#, ["maxPoolSize=5", "max=10"]),
            (r#", "ceiling": 100"#, ["maxPoolSize=5", "ceiling=100"]),
            (r#", "min_connections": 0"#, ["minPoolSize=2", "min=0"]),
            (
                r#", "idleTimeoutMs": 60000"#,
                ["maxIdleTimeMS=0", "idle_timeout=60000"],
            ),
            (
                r#", "maxConnecting": 4"#,
                ["maxConnecting=3", "max_connecting=4"],
            ),
            (
                r#", "acquireTimeoutMs": 30000"#,
                ["waitQueueTimeoutMS=2000", "acquire_timeout=30000"],
            ),
            (
                r#", "connectTimeoutMs": 5000"#,
                ["connectTimeoutMS=700", "connect_timeout=5000"],
            ),
        ] {
            let problems = read(written).problems();
            let [problem] = &problems[..] else {
                panic!("{written}: {problems:?}");
            };
            let text = problem.to_string();
            for name in named {
                assert!(text.contains(name), "{written}: {text}");
            }
        }
        // The same twice is no contradiction, and fewer leases than sockets are none.
        let same =
            r#", "ceiling": 5, "maxConnections": 4, "minConnections": 2, "idleTimeoutMs": null"#;
        assert_eq!(read(same).problems(), []);
        // Code that sets a field has said something as well.
        let mut config = MongoConfig::new(uri);
        config.max_connections = 8;
        assert_eq!(config.problems().len(), 1);
    }
}
