//! Another configuration while the pools run.
//!
//! First everything that can go wrong: each pool's new settings are compared with those in force,
//! new credentials and servers are tried, new clients are warmed up. Only when that has worked for
//! every pool, everything changes, under one lock. Connections stay unless they lead elsewhere.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use pool_core::SharedError;
use tokio::time::Instant;

use crate::any_pool::AnyPool;
use crate::budget::Shares as _;
use crate::change::Change;
use crate::config::FactoryConfig;
use crate::drain::DrainedPool;
use crate::factory::Pools;
use crate::{ConnectionFactory, Database};

/// What a reload changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReloadReport {
    /// The pools that exist and whose settings have changed.
    pub changed: Vec<ChangedPool>,
    /// The pools that the new configuration does not have; they are closed.
    pub removed: Vec<DrainedPool>,
    /// How long it took.
    pub elapsed: Duration,
}

/// What a reload changed about one pool.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChangedPool {
    /// The service that it belongs to.
    pub service: Arc<str>,
    /// The kind of database that it leads to.
    pub database: Database,
    /// What was changed: `sizes`, `times`, `url`, `credentials`, `client`, `budget`.
    pub what: Vec<&'static str>,
    /// Whether its connections are replaced, as they come back, because they lead elsewhere.
    pub replaces_connections: bool,
}

/// The new configuration is not in force, and nothing has changed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReloadError {
    /// The factory is drained.
    Closed,
    /// It cannot be put in force for these pools.
    Pools(Vec<ReloadProblem>),
}

/// Why a pool cannot have its new settings.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReloadProblem {
    /// The service that it belongs to.
    pub service: Arc<str>,
    /// The kind of database that it leads to.
    pub database: Database,
    /// Why.
    pub reason: ReloadReason,
}

/// The reason for a [`ReloadProblem`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ReloadReason {
    /// This setting cannot change while the pool runs.
    Fixed(&'static str),
    /// The new server or credentials, or the new settings, cannot be used.
    Refused(SharedError),
}

impl ConnectionFactory {
    /// Puts another configuration in force while the pools run.
    ///
    /// | changes | what happens |
    /// |---|---|
    /// | limits, `dynamic` | as [`set_limits`](pool_postgres::PostgresPool::set_limits) and [`set_dynamic_pool_config`](pool_postgres::PostgresPool::set_dynamic_pool_config) |
    /// | timeouts, ages, `max_connecting`, `max_waiters` | hold from now on |
    /// | a password | new connections use it; open ones stay, as the server lets them |
    /// | a server, a database, a user, parameters of a URL | the pool's connections are replaced as they come back |
    /// | what a MongoDB client is made from | a new client takes over; leases of the old one go on |
    /// | budgets | are divided anew |
    /// | a database or a service that is new | its pool is made when it is asked for |
    /// | one that is gone | its pool is closed within `drain_timeout_ms`, after everything else |
    ///
    /// Only what differs between the two configurations is changed: limits that an operator has
    /// set meanwhile stay, if the configuration says the same about limits as before.
    ///
    /// New servers and credentials are tried first. A configuration that cannot be put in force
    /// for every pool is put in force for none.
    ///
    /// # Errors
    ///
    /// Settings that cannot change while a pool runs, servers that cannot be reached, credentials
    /// that are turned down, each with its pool. What was in force stays.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: either the new configuration is in force for all pools or the old one is.
    pub async fn reload(&self, config: FactoryConfig) -> Result<ReloadReport, ReloadError> {
        let began = Instant::now();
        let _turn = self.inner.reloading.lock().await;
        let mut changes: Vec<(Arc<str>, AnyPool, Change)> = Vec::new();
        let (changed, gone) = loop {
            let (before, new) = {
                let pools = self.inner.pools.lock();
                let is_new = |pool: &&(Arc<str>, AnyPool)| {
                    let known = |(service, known, _): &(Arc<str>, AnyPool, Change)| {
                        *service == pool.0 && known.database() == pool.1.database()
                    };
                    !pool.1.is_closed() && !changes.iter().any(known)
                };
                let new: Vec<_> = pools.made.iter().filter(is_new).cloned().collect();
                (Arc::clone(&pools.config), new)
            };
            let mut problems = Vec::new();
            for (service, pool) in new {
                match Change::prepare(&pool, &service, &before, &config).await {
                    Ok(change) => changes.push((service, pool, change)),
                    Err(reasons) => {
                        let database = pool.database();
                        problems.extend(reasons.into_iter().map(|reason| ReloadProblem {
                            service: Arc::clone(&service),
                            database,
                            reason,
                        }));
                    }
                }
            }
            if !problems.is_empty() {
                return Err(ReloadError::Pools(problems));
            }
            let mut pools = self.inner.pools.lock();
            if self.is_drained() {
                return Err(ReloadError::Closed);
            }
            let open = |(_, pool): &&(Arc<str>, AnyPool)| !pool.is_closed();
            if pools.made.iter().filter(open).count() > changes.len() {
                // A pool was made meanwhile; it is looked at as well.
                continue;
            }
            break self.put_in_force(&mut pools, config.clone(), changes);
        };
        let removed = gone.into_iter().map(|(service, pool)| {
            let deadline = config.drain_timeout;
            async move { pool.drain(service, deadline).await }
        });
        Ok(ReloadReport {
            changed,
            removed: join_all(removed).await,
            elapsed: began.elapsed(),
        })
    }

