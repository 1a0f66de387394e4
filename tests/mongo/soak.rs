//! Ten thousand ways to give up, mixed with work that does not.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use pool_mongo::MongoPool;

use crate::support::{Site, eventually, in_use};

const ROUNDS: u32 = 10_000;
const TASKS: u32 = 16;

/// Tells the queries that are cancelled from the others.
const CANCELLED_BATCH: u32 = 20;

/// What happened, to be held against what the database says.
#[derive(Default)]
struct Written {
    plain: u64,
    committed: u64,
}

/// One round: normal traffic in every other, one kind of giving up in the rest.
async fn round(pool: &MongoPool, number: u32, written: &mut Written) {
    match number % 12 {
        0 | 6 => {
            // Dropped somewhere between the queue and the last batch.
            let patience = Duration::from_micros(u64::from(number) * 37 % 4_000);
            let _ = tokio::time::timeout(patience, read(pool, CANCELLED_BATCH)).await;
        }
        2 => {
            let lease = pool.acquire().await.unwrap();
            let rows = lease.collection::<Document>("rows");
            let mut cursor = rows.find(doc! {}).batch_size(5).await.unwrap();
            assert!(cursor.advance().await.unwrap());
            drop(lease.into_leased(cursor));
        }
        4 => {
            let mut session = pool.start_session().await.unwrap();
            let rows = session.database().collection::<Document>("transactions");
            session.start_transaction().await.unwrap();
            rows.insert_one(doc! { "lost": true })
                .session(&mut *session)
                .await
                .unwrap();
            // Dropped open.
        }
        8 => {
            let mut session = pool.start_session().await.unwrap();
            let rows = session.database().collection::<Document>("transactions");
            session.start_transaction().await.unwrap();
            rows.insert_one(doc! { "lost": true })
                .session(&mut *session)
                .await
                .unwrap();
            session.abort_transaction().await.unwrap();
        }
        10 => {
            let work = pool.with_transaction(async |db, session| {
                let rows = db.collection::<Document>("transactions");
                rows.insert_one(doc! { "lost": false })
                    .session(session)
                    .await
            });
            work.await.unwrap();
            written.committed += 1;
        }
        3 => {
            let lease = pool.acquire().await.unwrap();
            let rows = lease.collection::<Document>("plain");
            rows.insert_one(doc! { "round": number }).await.unwrap();
            written.plain += 1;
        }
        _ => assert_eq!(read(pool, 100).await, 60),
    }
}

async fn read(pool: &MongoPool, batch: u32) -> usize {
    let lease = pool.acquire().await.unwrap();
    let rows = lease.collection::<Document>("rows");
    let cursor = rows.find(doc! {}).batch_size(batch).await.unwrap();
    let rows: Vec<Document> = lease.into_leased(cursor).try_collect().await.unwrap();
    rows.len()
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
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let pool = pool.clone();
        tasks.spawn(async move {
            let mut written = Written::default();
            for number in (task..ROUNDS).step_by(TASKS as usize) {
                round(&pool, number / TASKS + task, &mut written).await;
            }
            written
        });
    }
    let mut written = Written::default();
    while let Some(done) = tasks.join_next().await {
        let done = done.unwrap();
        written.plain += done.plain;
        written.committed += done.committed;
    }
    assert!(written.plain > 500 && written.committed > 500);

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

    let lease = pool.acquire().await.unwrap();
    let count = async |name: &str| {
        let rows = lease.collection::<Document>(name);
        rows.count_documents(doc! {}).await.unwrap()
    };
    assert_eq!(count("plain").await, written.plain);
    assert_eq!(count("transactions").await, written.committed);
    site.clean().await;
}
