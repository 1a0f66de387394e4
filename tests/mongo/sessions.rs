//! Sessions, transactions and cursors keep their lease.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, TRANSIENT_TRANSACTION_ERROR};
use mongodb::options::WriteConcern;
use mongodb::{Collection, Database};
use pool_mongo::{MongoPool, RunError};

use crate::support::{Site, eventually, in_use};

/// Two accounts, so that collections exist before a transaction needs them.
async fn accounts(pool: &MongoPool) -> Collection<Document> {
    let lease = pool.acquire().await.unwrap();
    let accounts = lease.collection("accounts");
    let rows = ["a", "b"].map(|id| doc! { "_id": id, "balance": 100 });
    let written = accounts.insert_many(rows);
    written
        .write_concern(WriteConcern::majority())
        .await
        .unwrap();
    accounts
}

async fn balances(accounts: &Collection<Document>) -> Vec<i32> {
    let rows: Vec<Document> = accounts
        .find(doc! {})
        .sort(doc! { "_id": 1 })
        .await
        .unwrap()
        .try_collect()
        .await
        .unwrap();
    let balance = |row: &Document| row.get_i32("balance").unwrap();
    rows.iter().map(balance).collect()
}

async fn add(
    db: &Database,
    id: &str,
    amount: i32,
    session: &mut mongodb::ClientSession,
) -> mongodb::error::Result<()> {
    db.collection::<Document>("accounts")
        .update_one(doc! { "_id": id }, doc! { "$inc": { "balance": amount } })
        .session(session)
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_commits_all_or_nothing_on_one_lease() {
    let Some(site) = Site::new("transaction").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 1)).await;
    let accounts = accounts(&pool).await;
    // In a task of its own: the future can be sent to another thread.
    let task = tokio::spawn({
        let pool = pool.clone();
        async move {
            let transfer = pool.with_transaction(async |db, session| {
                add(&db, "a", -10, session).await?;
                add(&db, "b", 10, session).await
            });
            transfer.await
        }
    });
    task.await.unwrap().unwrap();
    assert_eq!(balances(&accounts).await, [90, 110]);
    let failed: Result<(), RunError<Error>> = pool
        .with_transaction(async |db, session| {
            add(&db, "a", -10, session).await?;
            Err(Error::custom("enough"))
        })
        .await;
    let Err(RunError::Work(error)) = failed else {
        panic!("want the work's error, got {failed:?}");
    };
    assert_eq!(error.get_custom::<&str>(), Some(&"enough"));
    assert_eq!(balances(&accounts).await, [90, 110]);
    eventually(Duration::from_secs(2), "the lease is back", || {
        pool.counts().active == 0
    })
    .await;
    assert_eq!(pool.pool_metrics().counters.peak_total, 1);
    site.clean().await;
}

