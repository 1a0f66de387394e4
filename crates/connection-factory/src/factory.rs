//! The factory: each pool made once, on demand, and all ended together.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use parking_lot::Mutex;
use pool_core::{PoolControl, PoolEvent};
use pool_mongo::MongoPool;
use pool_postgres::PostgresPool;
use tokio::sync::{broadcast, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::any_pool::AnyPool;
use crate::budget::{BudgetMetrics, Budgets, Shares as _};
use crate::config::{ConfigError, FactoryConfig};
use crate::drain::FactoryDrainReport;
use crate::events::{FactoryEvent, FactoryEvents, forward};
use crate::managed::Managed;
use crate::metrics::ServiceMetrics;
use crate::{CreateError, CreateErrorKind, Database};

/// Events kept for a subscription that is slower than the pools.
const EVENTS_KEPT: usize = 4_096;

/// The longest that `drain` waits: longer than any process.
const ENDLESS: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Makes the pools of one configuration, each once, and ends them all.
///
/// Cheap to clone: clones are handles to the same factory. Nothing is opened before a pool is
/// asked for. [`drain`](Self::drain) ends the pools in order; when the last handle to the factory
/// and to a pool is dropped instead, that pool closes its connections without anybody waiting.
#[derive(Clone)]
pub struct ConnectionFactory {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) pools: Mutex<Pools>,
    pub(crate) budgets: Arc<Budgets>,
    /// One reload at a time.
    pub(crate) reloading: tokio::sync::Mutex<()>,
    events: broadcast::Sender<FactoryEvent>,
    /// Events that the factory was too slow to pass on to anybody.
    lost: Arc<AtomicU64>,
    /// Attempts to make a pool; `drain` waits for them.
    making: TaskTracker,
    /// The tasks that fan events in; `drain` lets them finish.
    forwarding: TaskTracker,
    /// Cancelled by `drain`: no pool is made any more.
    closed: CancellationToken,
    /// Cancelled when every pool is closed: what has been told is all there is.
    silent: CancellationToken,
}

/// Every pool, the order in which they were made, and what they are made from.
pub(crate) struct Pools {
    pub(crate) config: Arc<FactoryConfig>,
    /// Moves when another configuration comes into force.
    pub(crate) generation: u64,
    pub(crate) mongodb: HashMap<Arc<str>, Slot<MongoPool>>,
    pub(crate) postgres: HashMap<Arc<str>, Slot<PostgresPool>>,
    pub(crate) made: Vec<(Arc<str>, AnyPool)>,
}

/// One (service, database).
pub(crate) enum Slot<P> {
    /// An attempt is under way; its outcome goes to all who wait for it.
    Making(Attempt<P>),
    Ready(P),
}

type Attempt<P> = Shared<BoxFuture<'static, Result<P, CreateError>>>;

impl ConnectionFactory {
    /// Makes pools from `config`. Nothing is opened yet.
    #[must_use]
    pub fn new(config: FactoryConfig) -> Self {
        let budgets = Budgets::new();
        budgets.set(&config.budget_sizes());
        Self {
            inner: Arc::new(Inner {
                pools: Mutex::new(Pools {
                    config: Arc::new(config),
                    generation: 0,
                    mongodb: HashMap::new(),
                    postgres: HashMap::new(),
                    made: Vec::new(),
                }),
                budgets,
                reloading: tokio::sync::Mutex::new(()),
                events: broadcast::Sender::new(EVENTS_KEPT),
                lost: Arc::default(),
                making: TaskTracker::new(),
                forwarding: TaskTracker::new(),
                closed: CancellationToken::new(),
                silent: CancellationToken::new(),
            }),
        }
    }

