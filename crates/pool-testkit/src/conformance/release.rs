//! Contract 7: a return does no I/O and works anywhere.

use super::backend::{Backend, DEADLINE, build, end, in_time, skipped, until};

/// A thousand checkouts share one connection, a guard is dropped on a thread without a runtime,
/// a panic gives its connection back, and one that was killed in use costs no room.
///
/// # Panics
///
/// The contract does not hold.
///
/// # Cancel safety
///
/// Dropped, it leaves its callers and its pool behind.
pub async fn a_return_costs_nothing_and_works_anywhere<B: Backend>(backend: &B) {
    let pool = build(backend.builder().limits(0, 2).acquire_timeout(DEADLINE));
    for _ in 0..1_000 {
        let connection = in_time("a checkout", pool.acquire())
            .await
            .expect("a checkout");
        drop(connection);
        // A clean one is idle before `drop` returns: no task had to look at it.
        assert_eq!(pool.counts().active, 0);
    }
    assert_eq!(pool.pool_metrics().counters.opened, 1);

    let far = in_time("a checkout", pool.acquire_owned())
        .await
        .expect("a checkout");
    std::thread::spawn(move || drop(far))
        .join()
        .expect("a drop outside a runtime");
    until(&pool, "it is back", |counts| {
        (counts.idle, counts.active) == (1, 0)
    })
    .await;

    let panicking = {
        let pool = pool.clone();
        tokio::spawn(async move {
            let _held = pool.acquire().await.expect("a checkout");
            panic!("a caller panics while it holds a connection");
        })
    };
    let outcome = in_time("the caller that panics", panicking).await;
    assert!(outcome.is_err_and(|error| error.is_panic()));
    until(&pool, "it is back", |counts| counts.active == 0).await;

    for _ in 0..3 {
        let mut connection = in_time("a checkout", pool.acquire())
            .await
            .expect("a checkout");
        if !backend.kill(&mut connection).await {
            skipped("its connections cannot be killed");
            break;
        }
        backend
            .ping(&mut connection)
            .await
            .expect_err("it has been killed");
    }
    let mut all = Vec::new();
    for _ in 0..2 {
        let mut connection = in_time("all of the room", pool.acquire())
            .await
            .expect("an acquire");
        backend
            .ping(&mut connection)
            .await
            .expect("what is lent works");
        all.push(connection);
    }
    drop(all);
    end(backend, pool).await;
}
