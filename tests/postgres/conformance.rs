//! The engine's contracts over PostgreSQL connections: the suite that every backend runs.

use std::sync::Arc;

use pool_core::{PoolBuilder, SharedError};
use pool_postgres::{ManagedConnection, PostgresManager, PostgresPool};
use pool_testkit::FaultProxy;
use pool_testkit::conformance::Backend;
use sqlx::Connection as _;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::Mutex;

use crate::server::{self, Server};

/// The test server behind a proxy that can make it unreachable.
struct Postgres {
    options: PgConnectOptions,
    name: String,
    server: Mutex<Server>,
    proxy: FaultProxy,
}

impl Postgres {
    async fn start() -> Option<Self> {
        let (_, server) = server::pool("conformance").await?;
        let (options, proxy) = server::behind_a_proxy().await?;
        Some(Self {
            options,
            name: server.name().to_owned(),
            server: Mutex::new(server),
            proxy,
        })
    }
}

impl Backend for Postgres {
    type Manager = PostgresManager;

    fn builder(&self) -> PoolBuilder<PostgresManager> {
        PostgresPool::from_options(self.options.clone())
            .name(&self.name)
            .into_engine()
    }

    async fn ping(&self, connection: &mut ManagedConnection) -> Result<(), SharedError> {
        connection
            .ping()
            .await
            .map_err(|error| Arc::new(error) as SharedError)
    }

    async fn at_server(&self) -> u32 {
        self.server.lock().await.connections().await
    }

    async fn kill(&self, connection: &mut ManagedConnection) -> bool {
        let kill = format!(
            "select pg_terminate_backend({}, 5000)",
            connection.backend_pid()
        );
        self.server.lock().await.execute(&kill).await;
        true
    }

    async fn set_reachable(&self, reachable: bool) -> bool {
        self.proxy
            .set(if reachable {
                pool_testkit::Fault::Pass
            } else {
                pool_testkit::Fault::Refuse
            })
            .await;
        true
    }
}

pool_testkit::conformance_tests!(match Postgres::start().await {
    Some(backend) => backend,
    None => return,
});
