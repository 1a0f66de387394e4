//! Contract 1: first in, first out, no barging.

use std::sync::{Arc, Mutex};

use super::backend::{Backend, DEADLINE, build, end, in_time, until};

/// Twenty callers in line for one connection get it in the order in which they came; newcomers
/// that try at each hand-off never overtake them.
///
/// # Panics
///
/// The contract does not hold.
///
/// # Cancel safety
///
/// Dropped, it leaves its callers and its pool behind.
pub async fn callers_are_served_in_order<B: Backend>(backend: &B) {
    const CALLERS: u32 = 20;
    let pool = build(backend.builder().limits(0, 1).acquire_timeout(DEADLINE));
    let held = in_time("the first acquire", pool.acquire_owned()).await;
    let held = held.expect("an empty pool opens a connection");

    let served = Arc::new(Mutex::new(Vec::new()));
    let mut callers = Vec::new();
    for n in 0..CALLERS {
        let acquire = pool.acquire_owned();
        let (newcomer, served) = (pool.clone(), Arc::clone(&served));
        callers.push(tokio::spawn(async move {
            let connection = acquire.await.expect("each caller in line is served");
            served.lock().expect("no caller panics here").push(n);
            if n + 1 < CALLERS {
                assert!(
                    newcomer.try_acquire().is_none(),
                    "a newcomer overtook the line"
                );
            }
            tokio::task::yield_now().await;
            drop(connection);
        }));
        until(&pool, "the caller is in line", |counts| {
            counts.waiting == n + 1
        })
        .await;
    }
    assert!(pool.try_acquire().is_none(), "a newcomer overtook the line");
    drop(held);
    for caller in callers {
        in_time("a caller's turn", caller).await.expect("a caller");
    }
    let order = served.lock().expect("all callers are done").clone();
    assert_eq!(order, (0..CALLERS).collect::<Vec<_>>());
    assert_eq!(
        pool.pool_metrics().counters.opened,
        1,
        "one connection served all"
    );
    end(backend, pool).await;
}
