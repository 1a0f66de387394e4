//! A pool grows when there is much to do, which is when the runtime has much to do as well.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::server;

/// Sixteen tasks that are always ready and take a millisecond each. A login by password costs sqlx
/// 819 turns of the runtime's queue, which would be thirteen seconds.
#[tokio::test]
async fn a_connection_is_opened_on_a_runtime_that_is_never_idle() {
    let Some((builder, mut server)) = server::pool("busy").await else {
        return;
    };
    let pool = builder
        .limits(0, 4)
        .connect_timeout(Duration::from_secs(5))
        .acquire_timeout(Duration::from_secs(10))
        .build()
        .unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let stop = Arc::clone(&stop);
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    while began.elapsed() < Duration::from_millis(1) {
                        std::hint::spin_loop();
                    }
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let acquired = pool.acquire().await;
    stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.unwrap();
    }
    let connection = acquired.unwrap();
    assert_eq!(pool.pool_metrics().counters.connect_failures, 0);
    drop(connection);
    assert_eq!(server.connections().await, 1);
}
