//! A replica set of three whose primary dies, and one whose primary freezes, under load.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::{Acknowledgment, ReadConcern, WriteConcern};
use pool_mongo::MongoPool;
use test_servers::{Environment, MongoOptions, ReplicaSet};
use tokio::task::JoinSet;

use crate::support::{eventually, in_use, parts};

const WRITERS: u32 = 50;
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(2);

/// The driver puts no limit on an operation: one that a frozen server does not answer hangs.
const OPERATION_TIMEOUT: Duration = Duration::from_millis(800);

/// What a machine that is busy with other tests may add to the time of an acquire.
const NOISE: Duration = Duration::from_secs(1);

/// From the election to the first success, in milliseconds.
const RESUMES_WITHIN: i64 = 1_000;

/// `None`, after saying so, when the tests run without servers.
pub(crate) async fn replica_set() -> Option<ReplicaSet> {
    integration_tests::mongodb_url()?;
    let started = tokio::task::spawn_blocking(|| {
        let environment = Environment::from_env().expect("a valid environment");
        MongoOptions::default().start_replica_set(3, &environment)
    });
    Some(
        started
            .await
            .unwrap()
            .expect("a replica set can be started"),
    )
}

/// Runs what blocks where it may.
pub(crate) async fn with<T: Send + 'static>(
    mut set: ReplicaSet,
    change: impl FnOnce(&mut ReplicaSet) -> T + Send + 'static,
) -> (ReplicaSet, T) {
    let changed = tokio::task::spawn_blocking(move || {
        let outcome = change(&mut set);
        (set, outcome)
    });
    changed.await.unwrap()
}

/// Writers that note what the majority has acknowledged.
struct Writers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<Written>,
}

#[derive(Default)]
struct Written {
    /// Each row, and when its writer was told, in milliseconds since 1970.
    acknowledged: Vec<(String, i64)>,
    slowest_acquire: Duration,
}

impl Writers {
    fn begin(pool: &MongoPool, round: &'static str) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let (pool, stop) = (pool.clone(), Arc::clone(&stop));
            tasks.spawn(async move {
                let mut written = Written::default();
                for row in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let began = Instant::now();
                    let lease = pool.acquire().await;
                    written.slowest_acquire = written.slowest_acquire.max(began.elapsed());
                    let Ok(lease) = lease else { continue };
                    let id = format!("{round}-{writer}-{row}");
                    let rows = lease.collection::<Document>("rows");
                    let majority = WriteConcern::builder().w(Acknowledgment::Majority).build();
                    let insert = rows.insert_one(doc! { "_id": &id }).write_concern(majority);
                    let insert = tokio::time::timeout(OPERATION_TIMEOUT, insert).await;
                    if matches!(insert, Ok(Ok(_))) {
                        let now = DateTime::now().timestamp_millis();
                        written.acknowledged.push((id, now));
                    }
                }
                written
            });
        }
        Self { stop, tasks }
    }

    async fn end(mut self) -> Written {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Written::default();
        while let Some(done) = self.tasks.join_next().await {
            let done = done.unwrap();
            all.acknowledged.extend(done.acknowledged);
            all.slowest_acquire = all.slowest_acquire.max(done.slowest_acquire);
        }
        all
    }
}

/// What befalls the primary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Killed,
    Frozen,
}

async fn fail_over(set: ReplicaSet, pool: &MongoPool, fate: Fate) -> ReplicaSet {
    let round = if fate == Fate::Killed {
        "kill"
    } else {
        "freeze"
    };
    let writers = Writers::begin(pool, round);
    tokio::time::sleep(Duration::from_secs(1)).await;

    let (set, (lost, heir)) = with(set, move |set| {
        let lost = set.primary().expect("a primary");
        match fate {
            Fate::Killed => set.member(lost).kill().unwrap(),
            Fate::Frozen => set.member(lost).pause().unwrap(),
        }
        let end = Instant::now() + Duration::from_secs(60);
        let heir = loop {
            if let Some(heir) = set.primary_except(Some(lost)) {
                break set.addresses()[heir];
            }
            assert!(Instant::now() < end, "no primary was elected");
            std::thread::sleep(Duration::from_millis(10));
        };
        (lost, heir)
    })
    .await;
    let election = Election::of(set.url(), heir).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let (set, ()) = with(set, move |set| {
        match fate {
            Fate::Killed => set.member(lost).restart().unwrap(),
            Fate::Frozen => set.member(lost).resume().unwrap(),
        }
        set.settle().unwrap();
    })
    .await;
    let written = writers.end().await;

    // By the heir's own clock: when it took the first write of a writer's in its term.
    let taken = election.first_write(round).await - election.won;
    let succeeded = written
        .acknowledged
        .iter()
        .map(|(_, at)| *at)
        .filter(|at| *at > election.won)
        .min()
        .expect("service resumes");
    let of_majority = election.majority_follows - election.won;
    let succeeded = succeeded - election.won;
    eprintln!(
        "{fate:?}: after the election the heir took a write {taken} ms later, could have a \
         majority {of_majority} ms later, and a writer succeeded {succeeded} ms later"
    );
    assert!(
        taken < RESUMES_WITHIN,
        "{fate:?}: writes arrived {taken} ms after the election"
    );
    // A write that the majority has to acknowledge cannot succeed before there is one.
    assert!(
        succeeded - of_majority < RESUMES_WITHIN,
        "{fate:?}: service resumed {succeeded} ms after the election, and the heir could have \
         acknowledged after {of_majority} ms"
    );
    assert!(
        written.slowest_acquire < ACQUIRE_TIMEOUT + NOISE,
        "{fate:?}: an acquire took {:?}",
        written.slowest_acquire
    );
    no_lease_is_lost(pool).await;
    all_is_there(pool, &written).await;
    set
}

