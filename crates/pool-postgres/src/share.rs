//! A part of the pool's connections as a pool of sqlx's own.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pool_core::sizing::{InvalidDynamicPoolConfig, SizingMode};
use pool_core::{DynamicPoolConfig, DynamicSizing as _, InvalidLimits, Limits, PoolEvent};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

use crate::PostgresPool;
use crate::error::{ConnectStep, PostgresConnectError};
use crate::manager::failure;
use crate::pool::Inner;

/// How often the surplus is counted while it is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

const ROOM: &str = "at least one connection is never shared";

/// What the limits of a pool are divided into: what the engine may open, and what is lent to
/// pools of sqlx.
#[derive(Debug)]
pub(crate) struct Budget {
    divided: Mutex<Divided>,
}

#[derive(Clone, Copy, Debug)]
struct Divided {
    /// As the service set them.
    limits: Limits,
    dynamic: Option<DynamicPoolConfig>,
    /// Its sizes have not become the limits yet.
    sizes_due: bool,
    /// How much of the maximum belongs to pools of sqlx.
    shared: u32,
}

impl Budget {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self {
            divided: Mutex::new(Divided {
                limits,
                dynamic: None,
                sizes_due: false,
                shared: 0,
            }),
        }
    }
}

impl Divided {
    /// The sizes of dynamic sizing become the limits, once, as soon as they are more than advice.
    fn adopt_sizes(&mut self, mode: SizingMode) {
        let Some(config) = self.dynamic else { return };
        if mode != SizingMode::Advise && std::mem::take(&mut self.sizes_due) {
            self.limits = Limits::new(config.min_size, config.max_size)
                .expect("a validated configuration has valid sizes");
        }
    }
}

impl Inner {
    pub(crate) fn limits(&self) -> Limits {
        self.budget.divided.lock().limits
    }

    pub(crate) fn dynamic(&self) -> Option<DynamicPoolConfig> {
        self.budget.divided.lock().dynamic
    }

    pub(crate) fn set_limits(&self, min: u32, max: u32) -> Result<(), InvalidLimits> {
        let limits = Limits::new(min, max)?;
        let mut divided = self.budget.divided.lock();
        self.limit(limits, divided.shared)?;
        divided.limits = limits;
        Ok(())
    }

    pub(crate) fn set_dynamic(
        &self,
        config: DynamicPoolConfig,
    ) -> Result<(), InvalidDynamicPoolConfig> {
        config.validate()?;
        let mut divided = self.budget.divided.lock();
        self.size(config, divided.shared)?;
        divided.dynamic = Some(config);
        divided.sizes_due = true;
        divided.adopt_sizes(self.engine.sizing_mode());
        Ok(())
    }

    pub(crate) fn set_sizing_mode(&self, mode: SizingMode) {
        let mut divided = self.budget.divided.lock();
        self.engine.set_sizing_mode(mode);
        divided.adopt_sizes(mode);
        // The engine may have been told of sizes again when a part was lent.
        self.keep_to_limits(&divided);
    }

    /// Lends a part of the maximum, unless nothing would be left.
    fn lend(self: &Arc<Self>, connections: u32) -> Result<Lent, SqlxPoolError> {
        let mut divided = self.budget.divided.lock();
        let max = divided.limits.max();
        let shared = divided.shared.saturating_add(connections);
        if connections == 0 || shared >= max {
            return Err(SqlxPoolError::Budget {
                wanted: connections,
                shared: divided.shared,
                max,
            });
        }
        divided.shared = shared;
        self.divide(*divided);
        Ok(Lent {
            from: Arc::downgrade(self),
            connections,
        })
    }

    fn take_back(&self, connections: u32) {
        let mut divided = self.budget.divided.lock();
        divided.shared -= connections;
        self.divide(*divided);
    }

    /// Puts the engine's part in force.
    fn divide(&self, divided: Divided) {
        if let Some(config) = divided.dynamic {
            // Limits set after it may have left its own maximum behind.
            let shared = divided.shared.min(config.max_size - 1);
            self.size(config, shared).expect(ROOM);
        }
        self.keep_to_limits(&divided);
    }

    fn keep_to_limits(&self, divided: &Divided) {
        // An advising configuration that has come into force since may have left them behind.
        let shared = divided.shared.min(divided.limits.max() - 1);
        self.limit(divided.limits, shared).expect(ROOM);
    }

