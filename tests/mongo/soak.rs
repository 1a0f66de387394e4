//! Ten thousand ways to give up, mixed with as much work that does not.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use pool_mongo::{MongoLease, MongoPool};

use crate::support::{Site, eventually, in_use};

/// Rounds in which something is given up; each is followed by one of normal traffic.
const ROUNDS: u32 = 10_000;
const TASKS: u32 = 16;

/// Tells the queries that are cancelled from the others.
const CANCELLED_BATCH: u32 = 20;

/// Of the 1,250 queries that are cancelled while the server works on them, so many at least had
/// reached it when they were: what is cancelled sooner or later than that is easy.
const CAUGHT: u64 = 1_000;

/// What happened, to be held against what the database says.
#[derive(Default)]
struct Done {
    plain: u64,
    committed: u64,
    /// Queries that were to be cancelled and had their first answer before.
    answered: u64,
    cursors: u64,
    dropped: u64,
    aborted: u64,
}

impl Done {
    fn add(&mut self, other: &Self) {
        self.plain += other.plain;
        self.committed += other.committed;
        self.answered += other.answered;
        self.cursors += other.cursors;
        self.dropped += other.dropped;
        self.aborted += other.aborted;
    }
}

async fn give_up(pool: &MongoPool, number: u32, done: &mut Done) {
    match number % 4 {
        0 => cancel(pool, number / 4, done).await,
        1 => {
            let lease = pool.acquire().await.unwrap();
            let rows = lease.collection::<Document>("rows");
            let mut cursor = rows.find(doc! {}).batch_size(5).await.unwrap();
            assert!(cursor.advance().await.unwrap());
            drop(lease.into_leased(cursor));
            done.cursors += 1;
        }
        _ => {
            let mut session = pool.start_session().await.unwrap();
            let rows = session.database().collection::<Document>("transactions");
            session.start_transaction().await.unwrap();
            rows.insert_one(doc! { "lost": true })
                .session(&mut *session)
                .await
                .unwrap();
            if number % 4 == 2 {
                session.abort_transaction().await.unwrap();
                done.aborted += 1;
            } else {
                // Dropped open.
                done.dropped += 1;
            }
        }
    }
}

/// Every other query is dropped somewhere between the queue and its last batch, the rest while the
/// server works on it.
async fn cancel(pool: &MongoPool, number: u32, done: &mut Done) {
    let anywhere = number.is_multiple_of(2);
    let filter = if anywhere {
        doc! {}
    } else {
        doc! { "_id": 0, "$where": "sleep(50) || true" }
    };
    let answered = &mut done.answered;
    let _ = if anywhere {
        let patience = Duration::from_micros(u64::from(number) * 37 % 4_000);
        let all = async { query(pool.acquire().await.unwrap(), filter, answered).await };
        tokio::time::timeout(patience, all).await
    } else {
        let lease = pool.acquire().await.unwrap();
        tokio::time::timeout(Duration::from_millis(15), query(lease, filter, answered)).await
    };
}

async fn query(lease: MongoLease, filter: Document, answered: &mut u64) {
    let rows = lease.collection::<Document>("rows");
    let cursor = rows.find(filter).batch_size(CANCELLED_BATCH).await.unwrap();
    *answered += 1;
    let _: Vec<Document> = lease.into_leased(cursor).try_collect().await.unwrap();
}

async fn go_on(pool: &MongoPool, number: u32, done: &mut Done) {
    match number % 3 {
        0 => {
            let lease = pool.acquire().await.unwrap();
            let rows = lease.collection::<Document>("plain");
            rows.insert_one(doc! { "round": number }).await.unwrap();
            done.plain += 1;
        }
        1 => {
            let work = pool.with_transaction(async |db, session| {
                let rows = db.collection::<Document>("transactions");
                rows.insert_one(doc! { "lost": false })
                    .session(session)
                    .await
            });
            work.await.unwrap();
            done.committed += 1;
        }
        _ => {
            let lease = pool.acquire().await.unwrap();
            let rows = lease.collection::<Document>("rows");
            let cursor = rows.find(doc! {}).batch_size(100).await.unwrap();
            let rows: Vec<Document> = lease.into_leased(cursor).try_collect().await.unwrap();
            assert_eq!(rows.len(), 60);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_rounds_leave_nothing_behind() {
    let Some(site) = Site::new("soak").await else {
        return;
    };
    let timeout = Duration::from_secs(30);
    let pool = site
        .pool(|builder| builder.limits(0, 8).ceiling(32).acquire_timeout(timeout))
        .await;
    {
        let lease = pool.acquire().await.unwrap();
        let rows: Vec<_> = (0..60).map(|row| doc! { "_id": row }).collect();
        lease
            .collection::<Document>("rows")
            .insert_many(rows)
            .await
            .unwrap();
        for name in ["transactions", "plain"] {
            lease.create_collection(name).await.unwrap();
        }
    }
    // The server notes each of these queries, whatever becomes of it.
    site.profile(doc! { "op": "query", "command.batchSize": CANCELLED_BATCH })
        .await;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let pool = pool.clone();
        tasks.spawn(async move {
            let mut done = Done::default();
            for number in (task..ROUNDS).step_by(TASKS as usize) {
                // So that each task does everything.
                let number = number / TASKS + task;
                give_up(&pool, number, &mut done).await;
                go_on(&pool, number, &mut done).await;
            }
            done
        });
    }
    let mut done = Done::default();
    while let Some(one) = tasks.join_next().await {
        done.add(&one.unwrap());
    }
    assert!(done.plain > 3_000 && done.committed > 3_000);
    for given_up in [done.cursors, done.dropped, done.aborted] {
        assert!(given_up > 2_400, "{given_up}");
    }

    eventually(
        Duration::from_secs(10),
        "no lease is held and no socket in use",
        || {
            let counts = pool.counts();
            (counts.active, counts.waiting, in_use(&pool)) == (0, 0, 0)
        },
    )
    .await;
    site.agrees_with(&pool).await;
    let metrics = pool.pool_metrics();
    let counters = &metrics.counters;
    assert_eq!(counters.acquired, counters.returned + counters.passed_on);
    assert_eq!(counters.timeouts, 0);
    assert!(counters.peak_total <= 8, "{}", counters.peak_total);
    site.nothing_is_left_open(CANCELLED_BATCH).await;
    let caught = site.profiled().await - done.answered;
    eprintln!("the server had {caught} queries that were dropped before it answered");
    assert!(caught >= CAUGHT, "{caught}");

    let lease = pool.acquire().await.unwrap();
    let count = async |name: &str| {
        let rows = lease.collection::<Document>(name);
        rows.count_documents(doc! {}).await.unwrap()
    };
    assert_eq!(count("plain").await, done.plain);
    assert_eq!(count("transactions").await, done.committed);
    site.clean().await;
}