/// The driver's rule: what ends the transaction itself means it, and its value is the outcome.
#[tokio::test(flavor = "multi_thread")]
async fn work_may_end_its_transaction_itself() {
    let Some(site) = Site::new("ended").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 1)).await;
    let accounts = accounts(&pool).await;
    let aborted = pool.with_transaction(async |db, session| {
        add(&db, "a", -10, session).await?;
        session.abort_transaction().await?;
        Ok::<_, Error>("aborted")
    });
    assert_eq!(aborted.await.unwrap(), "aborted");
    let committed = pool.with_transaction(async |db, session| {
        add(&db, "b", 10, session).await?;
        session.commit_transaction().await?;
        Ok::<_, Error>("committed")
    });
    assert_eq!(committed.await.unwrap(), "committed");
    assert_eq!(balances(&accounts).await, [100, 110]);
    site.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_meets_another_is_run_again() {
    let Some(site) = Site::new("conflict").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 8)).await;
    let accounts = accounts(&pool).await;
    let attempts = std::sync::Arc::new(AtomicU32::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (pool, attempts) = (pool.clone(), attempts.clone());
        tasks.spawn(async move {
            for _ in 0..5 {
                let attempts = attempts.clone();
                let transfer = pool.with_transaction(async move |db, session| {
                    attempts.fetch_add(1, Ordering::Relaxed);
                    add(&db, "a", -1, session).await?;
                    add(&db, "b", 1, session).await
                });
                transfer.await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(balances(&accounts).await, [60, 140], "each transfer once");
    let attempts = attempts.load(Ordering::Relaxed);
    assert!(
        attempts > 40,
        "8 tasks on two rows conflict, {attempts} attempts for 40"
    );
    eventually(Duration::from_secs(2), "all leases are back", || {
        pool.counts().active == 0
    })
    .await;
    site.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_session_aborts_before_its_lease_is_back() {
    let Some(site) = Site::new("abort").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 1)).await;
    let accounts = accounts(&pool).await;
    let mut session = pool.start_session().await.unwrap();
    let db = session.database();
    session.start_transaction().await.unwrap();
    add(&db, "a", -50, &mut session).await.unwrap();
    assert_eq!(
        (pool.counts().active, session.lease().name()),
        (1, &*site.name)
    );
    drop(session);
    // The next lease comes after the abort, so this write meets no open transaction.
    let lease = pool.acquire().await.unwrap();
    let take = doc! { "$inc": { "balance": -1 } };
    accounts
        .update_one(doc! { "_id": "a" }, take)
        .await
        .unwrap();
    assert_eq!(balances(&accounts).await, [99, 100]);
    drop(lease);
    let mut session = pool.start_session().await.unwrap();
    session.start_transaction().await.unwrap();
    add(&db, "b", 5, &mut session).await.unwrap();
    session.commit_transaction().await.unwrap();
    drop(session);
    eventually(Duration::from_secs(2), "the lease is back", || {
        pool.counts().active == 0
    })
    .await;
    assert_eq!(balances(&accounts).await, [99, 105]);
    site.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_for_the_driver_keeps_its_labels() {
    let Some(site) = Site::new("labels").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 2)).await;
    let accounts = accounts(&pool).await;
    let (mut one, mut two) = (
        pool.start_session().await.unwrap(),
        pool.start_session().await.unwrap(),
    );
    let db = one.database();
    one.start_transaction().await.unwrap();
    two.start_transaction().await.unwrap();
    add(&db, "a", 1, &mut one).await.unwrap();
    let conflict = add(&db, "a", 1, &mut two).await.unwrap_err();
    assert!(
        conflict.contains_label(TRANSIENT_TRANSACTION_ERROR),
        "{conflict}"
    );
    drop((one, two));
    eventually(Duration::from_secs(2), "both are back", || {
        pool.counts().active == 0
    })
    .await;
    assert_eq!(balances(&accounts).await, [100, 100]);
    site.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_keeps_its_lease_and_leaves_the_function_with_it() {
    async fn all(pool: &MongoPool) -> pool_mongo::Leased<mongodb::Cursor<Document>> {
        let lease = pool.acquire().await.unwrap();
        let rows = lease.collection("rows");
        let cursor = rows.find(doc! {}).batch_size(10).await.unwrap();
        lease.into_leased(cursor)
    }
    let Some(site) = Site::new("cursor").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 1)).await;
    {
        let lease = pool.acquire().await.unwrap();
        let rows: Vec<_> = (0..95).map(|row| doc! { "_id": row }).collect();
        lease
            .collection::<Document>("rows")
            .insert_many(rows)
            .await
            .unwrap();
    }
    let mut rows = all(&pool).await;
    assert_eq!(pool.counts().active, 1);
    assert!(rows.advance().await.unwrap());
    assert_eq!(pool.counts().active, 1);
    drop(rows);
    assert_eq!(pool.counts().active, 0);
    let rows: Vec<Document> = all(&pool).await.try_collect().await.unwrap();
    assert_eq!(rows.len(), 95);
    assert_eq!(pool.counts().active, 0);
    eventually(Duration::from_secs(2), "no socket is in use", || {
        in_use(&pool) == 0
    })
    .await;
    site.clean().await;
}