    fn limit(&self, limits: Limits, shared: u32) -> Result<(), InvalidLimits> {
        let own = limits.max().saturating_sub(shared);
        self.engine.set_limits(limits.min().min(own), own)
    }

    fn size(&self, config: DynamicPoolConfig, shared: u32) -> Result<(), InvalidDynamicPoolConfig> {
        let own = config.max_size.saturating_sub(shared);
        self.engine.set_dynamic_pool_config(DynamicPoolConfig {
            min_size: config.min_size.min(own),
            max_size: own,
            ..config
        })
    }
}

/// A part of a maximum. Its drop gives it back.
#[derive(Debug)]
struct Lent {
    from: Weak<Inner>,
    connections: u32,
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(from) = self.from.upgrade() {
            from.take_back(self.connections);
        }
    }
}

/// Why there is no pool of sqlx.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqlxPoolError {
    /// The maximum has no room for it beside at least one connection of the pool's own.
    #[error(
        "{wanted} of at most {max} connections cannot be lent to sqlx, to which {shared} are lent: \
         want at least 1, and 1 left"
    )]
    Budget {
        /// How many were asked for.
        wanted: u32,
        /// How many are lent already.
        shared: u32,
        /// The maximum in force.
        max: u32,
    },
    /// This pool's callers kept more than it has left for longer than its `acquire_timeout`.
    #[error(
        "{surplus} of this pool's connections are still in use, or being closed, after {waited:?}: \
         they are what was to be lent to sqlx"
    )]
    TimedOut {
        /// How many it has beyond what would be left to it.
        surplus: u32,
        /// For how long they were waited for.
        waited: Duration,
    },
    /// The credential provider failed.
    #[error(transparent)]
    Credentials(#[from] PostgresConnectError),
}

/// A [`PgPool`] within the budget of a [`PostgresPool`], from [`PostgresPool::sqlx_pool`].
///
/// It derefs to [`PgPool`]. Its connections are sqlx's: not in the metrics, and not resized.
/// [`close`](Self::close) gives its part of the maximum back; so does dropping this handle, which
/// closes the pool in the background, clones included.
#[must_use = "dropped, the pool is closed"]
pub struct SqlxPool {
    pool: PgPool,
    /// `None` once it is being closed.
    lent: Option<Lent>,
    runtime: tokio::runtime::Handle,
}

impl SqlxPool {
    /// Closes the pool, waits until its connections are closed, and gives its part back.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the pool stays closed, and its part is given back at the end all the same.
    pub async fn close(mut self) {
        self.pool.close().await;
        drop(self.lent.take());
    }

    /// How many connections it may open.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.pool.options().get_max_connections()
    }
}

impl Drop for SqlxPool {
    fn drop(&mut self) {
        let Some(lent) = self.lent.take() else {
            return;
        };
        let pool = self.pool.clone();
        self.runtime.spawn(async move {
            pool.close().await;
            drop(lent);
        });
    }
}

impl Deref for SqlxPool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.pool
    }
}

impl fmt::Debug for SqlxPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlxPool")
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