/// An election as the new primary tells of it. Times are milliseconds since 1970, by the clock that
/// all processes of this machine share.
struct Election {
    heir: mongodb::Client,
    term: i64,
    /// When the heir began its term: from then on it takes writes.
    won: i64,
    /// When the majority followed it: from then on it can acknowledge what the majority has to
    /// have. The other member has to turn to it first, which takes longer when the old one is
    /// frozen.
    majority_follows: i64,
}

impl Election {
    /// Asks the heir itself, who needs no pool to be found.
    async fn of(url: &str, heir: SocketAddr) -> Self {
        let (user, _) = parts(url);
        let url = format!("mongodb://{user}{heir}/?directConnection=true&authSource=admin");
        let heir = mongodb::Client::with_uri_str(url).await.unwrap();
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let status = heir.database("admin");
            let status = status.run_command(doc! { "replSetGetStatus": 1 });
            let status = status.await.unwrap();
            let metrics = status.get_document("electionCandidateMetrics");
            let time = |name: &str| {
                let metrics = metrics.as_ref().ok()?;
                Some(metrics.get_datetime(name).ok()?.timestamp_millis())
            };
            let times = (
                time("newTermStartDate"),
                time("wMajorityWriteAvailabilityDate"),
            );
            if let (Some(won), Some(majority_follows)) = times {
                let term = metrics.unwrap().get_i64("electionTerm").unwrap();
                return Self {
                    heir,
                    term,
                    won,
                    majority_follows,
                };
            }
            assert!(Instant::now() < end, "the heir finds no majority: {status}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// When the heir wrote the first row of a writer's into its log.
    async fn first_write(&self, round: &str) -> i64 {
        let log = self
            .heir
            .database("local")
            .collection::<Document>("oplog.rs");
        let ours = doc! {
            "t": self.term,
            "ns": "failover.rows",
            "o._id": { "$regex": format!("^{round}-") },
        };
        let first = log.find_one(ours).sort(doc! { "$natural": 1 }).await;
        let first = first.unwrap().expect("the heir took writes");
        first.get_datetime("wall").unwrap().timestamp_millis()
    }
}

async fn no_lease_is_lost(pool: &MongoPool) {
    eventually(
        Duration::from_secs(20),
        "no lease is held and no socket in use",
        || {
            let counts = pool.counts();
            (counts.active, counts.waiting, in_use(pool)) == (0, 0, 0)
        },
    )
    .await;
    let counters = pool.pool_metrics().counters;
    assert_eq!(counters.acquired, counters.returned + counters.passed_on);
    let mut all = Vec::new();
    for _ in 0..pool.limits().max() {
        all.push(pool.acquire().await.expect("all of the room is there"));
    }
}

async fn all_is_there(pool: &MongoPool, written: &Written) {
    let lease = pool.acquire().await.unwrap();
    let rows = lease.collection::<Document>("rows");
    for chunk in written.acknowledged.chunks(1_000) {
        let wanted: Vec<_> = chunk.iter().map(|(id, _)| id.as_str()).collect();
        let found = rows
            .count_documents(doc! { "_id": { "$in": &wanted } })
            .read_concern(ReadConcern::majority())
            .await
            .unwrap();
        assert_eq!(found, wanted.len() as u64, "acknowledged writes are there");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_dies_or_freezes_under_load_costs_no_acknowledged_write_and_no_lease() {
    let Some(set) = replica_set().await else {
        return;
    };
    let pool = MongoPool::builder(set.url())
        .name("failover")
        .database("failover")
        .limits(2, 10)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .build()
        .await
        .unwrap();
    pool.warmup_pool().await.unwrap();
    let lease = pool.acquire().await.unwrap();
    lease.create_collection("rows").await.unwrap();
    drop(lease);

    let set = fail_over(set, &pool, Fate::Killed).await;
    let set = fail_over(set, &pool, Fate::Frozen).await;

    let report = pool.close(Duration::from_secs(10)).await;
    assert!(report.clean, "{report}");
    drop(set);
}