    /// Reads the configuration from a figment of the caller's own making.
    ///
    /// # Errors
    ///
    /// As [`FactoryConfig::from_figment`].
    pub fn from_figment(figment: &figment::Figment) -> Result<Self, ConfigError> {
        FactoryConfig::from_figment(figment).map(Self::new)
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> Arc<FactoryConfig> {
        Arc::clone(&self.inner.pools.lock().config)
    }

    /// The PostgreSQL pool of `service`: made and warmed up by the first who asks, shared by all.
    ///
    /// Everybody who asks while it is being made gets the outcome of that one attempt. A failure
    /// is not kept: who asks after it begins a new attempt. A pool that its user has closed is
    /// made anew.
    ///
    /// # Errors
    ///
    /// No such configuration, settings that the adapter turns down, a server that cannot be
    /// reached or refuses, or a factory that is drained. The text names the service, the database
    /// and the source of the settings; the reason is in `source`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the pool goes on being made, for whoever asks next.
    ///
    /// # Panics
    ///
    /// When called outside a tokio runtime and the pool has to be made.
    pub async fn postgres(&self, service: &str) -> Result<PostgresPool, CreateError> {
        self.get(service).await
    }

    /// The MongoDB pool of `service`: made and warmed up by the first who asks, shared by all.
    ///
    /// # Errors
    ///
    /// As [`postgres`](Self::postgres).
    ///
    /// # Cancel safety
    ///
    /// As [`postgres`](Self::postgres).
    ///
    /// # Panics
    ///
    /// As [`postgres`](Self::postgres).
    pub async fn mongodb(&self, service: &str) -> Result<MongoPool, CreateError> {
        self.get(service).await
    }

    /// Follows what happens to all pools, those included that are made later.
    #[must_use]
    pub fn subscribe(&self) -> FactoryEvents {
        FactoryEvents::new(self.inner.events.subscribe(), Arc::clone(&self.inner.lost))
    }

    /// The numbers of every pool that exists, in the order in which they were made.
    #[must_use]
    pub fn pool_metrics(&self) -> Vec<ServiceMetrics> {
        let made = self.inner.pools.lock().made.clone();
        made.into_iter()
            .map(|(service, pool)| ServiceMetrics {
                service,
                database: pool.database(),
                metrics: pool.pool_metrics(),
            })
            .collect()
    }

    /// How each budget is divided at this moment.
    #[must_use]
    pub fn budgets(&self) -> Vec<BudgetMetrics> {
        self.inner.budgets.metrics()
    }

    /// Every pool that exists, in the order in which they were made, for consoles and dashboards.
    #[must_use]
    pub fn pools(&self) -> Vec<Arc<dyn PoolControl>> {
        let made = self.inner.pools.lock().made.clone();
        made.into_iter()
            .map(|(_, pool)| pool.into_control())
            .collect()
    }

    /// Whether [`drain`](Self::drain) was called.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.inner.closed.is_cancelled()
    }

    /// Ends all pools, the last made first, and makes none any more.
    ///
    /// Attempts under way are given up. Pools are closed one after the other, each with what is
    /// left of the time; should one of them need more than nine tenths of it, the others are
    /// closed together in the last tenth. Can be called again, for instance with more time.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the factory stays drained. Pools whose turn had not come stay open until it
    /// is called again or their last handle is dropped.
    pub async fn drain(&self, deadline: Duration) -> FactoryDrainReport {
        let began = Instant::now();
        // A moment too far away to be told is one that never comes.
        let deadline = deadline.min(ENDLESS);
        let end = began + deadline;
        let in_turn = began + deadline.mul_f64(0.9);
        self.inner.closed.cancel();
        self.inner.making.close();
        let _given_up = tokio::time::timeout_at(in_turn, self.inner.making.wait()).await;

        let (mut made, unfinished) = {
            let pools = self.inner.pools.lock();
            (pools.made.clone(), pools.unfinished())
        };
        let mut drained = Vec::with_capacity(made.len());
        while let Some((service, pool)) = made.pop() {
            if Instant::now() >= in_turn && !made.is_empty() {
                made.push((service, pool));
                break;
            }
            // The last one need not leave time to others.
            let until = if made.is_empty() { end } else { in_turn };
            let left = until.saturating_duration_since(Instant::now());
            drained.push(pool.drain(service, left).await);
        }
        let left = end.saturating_duration_since(Instant::now());
        let rest = made
            .into_iter()
            .rev()
            .map(|(service, pool)| async move { pool.drain(service, left).await });
        drained.extend(futures_util::future::join_all(rest).await);

        self.inner.silent.cancel();
        self.inner.forwarding.close();
        let _told = tokio::time::timeout_at(end, self.inner.forwarding.wait()).await;
        FactoryDrainReport {
            clean: unfinished.is_empty() && drained.iter().all(|pool| pool.clean),
            pools: drained,
            unfinished,
            elapsed: began.elapsed(),
        }
    }

