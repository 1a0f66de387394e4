//! A container with the factory and the pools of one service.

use std::sync::Arc;
use std::time::Duration;

use connection_factory::pool_mongo::MongoPool;
use connection_factory::pool_postgres::PostgresPool;
use connection_factory::{ConfigError, ConnectionFactory, FactoryConfig};
use service_container::{
    BuildError, Container, ContainerBuilder, DisposeOptions, LeakPolicy, ResolveError,
};

/// What a pool may need beyond its own deadline to say that it missed it.
const MARGIN: Duration = Duration::from_secs(1);

/// A pool ends its creation by itself, and then says why: a moment after its `acquire_timeout`, which
/// its URL may set as well, and which looking up the hosts of a `mongodb+srv` URI may take beforehand.
/// The container, which could say only that it took too long, does not come first.
const CREATION: Duration = Duration::MAX;

/// How long a server has to answer a health check, whoever asks for longer.
const PING: Duration = Duration::from_secs(5);

/// Registers the factory and the pools of the configuration's own service in a new container, and
/// makes the pools: when this returns, their servers have let them in.
///
/// Disposing of the container closes the pools, the last made first, each within
/// `drain_timeout_ms`. Its [`health`](service_container::Scope::health) asks their servers.
///
/// # Errors
///
/// The configuration does not say which service this is, or a pool cannot be made. What was made
/// before is closed.
///
/// # Cancel safety
///
/// A dropped future leaves nothing behind: pools that exist are closed in the background.
pub async fn setup_service_container(config: FactoryConfig) -> Result<Container, SetupError> {
    let mut builder = Container::builder();
    builder.on_leak(LeakPolicy::SpawnDispose);
    let own = register(&mut builder, config)?;
    builder.name(own.service);
    let container = builder.build()?;
    let made = async {
        if own.postgres {
            container.get::<PostgresPool>().await?;
        }
        if own.mongodb {
            container.get::<MongoPool>().await?;
        }
        Ok(())
    };
    match made.await {
        Ok(()) => Ok(container),
        Err(error) => {
            if let Err(unclean) = container.dispose().await {
                tracing::warn!(%unclean, "not everything could be closed after a failed setup");
            }
            Err(SetupError::Pool(error))
        }
    }
}

/// Adds the factory and the pools of the configuration's own service to a container that holds
/// other services as well. Nothing is opened; each pool is made when it is first asked for.
///
/// The container's [`create_timeout`](ContainerBuilder::create_timeout) does not limit them: they have
/// their own `acquire_timeout`, and then say why. Each pool has `drain_timeout_ms` to close, and the
/// container as a whole has time for all of that unless
/// [`dispose_options`](ContainerBuilder::dispose_options) are set, before or after this.
///
/// # Errors
///
/// The configuration does not say which service this is.
pub fn register_pools(
    builder: &mut ContainerBuilder,
    config: FactoryConfig,
) -> Result<(), SetupError> {
    register(builder, config).map(drop)
}

/// What was registered.
#[derive(Debug)]
pub(crate) struct Registered {
    pub(crate) service: String,
    postgres: bool,
    mongodb: bool,
}

pub(crate) fn register(
    builder: &mut ContainerBuilder,
    config: FactoryConfig,
) -> Result<Registered, SetupError> {
    let service = config.own_service()?.to_owned();
    let databases = config.services.get(&service);
    let postgres = databases.is_some_and(|service| service.postgres.is_some());
    let mongodb = databases.is_some_and(|service| service.mongodb.is_some());
    let drain = config.drain_timeout;

    builder
        .value(ConnectionFactory::new(config))
        .on_dispose(move |factory: Arc<ConnectionFactory>| async move {
            let report = factory.drain(drain).await;
            closed(report.clean, &report)
        })
        .dispose_timeout(drain + MARGIN);
    let name: Arc<str> = service.as_str().into();
    if postgres {
        let name = Arc::clone(&name);
        builder
            .singleton(move |factory: Arc<ConnectionFactory>| {
                let name = Arc::clone(&name);
                async move { factory.postgres(&name).await }
            })
            .on_dispose(move |pool: Arc<PostgresPool>| async move {
                let report = pool.close(drain).await;
                closed(report.clean, &report)
            })
            .health(|pool: Arc<PostgresPool>| async move { pool.ping(PING).await })
            .create_timeout(CREATION)
            .dispose_timeout(drain + MARGIN);
    }
    if mongodb {
        builder
            .singleton(move |factory: Arc<ConnectionFactory>| {
                let name = Arc::clone(&name);
                async move { factory.mongodb(&name).await }
            })
            .on_dispose(move |pool: Arc<MongoPool>| async move {
                let report = pool.close(drain).await;
                closed(report.clean, &report)
            })
            .health(|pool: Arc<MongoPool>| async move { pool.ping(PING).await })
            .create_timeout(CREATION)
            .dispose_timeout(drain + MARGIN);
    }
    // The disposal as a whole leaves each pool its own time, and tasks theirs before.
    let closing = (drain + MARGIN).saturating_mul(1 + u32::from(postgres) + u32::from(mongodb));
    builder.dispose_takes(DisposeOptions::default().task_timeout + closing);
    Ok(Registered {
        service,
        postgres,
        mongodb,
    })
}

fn closed(clean: bool, report: &impl std::fmt::Display) -> Result<(), NotClean> {
    if clean {
        Ok(())
    } else {
        Err(NotClean(report.to_string()))
    }
}

/// A pool missed its deadline; the text is its report.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct NotClean(String);

/// The pools of a service could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The container does not accept the registrations.
    #[error(transparent)]
    Container(#[from] BuildError),
    /// A pool could not be made.
    #[error("the pools of the service could not be set up")]
    Pool(#[source] ResolveError),
}
