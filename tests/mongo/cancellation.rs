//! Callers that give up leave nothing behind.

use std::time::Duration;

use mongodb::bson::{Document, doc};

use crate::support::{Site, eventually, in_use};

#[tokio::test(flavor = "multi_thread")]
async fn cancelled_operations_leave_neither_leases_nor_sockets_behind() {
    let Some(site) = Site::new("cancelled").await else {
        return;
    };
    let pool = site.pool(|builder| builder.limits(0, 4)).await;
    {
        let lease = pool.acquire().await.unwrap();
        let rows: Vec<_> = (0..200).map(|row| doc! { "_id": row }).collect();
        lease
            .collection::<Document>("rows")
            .insert_many(rows)
            .await
            .unwrap();
    }
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8_u64 {
        let pool = pool.clone();
        tasks.spawn(async move {
            for round in 0..60_u64 {
                let work = async {
                    let lease = pool.acquire().await.unwrap();
                    let rows = lease.collection::<Document>("rows");
                    let mut cursor = rows.find(doc! {}).batch_size(10).await.unwrap();
                    while cursor.advance().await.unwrap() {}
                };
                // From before the first byte to after the last batch.
                let patience = Duration::from_micros(137 * (round + 7 * task) % 9_000);
                let _ = tokio::time::timeout(patience, work).await;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    eventually(Duration::from_secs(2), "nothing is in use", || {
        pool.counts().active == 0 && pool.counts().waiting == 0 && in_use(&pool) == 0
    })
    .await;
    site.agrees_with(&pool).await;
    let lease = pool.acquire().await.unwrap();
    let rows = lease.collection::<Document>("rows");
    assert_eq!(rows.count_documents(doc! {}).await.unwrap(), 200);
    site.clean().await;
}
