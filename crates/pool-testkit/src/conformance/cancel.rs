//! Contract 2: cancel anywhere.

use std::time::Duration;

use super::backend::{Backend, DEADLINE, build, end, in_time, until};

/// Hundreds of callers give up, each after another moment of its wait; at the end the pool has
/// all its room, nobody is in line, and a connect that was under way has landed.
///
/// # Panics
///
/// The contract does not hold.
///
/// # Cancel safety
///
/// Dropped, it leaves its callers and its pool behind.
pub async fn a_cancelled_acquire_loses_nothing<B: Backend>(backend: &B) {
    const MAX: u32 = 3;
    let pool = build(backend.builder().limits(0, MAX).acquire_timeout(DEADLINE));

    // Cancelled as soon as its connect has begun: the connection lands in the pool.
    let mut abandoned = Box::pin(pool.acquire());
    let looked = std::future::poll_fn(|cx| std::task::Poll::Ready(abandoned.as_mut().poll(cx)));
    let first = looked.await;
    drop(first);
    drop(abandoned);
    until(&pool, "the connect has landed in the pool", |counts| {
        counts.idle == 1
    })
    .await;

    let mut rng = fastrand::Rng::with_seed(2);
    let mut callers = Vec::new();
    for n in 0..400 {
        let patience = Duration::from_micros(rng.u64(0..3_000));
        let pool = pool.clone();
        callers.push(tokio::spawn(async move {
            let held = tokio::time::timeout(patience, pool.acquire()).await;
            // Half of those that were served keep their connection for a moment.
            if n % 2 == 0 && held.is_ok() {
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
        }));
    }
    for caller in callers {
        in_time("a caller", caller).await.expect("a caller");
    }
    until(&pool, "nobody waits and nothing is in use", |counts| {
        counts.waiting == 0 && counts.active == 0 && counts.connecting == 0
    })
    .await;

    let mut all = Vec::new();
    for _ in 0..MAX {
        let acquired = in_time("all of the room is there", pool.acquire()).await;
        let mut connection = acquired.expect("all of the room is there");
        backend
            .ping(&mut connection)
            .await
            .expect("what is lent works");
        all.push(connection);
    }
    let counts = pool.counts();
    assert_eq!((counts.total, counts.active), (MAX, MAX), "{counts}");
    drop(all);
    end(backend, pool).await;
}