impl PostgresPool {
    /// Gives a real [`PgPool`] of `connections` for crates that demand one, within this pool's
    /// maximum: this pool's own part becomes smaller by as much until that one is closed.
    ///
    /// Waits until surplus connections of this pool have come back and are closed, so that both
    /// together never exceed the maximum. [`set_limits`](Self::set_limits),
    /// [`limits`](Self::limits) and [`set_dynamic_pool_config`](Self::set_dynamic_pool_config)
    /// go on to speak of both together; [`counts`](Self::counts) and the metrics of this pool's
    /// own part.
    ///
    /// Its connections have this pool's options of this moment, `init_sql` and `after_connect`.
    /// A credential provider is asked once, now.
    ///
    /// # Errors
    ///
    /// `connections` is zero or would leave nothing to this pool; surplus connections did not come
    /// back within the pool's `acquire_timeout`; or the credential provider failed.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the part that was set aside is given back.
    ///
    /// # Example
    ///
    /// ```no_run
    /// use sqlx::postgres::PgListener;
    ///
    /// # async fn example(pool: pool_postgres::PostgresPool) -> Result<(), Box<dyn std::error::Error>> {
    /// let share = pool.sqlx_pool(2).await?;
    /// let mut listener = PgListener::connect_with(&share).await?; // demands a `PgPool`
    /// listener.listen("prices").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn sqlx_pool(&self, connections: u32) -> Result<SqlxPool, SqlxPoolError> {
        let runtime = tokio::runtime::Handle::current();
        let mut events = self.subscribe();
        let lent = self.inner().lend(connections)?;
        let engine = self.engine();
        let (began, patience) = (Instant::now(), engine.runtime_settings().acquire_timeout);
        loop {
            let total = engine.counts().total;
            let surplus = total.saturating_sub(engine.limits().max());
            if surplus == 0 {
                break;
            }
            let waited = began.elapsed();
            if waited >= patience {
                return Err(SqlxPoolError::TimedOut { surplus, waited });
            }
            // A connection that is kept for good goes without an event, hence the time.
            let within = LOOK_AGAIN.min(patience - waited);
            let event = tokio::time::timeout(within, events.next()).await;
            if matches!(event, Ok(Some(PoolEvent::Closed) | None)) {
                break;
            }
        }
        let manager = engine.manager();
        let options = manager.options();
        let with = manager
            .with_credentials(&options)
            .await
            .map_err(|cause| failure(&options, ConnectStep::Credentials, cause))?;
        let settings = manager.settings().clone();
        let place = options;
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .after_connect(move |connection, _| {
                let (settings, options) = (settings.clone(), Arc::clone(&place));
                Box::pin(async move {
                    let mut step = ConnectStep::Open;
                    let prepared = settings.prepare(connection, &mut step).await;
                    prepared.map_err(|cause| {
                        sqlx::Error::Configuration(Box::new(failure(&options, step, cause)))
                    })
                })
            })
            .connect_lazy_with(with);
        Ok(SqlxPool {
            pool,
            lent: Some(lent),
            runtime,
        })
    }
}

#[cfg(test)]
mod tests {
    use pool_core::sizing::SizingMode;
    use pool_core::{DynamicPoolConfig, DynamicSizing as _};

    use crate::PostgresPool;

    /// More is lent than a configuration allows that only advised when it was lent.
    #[tokio::test]
    async fn a_part_comes_back_to_a_pool_that_has_become_smaller_than_what_it_lent() {
        // Nobody listens: nothing here asks the server.
        let pool = PostgresPool::builder("postgres://u@127.0.0.1:1/d")
            .unwrap()
            .limits(0, 20)
            .build()
            .unwrap();
        pool.set_sizing_mode(SizingMode::Advise);
        pool.set_dynamic_pool_config(DynamicPoolConfig {
            enabled: true,
            min_size: 1,
            max_size: 4,
            ..DynamicPoolConfig::default()
        })
        .unwrap();
        let first = pool.sqlx_pool(5).await.unwrap();
        let second = pool.sqlx_pool(5).await.unwrap();
        pool.set_sizing_mode(SizingMode::Apply);
        first.close().await;
        assert_eq!(pool.limits().max(), 4);
        second.close().await;
        assert_eq!(pool.limits().max(), 4);
    }

    /// What is said of the limits is what the engine keeps to.
    #[tokio::test]
    async fn limits_set_by_hand_outlast_the_mode_and_what_is_lent() {
        let pool = PostgresPool::builder("postgres://u@127.0.0.1:1/d")
            .unwrap()
            .build()
            .unwrap();
        pool.set_dynamic_pool_config(DynamicPoolConfig {
            enabled: true,
            min_size: 1,
            max_size: 20,
            ..DynamicPoolConfig::default()
        })
        .unwrap();
        pool.set_limits(0, 8).unwrap();
        let max = |pool: &PostgresPool| (pool.limits().max(), pool.counts().max);
        for mode in [SizingMode::Freeze, SizingMode::Advise, SizingMode::Apply] {
            pool.set_sizing_mode(mode);
            assert_eq!(max(&pool), (8, 8), "{mode:?}");
            let lent = pool.sqlx_pool(3).await.unwrap();
            assert_eq!(max(&pool), (8, 5), "{mode:?}");
            lent.close().await;
        }
        assert_eq!(max(&pool), (8, 8));
    }
}
