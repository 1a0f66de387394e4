//! A caller that waits for itself is told so.

use std::time::{Duration, Instant};

use mongodb::bson::{Document, doc};
use pool_mongo::{LeaseError, RunError};

use crate::support::Site;

#[tokio::test(flavor = "multi_thread")]
async fn work_that_has_a_lease_is_refused_another_at_once() {
    let Some(site) = Site::new("nested").await else {
        return;
    };
    // There is room for two: the rule does not wait for the day when there is none.
    let pool = site.pool(|builder| builder.limits(0, 2)).await;
    let inner = pool.clone();
    let outcome: Result<(), RunError<LeaseError>> = pool
        .run(|_db| async move { inner.acquire().await.map(drop) })
        .await;
    let Err(RunError::Work(refused @ LeaseError::Nested { .. })) = outcome else {
        panic!("want Nested, got {outcome:?}");
    };
    let text = refused.to_string();
    assert!(
        text.contains("nesting.rs") && text.contains(&site.name),
        "{text}"
    );
    let inner = pool.clone();
    let outcome: Result<(), RunError<RunError<mongodb::error::Error>>> = pool
        .run(|_db| async move { inner.run(|_db| async { Ok(()) }).await })
        .await;
    assert!(
        matches!(
            outcome,
            Err(RunError::Work(RunError::Lease(LeaseError::Nested { .. })))
        ),
        "{outcome:?}"
    );
    assert_eq!(pool.counts().active, 0);
    pool.acquire().await.map(drop).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_is_such_work_and_another_pool_or_task_is_not() {
    let Some(site) = Site::new("inside").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 2)).await;
    let other = site.pool(|builder| builder.limits(0, 1)).await;
    let rows = pool.acquire().await.unwrap().collection::<Document>("rows");
    rows.insert_one(doc! {}).await.unwrap();
    let seen: Vec<bool> = pool
        .with_transaction(async |_db, _session| {
            let same = pool.acquire().await.map(drop);
            let another = other.acquire().await.map(drop);
            let task = tokio::spawn({
                let pool = pool.clone();
                async move { pool.acquire().await.map(drop) }
            });
            let spawned = task.await.unwrap();
            Ok(vec![same.is_ok(), another.is_ok(), spawned.is_ok()])
        })
        .await
        .unwrap();
    assert_eq!(seen, [false, true, true]);
    site.clean().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_holds_what_it_waits_for_is_told() {
    let Some(site) = Site::new("itself").await else {
        return;
    };
    let timeout = Duration::from_secs(2);
    let pool = site
        .pool(|builder| builder.limits(0, 2).acquire_timeout(timeout))
        .await;
    tokio::spawn(async move {
        let held = (pool.acquire().await.unwrap(), pool.acquire().await.unwrap());
        let began = Instant::now();
        let error = pool.acquire().await.map(drop).unwrap_err();
        assert!(began.elapsed() >= timeout && error.is_timeout(), "{error}");
        assert!(
            matches!(error, LeaseError::HeldByCaller { .. }),
            "{error:?}"
        );
        assert!(
            error.to_string().contains("holds 2 of them itself"),
            "{error}"
        );
        // Somebody else who waits in vain holds none.
        let other = tokio::spawn({
            let pool = pool.clone();
            async move { pool.acquire().await.map(drop) }
        });
        let error = other.await.unwrap().unwrap_err();
        assert!(matches!(error, LeaseError::Acquire(_)), "{error:?}");
        drop(held);
    })
    .await
    .unwrap();
}