    /// Nothing here can fail, or wait. Says what has changed, and which pools are to be closed.
    fn put_in_force(
        &self,
        pools: &mut Pools,
        config: FactoryConfig,
        changes: Vec<(Arc<str>, AnyPool, Change)>,
    ) -> (Vec<ChangedPool>, Vec<(Arc<str>, AnyPool)>) {
        self.inner.budgets.set(&config.budget_sizes());
        pools.config = Arc::new(config);
        pools.generation += 1;
        let mut changed = Vec::new();
        let mut gone = Vec::new();
        for (service, pool, change) in changes {
            let database = pool.database();
            let label = pool.label(&service);
            let change = match change {
                Change::Gone => {
                    pools.forget(&service, database);
                    gone.push((service, pool));
                    continue;
                }
                Change::Settings(change) => change,
            };
            (change.commit)();
            if let Some(budget) = change.budget {
                self.inner.budgets.leave(&label);
                if let Some(budget) = budget {
                    self.inner.budgets.join(&budget, label, Arc::new(pool));
                }
            }
            if !change.what.is_empty() {
                changed.push(ChangedPool {
                    service,
                    database,
                    what: change.what,
                    replaces_connections: change.replaces_connections,
                });
            }
        }
        (changed, gone)
    }
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "in force after {:.1?}", self.elapsed)?;
        for pool in &self.changed {
            let ChangedPool {
                service,
                database,
                what,
                replaces_connections,
            } = pool;
            write!(
                f,
                "; {database} of service `{service}`: {}",
                what.join(", ")
            )?;
            if *replaces_connections {
                write!(f, ", connections are replaced")?;
            }
        }
        for pool in &self.removed {
            write!(f, "; {}", pool.summary)?;
        }
        Ok(())
    }
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the new configuration is not in force: ")?;
        match self {
            Self::Closed => write!(f, "the factory is drained"),
            Self::Pools(problems) => {
                for (at, problem) in problems.iter().enumerate() {
                    if at > 0 {
                        write!(f, "; ")?;
                    }
                    write!(f, "{problem}")?;
                }
                Ok(())
            }
        }
    }
}

impl fmt::Display for ReloadProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            service,
            database,
            reason,
        } = self;
        write!(f, "{database} of service `{service}`: ")?;
        match reason {
            ReloadReason::Fixed(setting) => {
                write!(f, "`{setting}` cannot change while the pool runs")
            }
            ReloadReason::Refused(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReloadError {}