    async fn get<P: Managed>(&self, service: &str) -> Result<P, CreateError> {
        let service = crate::config::service_name(service);
        let attempt = {
            let mut pools = self.inner.pools.lock();
            if self.is_drained() {
                return Err(closed::<P>(&service));
            }
            match P::slots(&mut pools).get(&*service) {
                Some(Slot::Making(attempt)) => attempt.clone(),
                Some(Slot::Ready(pool)) if !pool.is_closed() => return Ok(pool.clone()),
                _ => self.inner.begin::<P>(&mut pools, &service)?,
            }
        };
        attempt.await
    }
}

impl Inner {
    /// Begins an attempt to make a pool, in a task that does not belong to the caller.
    fn begin<P: Managed>(
        self: &Arc<Self>,
        pools: &mut Pools,
        service: &str,
    ) -> Result<Attempt<P>, CreateError> {
        if P::settings(&pools.config, service).is_none() {
            return Err(unknown::<P>(service));
        }
        let service: Arc<str> = service.into();
        let (sender, outcome) = oneshot::channel();
        let task = {
            let (inner, service) = (Arc::clone(self), Arc::clone(&service));
            async move {
                let made = inner.make_current::<P>(&service).await;
                // Nobody waits any more when all callers were cancelled.
                drop(sender.send(made));
            }
        };
        self.making.spawn(task);
        let attempt = {
            let service = Arc::clone(&service);
            let outcome =
                async move { outcome.await.unwrap_or_else(|_| Err(closed::<P>(&service))) };
            outcome.boxed().shared()
        };
        P::slots(pools).insert(service, Slot::Making(attempt.clone()));
        Ok(attempt)
    }

    /// Makes a pool from the configuration in force at the end, and publishes the outcome.
    async fn make_current<P: Managed>(&self, service: &Arc<str>) -> Result<P, CreateError> {
        loop {
            let (generation, settings) = {
                let pools = self.pools.lock();
                let settings = P::settings(&pools.config, service).cloned();
                (pools.generation, settings)
            };
            let made = match settings {
                Some(settings) => self.make::<P>(service, settings).await,
                None => Err(unknown::<P>(service)),
            };
            match self.settle(service, generation, made) {
                Ok(made) => return made,
                // Another configuration has come into force meanwhile.
                Err(outdated) => {
                    if let Ok(pool) = outdated {
                        pool.close(Duration::from_secs(1)).await;
                    }
                }
            }
        }
    }

    async fn make<P: Managed>(
        &self,
        service: &Arc<str>,
        settings: P::Settings,
    ) -> Result<P, CreateError> {
        let origin = P::origin(&settings).to_owned();
        let failed = |(kind, source)| {
            CreateError::new(service, P::DATABASE, kind, origin.clone(), Some(source))
        };
        let making = async {
            let budget = P::budget(&settings).map(str::to_owned);
            let pool = P::build(settings, service).await.map_err(failed)?;
            self.follow(service, &pool);
            if let Some(budget) = budget {
                let any = pool.clone().into_any();
                self.budgets
                    .join(&budget, any.label(service), Arc::new(any));
            }
            tokio::select! {
                biased;
                () = self.closed.cancelled() => {
                    pool.close(Duration::from_secs(1)).await;
                    return Err(closed::<P>(service));
                }
                warm = pool.warm_up() => if let Err(failure) = warm {
                    // Nothing of it has been lent.
                    pool.close(Duration::from_secs(1)).await;
                    return Err(failed(failure));
                },
            }
            Ok(pool)
        };
        match AssertUnwindSafe(making).catch_unwind().await {
            Ok(made) => made,
            Err(_panic) => Err(CreateError::new(
                service,
                P::DATABASE,
                CreateErrorKind::Panicked,
                origin.clone(),
                None,
            )),
        }
    }

