//! A pool of its own for each test, and the server's own account of its sockets.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::ClientOptions;
use pool_mongo::{MongoPool, MongoPoolBuilder};
use pool_testkit::FaultProxy;

/// Nothing answers on this port of this machine.
pub(crate) const UNREACHABLE: &str =
    "mongodb://app:c4n4ry-p4ssw0rd@127.0.0.1:9/?directConnection=true";

/// The server, and names that no other test uses.
pub(crate) struct Site {
    pub(crate) url: String,
    /// The pool's name, its `appName` and its database.
    pub(crate) name: String,
    observer: Client,
}

impl Site {
    /// `None` when there is no server, after saying so.
    pub(crate) async fn new(test: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let url = integration_tests::mongodb_url()?;
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{test}_{}_{next}", std::process::id());
        let mut options = ClientOptions::parse(&url)
            .await
            .expect("a valid MONGODB_URL");
        options.app_name = Some("observer".to_owned());
        let observer = Client::with_options(options).expect("valid options");
        Some(Self {
            url,
            name,
            observer,
        })
    }

    /// A builder with this test's names.
    pub(crate) fn builder(&self) -> MongoPoolBuilder {
        self.builder_for(&self.url)
    }

    /// The same for another way to the server.
    pub(crate) fn builder_for(&self, url: &str) -> MongoPoolBuilder {
        MongoPool::builder(url)
            .name(&self.name)
            .database(&self.name)
            .acquire_timeout(Duration::from_secs(10))
    }

    pub(crate) async fn pool(
        &self,
        change: impl FnOnce(MongoPoolBuilder) -> MongoPoolBuilder,
    ) -> MongoPool {
        change(self.builder())
            .build()
            .await
            .expect("valid settings")
    }

    /// How many sockets of this test's pool the server has, without the driver's monitors.
    pub(crate) async fn server_sockets(&self) -> u32 {
        let mut wanted = doc! { "appName": &self.name };
        let authenticated = self.url.contains('@');
        if authenticated {
            // Monitors do not authenticate.
            wanted.insert("effectiveUsers.0", doc! { "$exists": true });
        }
        let pipeline = [
            doc! { "$currentOp": { "allUsers": true, "idleConnections": true } },
            doc! { "$match": wanted },
            doc! { "$group": { "_id": "$connectionId" } },
            doc! { "$count": "sockets" },
        ];
        let admin = self.observer.database("admin");
        let found: Vec<Document> = admin
            .aggregate(pipeline)
            .await
            .expect("the observer may see all operations")
            .try_collect()
            .await
            .expect("the server answers");
        let sockets = found
            .first()
            .map_or(0, |counted| counted.get_i32("sockets").unwrap_or(0));
        let monitors = if authenticated { 0 } else { 2 };
        u32::try_from(sockets).unwrap_or(0).saturating_sub(monitors)
    }

