//! The engine's contracts over leases: the suite that every backend runs.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::doc;
use pool_core::{PoolBuilder, SharedError};
use pool_mongo::{ManagedLease, MongoManager};
use pool_testkit::conformance::{Backend, Sight};
use pool_testkit::{Fault, FaultProxy};
use tokio::runtime::Handle;
use tokio::sync::Mutex;

use crate::support::{Site, behind_a_proxy, eventually};

/// The test server behind a proxy that can make it unreachable.
struct Mongo {
    site: Site,
    url: String,
    proxy: FaultProxy,
    /// What the suite's pool runs on.
    manager: Mutex<Option<MongoManager>>,
}

impl Mongo {
    async fn start() -> Option<Self> {
        let site = Site::new("conformance").await?;
        let (url, proxy) = behind_a_proxy(&site.url).await;
        Some(Self {
            site,
            url,
            proxy,
            manager: Mutex::new(None),
        })
    }
}

impl Backend for Mongo {
    type Manager = MongoManager;

    fn builder(&self) -> PoolBuilder<MongoManager> {
        let builder = self
            .site
            .builder_for(&self.url)
            // No more sockets than the suite's largest maximum, and none for long without use.
            .ceiling(10)
            .idle_timeout(Duration::from_secs(2))
            .connect_timeout(Duration::from_secs(2));
        tokio::task::block_in_place(|| {
            let engine = Handle::current().block_on(builder.into_engine());
            let engine = engine.expect("valid settings");
            *self.manager.blocking_lock() = Some(engine.manager().clone());
            engine
        })
    }

    async fn ping(&self, lease: &mut ManagedLease) -> Result<(), SharedError> {
        let answer = lease.run_command(doc! { "ping": 1 }).await;
        answer.map(drop).map_err(|error| Arc::new(error) as _)
    }

    async fn at_server(&self) -> u32 {
        self.site.server_sockets().await
    }

    /// A socket belongs to a lease only while an operation runs.
    fn sight(&self) -> Sight {
        Sight::AtMost
    }

    /// Ends what the lease's next operation would run on, which looks alive until then. Nobody
    /// tells the pool, nor the driver.
    async fn kill(&self, lease: &mut ManagedLease) -> bool {
        // There is none before the first operation, and none for long after the last.
        self.ping(lease).await.expect("what is lent works");
        self.proxy.cut_when_used().await;
        true
    }

    async fn set_reachable(&self, reachable: bool) -> bool {
        if reachable {
            self.proxy.set(Fault::Pass).await;
            return true;
        }
        self.proxy.set(Fault::Refuse).await;
        self.proxy.cut_all().await;
        // Until the driver has noticed, a lease is as good as before.
        let manager = self.manager.lock().await;
        let manager = manager.as_ref().expect("a pool has been built");
        eventually(
            Duration::from_secs(10),
            "the driver distrusts the server",
            || manager.sockets().iter().all(|server| !server.ready),
        )
        .await;
        true
    }
}

pool_testkit::conformance_tests!(match Mongo::start().await {
    Some(backend) => backend,
    None => return,
});
