//! A replica set of three: whom reads go to, and what a step-down leaves of the minimum.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::options::{Acknowledgment, WriteConcern};
use pool_mongo::MongoPool;

use crate::failover::{replica_set, with};
use crate::support::eventually;

const MIN: u32 = 4;

async fn pool(url: &str) -> MongoPool {
    MongoPool::builder(url)
        .name("members")
        .database("members")
        .limits(MIN, 10)
        .acquire_timeout(Duration::from_secs(15))
        .build()
        .await
        .unwrap()
}

/// Whether the member at `address` can check the times that others have signed. One that cannot
/// turns away a client that has heard one (code 211, `KeyNotFound`).
async fn knows_the_key(address: SocketAddr) -> bool {
    let url = format!("mongodb://{address}/?directConnection=true");
    let client = Client::with_uri_str(url).await.unwrap();
    let admin = client.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await.unwrap();
    let signature = hello
        .get_document("$clusterTime")
        .and_then(|time| time.get_document("signature"))
        .ok();
    signature.is_some_and(|signature| signature.get_i64("keyId").is_ok_and(|key| key != 0))
}

/// The port of the member that answers reads of `pool`.
async fn reads_from(pool: &MongoPool) -> u16 {
    let lease = pool.acquire().await.unwrap();
    let rows = lease.collection::<Document>("rows");
    let stages = [doc! { "$collStats": { "count": {} } }];
    let answers: Vec<_> = rows
        .aggregate(stages)
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let host = answers[0].get_str("host").unwrap();
    host.rsplit_once(':').unwrap().1.parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_go_where_the_uri_says_and_a_step_down_is_followed_by_a_warm_up() {
    let Some(set) = replica_set().await else {
        return;
    };
    for address in set.addresses() {
        assert!(knows_the_key(address).await, "{address} has no key yet");
    }
    let url = set.url().to_owned();
    let writes = pool(&url).await;
    writes.warmup_pool().await.unwrap();
    {
        let lease = writes.acquire().await.unwrap();
        let all = WriteConcern::builder().w(Acknowledgment::Nodes(3)).build();
        let rows = lease.collection::<Document>("rows");
        rows.insert_one(doc! { "_id": 0 })
            .write_concern(all)
            .await
            .unwrap();
    }
    let (set, primary) = with(set, |set| set.primary().expect("a primary")).await;
    let primary = set.addresses()[primary];
    assert_eq!(reads_from(&writes).await, primary.port());
    let reads = pool(&format!("{url}&readPreference=secondary")).await;
    reads.warmup_pool().await.unwrap();
    for _ in 0..8 {
        let from = reads_from(&reads).await;
        assert_ne!(from, primary.port(), "secondaries were asked for");
        assert!(set.addresses().iter().any(|address| address.port() == from));
    }
    reads.close(Duration::from_secs(5)).await;

    // The primary hands over; nobody dies.
    let observer = Client::with_uri_str(&url).await.unwrap();
    let down = doc! { "replSetStepDown": 30, "secondaryCatchUpPeriodSecs": 10 };
    observer.database("admin").run_command(down).await.unwrap();
    let began = Instant::now();
    let report = writes.warmup_pool().await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(15), "{report}");
    assert!(report.sockets >= MIN, "{report}");
    let lease = writes.acquire().await.unwrap();
    lease
        .collection::<Document>("rows")
        .insert_one(doc! { "_id": 1 })
        .await
        .unwrap();
    drop(lease);
    let heir = reads_from(&writes).await;
    assert_ne!(heir, primary.port());
    // Warm where operations run, not where they used to.
    let at_heir = || {
        let servers = writes.sockets();
        let heir = servers
            .iter()
            .find(|server| server.address.ends_with(&format!(":{heir}")));
        heir.map_or(0, |server| server.open)
    };
    eventually(
        Duration::from_secs(10),
        "the minimum is at the heir",
        || at_heir() >= MIN,
    )
    .await;
    let closed = writes.close(Duration::from_secs(10)).await;
    assert!(closed.clean, "{closed}");
}

/// Nobody asks for a warm-up, and the sockets to the old primary stay open: it has not gone.
#[tokio::test(flavor = "multi_thread")]
async fn the_minimum_follows_the_primary_by_itself() {
    let Some(set) = replica_set().await else {
        return;
    };
    let url = set.url().to_owned();
    let pool = pool(&url).await;
    pool.warmup_pool().await.unwrap();
    let (set, old) = with(set, |set| set.primary().expect("a primary")).await;
    let primary = set.addresses()[old].port();
    let open = |port: u16| {
        let servers = pool.sockets();
        let server = servers
            .iter()
            .find(|server| server.address.ends_with(&format!(":{port}")));
        server.map_or(0, |server| server.open)
    };
    assert!(open(primary) >= MIN);
    let observer = Client::with_uri_str(&url).await.unwrap();
    let down = doc! { "replSetStepDown": 30, "secondaryCatchUpPeriodSecs": 10 };
    observer.database("admin").run_command(down).await.unwrap();
    let (set, heir) = with(set, move |set| {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            if let Some(heir) = set.primary_except(Some(old)) {
                break set.addresses()[heir].port();
            }
            assert!(Instant::now() < end, "no primary was elected");
            std::thread::sleep(Duration::from_millis(10));
        }
    })
    .await;
    // A third of the time after which the driver closes what is idle is twice as long.
    eventually(
        Duration::from_secs(10),
        "the minimum is at the heir",
        || open(heir) >= MIN,
    )
    .await;
    assert!(open(primary) > 0, "they are still there");
    let closed = pool.close(Duration::from_secs(10)).await;
    assert!(closed.clean, "{closed}");
    drop(set);
}
