//! What another configuration means for one pool.

use std::sync::Arc;

use pool_core::{DynamicPoolConfig, RuntimeSettings, SharedError};
use pool_mongo::{MongoConfig, MongoPool};
use pool_postgres::{PostgresConfig, PostgresPool};
use secrecy::{ExposeSecret as _, SecretString};

use crate::any_pool::AnyPool;
use crate::budget::Shares as _;
use crate::config::{FactoryConfig, MongoSettings, PostgresSettings};
use crate::managed::Managed;
use crate::reload::ReloadReason;

/// A change that can be put in force at once.
pub(crate) enum Change {
    /// The new configuration does not have the pool.
    Gone,
    Settings(SettingsChange),
}

pub(crate) struct SettingsChange {
    pub(crate) what: Vec<&'static str>,
    pub(crate) replaces_connections: bool,
    /// The other budget that it shares from now on, if that changes.
    pub(crate) budget: Option<Option<String>>,
    pub(crate) commit: Box<dyn FnOnce() + Send>,
}

type Prepared = Result<Change, Vec<ReloadReason>>;

impl Change {
    /// Finds what differs, and makes sure that the server accepts it.
    pub(crate) async fn prepare(
        pool: &AnyPool,
        service: &str,
        before: &FactoryConfig,
        after: &FactoryConfig,
    ) -> Prepared {
        match pool {
            AnyPool::Mongodb(pool) => {
                let before = MongoPool::settings(before, service);
                match MongoPool::settings(after, service) {
                    Some(after) => mongodb(pool, before.unwrap_or(after), after).await,
                    None => Ok(Self::Gone),
                }
            }
            AnyPool::Postgres(pool) => {
                let before = PostgresPool::settings(before, service);
                match PostgresPool::settings(after, service) {
                    Some(after) => postgres(pool, before.unwrap_or(after), after).await,
                    None => Ok(Self::Gone),
                }
            }
        }
    }
}

async fn postgres(
    pool: &PostgresPool,
    before: &PostgresSettings,
    after: &PostgresSettings,
) -> Prepared {
    let (old, new) = (&before.pool, &after.pool);
    let mut reasons = fixed(&[
        ("name", old.name != new.name),
        ("init_sql", old.init_sql != new.init_sql),
        ("reset_sql", old.reset_sql != new.reset_sql),
        (
            "flavor",
            old.flavor.unwrap_or_default() != new.flavor.unwrap_or_default(),
        ),
    ]);
    let size = Size::of_postgres(new);
    let resize = size != Size::of_postgres(old);
    let lent = AnyPool::Postgres(pool.clone()).lent();
    if resize && size.max() <= lent {
        let max = size.max();
        reasons.push(refused(NothingLeft { max, lent }));
    }
    let moved = !new.leads_where(old);
    let hosts = if moved || reenters(old, new) {
        let hosts = new.hosts().map_err(|error| vec![refused(error)])?;
        if let Err(error) = pool.try_hosts(&hosts).await {
            reasons.push(refused(error));
        }
        Some(hosts)
    } else {
        None
    };
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let times = retimed(
        old.runtime_settings(),
        new.runtime_settings(),
        pool.runtime_settings(),
    );
    let what = [
        ("url", moved),
        ("credentials", hosts.is_some() && !moved),
        ("sizes", resize),
        ("times", times.is_some()),
        ("budget", before.budget != after.budget),
    ];
    let pool = pool.clone();
    let commit = move || {
        if let Some(hosts) = hosts {
            pool.set_hosts(hosts);
        }
        if moved {
            pool.soft_evict();
        }
        if resize {
            told(
                pool.name(),
                size.put_in_force(|min, max| pool.set_limits(min, max), &pool),
            );
        }
        if let Some(times) = times {
            told(
                pool.name(),
                pool.set_runtime_settings(times).map_err(shared),
            );
        }
    };
    Ok(Change::Settings(SettingsChange {
        what: named(&what),
        replaces_connections: moved,
        budget: (before.budget != after.budget).then(|| after.budget.clone()),
        commit: Box::new(commit),
    }))
}