    /// Waits until the server's count satisfies `wanted`.
    #[track_caller]
    pub(crate) fn server_sockets_become(
        &self,
        wanted: impl Fn(u32) -> bool,
        within: Duration,
    ) -> impl Future<Output = u32> {
        let caller = std::panic::Location::caller();
        async move {
            let end = Instant::now() + within;
            loop {
                let sockets = self.server_sockets().await;
                if wanted(sockets) {
                    return sockets;
                }
                assert!(
                    Instant::now() < end,
                    "{caller}: the server still has {sockets} sockets after {within:?}"
                );
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Waits until the pool's account of its sockets and the server's are the same: the server
    /// sees a socket's end, and the driver its beginning, a moment later than the other.
    #[track_caller]
    pub(crate) fn agrees_with(&self, pool: &MongoPool) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let end = Instant::now() + Duration::from_secs(10);
            loop {
                let before = open(pool);
                let sockets = self.server_sockets().await;
                if before == sockets && open(pool) == sockets {
                    return;
                }
                assert!(
                    Instant::now() < end,
                    "{caller}: the server has {sockets} sockets, the pool counts {before}"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Waits until the server has neither a transaction of this test's nor a cursor, except with
    /// batches of `cancelled`: a query that is dropped before its answer is read leaves a cursor
    /// that no client knows the number of, and the server keeps it for ten minutes.
    pub(crate) async fn nothing_is_left_open(&self, cancelled: u32) {
        let end = Instant::now() + Duration::from_secs(10);
        let all = doc! {
            "$currentOp": { "allUsers": true, "idleCursors": true, "idleSessions": true },
        };
        let ours = doc! { "$or": [
            { "type": "idleCursor",
              "cursor.originatingCommand.batchSize": { "$ne": cancelled }, "ns": { "$regex": format!("^{}\\.", self.name) } },
            { "transaction": { "$exists": true }, "appName": &self.name },
        ] };
        loop {
            let pipeline = [all.clone(), doc! { "$match": &ours }];
            let admin = self.observer.database("admin");
            let left: Vec<Document> = admin
                .aggregate(pipeline)
                .await
                .expect("the observer may see all operations")
                .try_collect()
                .await
                .expect("the server answers");
            if left.is_empty() {
                return;
            }
            let (first, count) = (&left[0], left.len());
            assert!(
                Instant::now() < end,
                "{count} left at the server, first {first}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Has the server note each operation in this test's database that `filter` describes, when it
    /// ends, also by an error. Before MongoDB 4.4 there is no such filter.
    pub(crate) async fn profile(&self, filter: Document) {
        let database = self.observer.database(&self.name);
        let notes = database.create_collection("system.profile");
        notes.capped(true).size(64 << 20).await.unwrap();
        let order = doc! { "profile": 1, "filter": filter };
        database.run_command(order).await.unwrap();
    }

    /// How many it has noted.
    pub(crate) async fn profiled(&self) -> u64 {
        let database = self.observer.database(&self.name);
        let notes = database.collection::<Document>("system.profile");
        notes.count_documents(doc! {}).await.unwrap()
    }

    /// Removes what the test has written.
    pub(crate) async fn clean(&self) {
        let database = self.observer.database(&self.name);
        // A database that is profiled stays.
        let _ = database.run_command(doc! { "profile": 0 }).await;
        let _ = database.drop().await;
    }
}

/// Open sockets, in use and not, by the pool's own account.
pub(crate) fn open(pool: &MongoPool) -> u32 {
    pool.sockets().iter().map(|server| server.open).sum()
}

pub(crate) fn in_use(pool: &MongoPool) -> u32 {
    pool.sockets().iter().map(|server| server.in_use).sum()
}

/// Waits until `holds` is true.
#[track_caller]
pub(crate) fn eventually(
    within: Duration,
    what: &str,
    holds: impl Fn() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let end = Instant::now() + within;
        while !holds() {
            assert!(
                Instant::now() < end,
                "{caller}: not within {within:?}: {what}"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// A URL that leads to the first server of `url` through a proxy.
pub(crate) async fn behind_a_proxy(url: &str) -> (String, FaultProxy) {
    let (user, server) = parts(url);
    let upstream = tokio::net::lookup_host(&server)
        .await
        .expect("the test server has a name")
        .next()
        .expect("and an address");
    let proxy = FaultProxy::start(upstream)
        .await
        .expect("loopback has a port");
    // Told of the replica set, the driver would go to the address in its configuration.
    let url = format!(
        "mongodb://{user}{}/?directConnection=true&authSource=admin",
        proxy.address()
    );
    (url, proxy)
}

/// User information, with its `@`, and the address of the first server.
pub(crate) fn parts(url: &str) -> (String, String) {
    let rest = url.split_once("://").expect("a URL has a scheme").1;
    let (user, rest) = rest.rsplit_once('@').unwrap_or(("", rest));
    let address = rest.split(['/', ',', '?']).next().unwrap_or_default();
    let user = if user.is_empty() {
        String::new()
    } else {
        format!("{user}@")
    };
    (user, address.to_owned())
}

/// The same URL with another password, or with a user where it has none.
pub(crate) fn with_password(url: &str, password: &str) -> String {
    let (scheme, rest) = url.split_once("://").expect("a URL has a scheme");
    let (user, rest) = match rest.split_once('@') {
        Some((user_info, rest)) => (user_info.split(':').next().unwrap_or("nobody"), rest),
        None => ("nobody", rest),
    };
    format!("{scheme}://{user}:{password}@{rest}")
}