    /// Publishes the outcome before anybody is told of it; gives it back if it is not that of the
    /// configuration in force.
    fn settle<P: Managed>(
        &self,
        service: &Arc<str>,
        generation: u64,
        made: Result<P, CreateError>,
    ) -> Result<Result<P, CreateError>, Result<P, CreateError>> {
        let mut pools = self.pools.lock();
        if generation != pools.generation && !self.closed.is_cancelled() {
            return Err(made);
        }
        match &made {
            Ok(pool) => {
                // A pool of the same name that its user had closed gives its place.
                pools.made.retain(|(name, made)| {
                    let same = name == service && made.database() == P::DATABASE;
                    !(same && made.is_closed())
                });
                pools
                    .made
                    .push((Arc::clone(service), pool.clone().into_any()));
                P::slots(&mut pools).insert(Arc::clone(service), Slot::Ready(pool.clone()));
            }
            Err(_) => {
                P::slots(&mut pools).remove(service);
            }
        }
        Ok(made)
    }

    /// Fans the pool's events in. The pool told of its making before anybody could listen.
    fn follow<P: Managed>(&self, service: &Arc<str>, pool: &P) {
        let events = pool.subscribe();
        drop(self.events.send(FactoryEvent {
            service: Arc::clone(service),
            database: P::DATABASE,
            event: PoolEvent::PoolCreated,
        }));
        self.forwarding.spawn(forward(
            Arc::clone(service),
            P::DATABASE,
            events,
            self.events.clone(),
            Arc::clone(&self.lost),
            self.silent.clone(),
        ));
    }
}

impl Pools {
    /// Takes a pool out, that it may be closed.
    pub(crate) fn forget(&mut self, service: &str, database: Database) {
        self.made
            .retain(|(name, pool)| **name != *service || pool.database() != database);
        match database {
            Database::Mongodb => drop(self.mongodb.remove(service)),
            Database::Postgresql => drop(self.postgres.remove(service)),
        }
    }

    fn unfinished(&self) -> Vec<(Arc<str>, Database)> {
        fn of<P: Managed>(
            slots: &HashMap<Arc<str>, Slot<P>>,
        ) -> impl Iterator<Item = (Arc<str>, Database)> + '_ {
            slots
                .iter()
                .filter(|(_, slot)| matches!(slot, Slot::Making(_)))
                .map(|(service, _)| (Arc::clone(service), P::DATABASE))
        }
        of(&self.postgres).chain(of(&self.mongodb)).collect()
    }
}

fn unknown<P: Managed>(service: &str) -> CreateError {
    CreateError::new(service, P::DATABASE, CreateErrorKind::Unknown, "", None)
}

fn closed<P: Managed>(service: &str) -> CreateError {
    CreateError::new(service, P::DATABASE, CreateErrorKind::Closed, "", None)
}

impl std::fmt::Debug for ConnectionFactory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pools = self.inner.pools.lock();
        let made: Vec<_> = pools
            .made
            .iter()
            .map(|(service, pool)| format!("{service}/{}", pool.database()))
            .collect();
        f.debug_struct("ConnectionFactory")
            .field("pools", &made)
            .field("making", &self.inner.making.len())
            .field("drained", &self.is_drained())
            .finish_non_exhaustive()
    }
}