async fn mongodb(pool: &MongoPool, before: &MongoSettings, after: &MongoSettings) -> Prepared {
    let (old, new) = (&before.pool, &after.pool);
    let mut reasons = fixed(&[
        ("name", old.name != new.name),
        ("database", old.database != new.database),
        (
            "require_database",
            old.require_database != new.require_database,
        ),
    ]);
    let size = Size::of_mongodb(new);
    let resize = size != Size::of_mongodb(old);
    let of_client = |config: &MongoConfig| {
        (
            config.ceiling,
            config.connect_timeout_ms,
            config.idle_timeout_ms,
            config.max_connecting,
        )
    };
    let of_leases = |config: &MongoConfig| {
        (
            config.acquire_timeout_ms,
            config.leak_threshold_ms,
            config.max_waiters,
        )
    };
    let retimed = of_leases(old) != of_leases(new);
    let other_client = of_client(old) != of_client(new)
        || differ(&old.uri, &new.uri)
        || size.max() > pool.ceiling();
    let mut prepared = None;
    if retimed || other_client {
        match pool.reconfigure().config(new.clone()).prepare().await {
            Ok(ready) => prepared = Some(ready),
            Err(error) => reasons.push(refused(error)),
        }
    }
    if !reasons.is_empty() {
        return Err(reasons);
    }
    let replaces_connections = prepared
        .as_ref()
        .is_some_and(|prepared| prepared.replaces_the_client());
    let what = [
        ("client", replaces_connections),
        ("sizes", resize),
        ("times", retimed),
        ("budget", before.budget != after.budget),
    ];
    let pool = pool.clone();
    let commit = move || {
        if let Some(prepared) = prepared {
            prepared.take_over();
        }
        if resize {
            told(
                pool.name(),
                size.put_in_force(|min, max| pool.set_limits(min, max), &pool),
            );
        }
    };
    Ok(Change::Settings(SettingsChange {
        what: named(&what),
        replaces_connections,
        budget: (before.budget != after.budget).then(|| after.budget.clone()),
        commit: Box::new(commit),
    }))
}

/// What a configuration says about the size of a pool.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Size {
    Limits(u32, u32),
    Dynamic(DynamicPoolConfig),
}

impl Size {
    fn of_postgres(config: &PostgresConfig) -> Self {
        let limits = Self::Limits(
            config.min_connections.unwrap_or(0),
            config.max_connections.unwrap_or(10),
        );
        config.dynamic.map_or(limits, Self::Dynamic)
    }

    fn of_mongodb(config: &MongoConfig) -> Self {
        let limits = || {
            let (min, max) = config.limits();
            Self::Limits(min, max)
        };
        config.dynamic.map_or_else(limits, Self::Dynamic)
    }

    const fn max(&self) -> u32 {
        match self {
            Self::Limits(_, max) => *max,
            Self::Dynamic(config) => config.max_size,
        }
    }

    fn put_in_force<E: std::error::Error + Send + Sync + 'static>(
        self,
        set_limits: impl FnOnce(u32, u32) -> Result<(), E>,
        pool: &impl pool_core::DynamicSizing,
    ) -> Result<(), SharedError> {
        let dynamic = match self {
            Self::Dynamic(config) => config,
            Self::Limits(min_size, max_size) => match pool.dynamic_pool_config() {
                // Sizing by load ends, and its sizes with it.
                Some(config) if config.enabled => DynamicPoolConfig {
                    enabled: false,
                    min_size,
                    max_size,
                    ..config
                },
                _ => return set_limits(min_size, max_size).map_err(shared),
            },
        };
        pool.set_dynamic_pool_config(dynamic).map_err(shared)
    }
}

/// The settings in force, with what differs between two configurations; none if nothing does.
fn retimed(
    old: RuntimeSettings,
    new: RuntimeSettings,
    in_force: RuntimeSettings,
) -> Option<RuntimeSettings> {
    let mut settings = in_force;
    macro_rules! take {
        ($($field:ident)*) => {$(
            if old.$field != new.$field {
                settings.$field = new.$field;
            }
        )*};
    }
    take!(
        acquire_timeout connect_timeout idle_timeout max_lifetime keepalive leak_threshold
        max_connecting max_waiters
    );
    (old != new).then_some(settings)
}

/// Whether the pool is to log in otherwise: another password, or under another name.
fn reenters(old: &PostgresConfig, new: &PostgresConfig) -> bool {
    let password = |config: &PostgresConfig| {
        let password = config.password.as_ref();
        password.map(|password| password.expose_secret().to_owned())
    };
    differ(&old.url, &new.url)
        || password(old) != password(new)
        || old.application_name != new.application_name
}

fn differ(one: &SecretString, other: &SecretString) -> bool {
    one.expose_secret() != other.expose_secret()
}

fn fixed(settings: &[(&'static str, bool)]) -> Vec<ReloadReason> {
    let changed = settings.iter().filter(|(_, changes)| *changes);
    changed.map(|(name, _)| ReloadReason::Fixed(name)).collect()
}

fn named(what: &[(&'static str, bool)]) -> Vec<&'static str> {
    let changed = what.iter().filter(|(_, changes)| *changes);
    changed.map(|(name, _)| *name).collect()
}

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> ReloadReason {
    ReloadReason::Refused(shared(error))
}

fn shared(error: impl std::error::Error + Send + Sync + 'static) -> SharedError {
    Arc::new(error)
}

/// What was checked a moment ago can be wrong by now only if its user has changed the pool.
fn told(pool: &str, outcome: Result<(), SharedError>) {
    if let Err(error) = outcome {
        tracing::error!(pool, %error, "a setting could not be put in force");
    }
}

/// The new maximum leaves nothing beside what is lent.
#[derive(Debug, thiserror::Error)]
#[error("max {max} leaves nothing beside the {lent} connections that are lent to sqlx")]
struct NothingLeft {
    max: u32,
    lent: u32,
}
