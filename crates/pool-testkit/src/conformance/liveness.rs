//! Contract 6, for backends whose connections can be killed.

use pool_core::Liveness;

use super::backend::{Backend, DEADLINE, build, end, in_time, skipped};

/// A connection that died while it was idle is found by the check and replaced, and the caller
/// notices nothing; one that died in a caller's hands is not lent again.
///
/// Where connections cannot be killed this checks that checks let the living pass.
///
/// # Panics
///
/// The contract does not hold.
///
/// # Cancel safety
///
/// Dropped, it leaves its callers and its pool behind.
pub async fn a_dead_connection_is_replaced<B: Backend>(backend: &B) {
    let pool = build(
        backend
            .builder()
            .limits(0, 2)
            .liveness(Liveness::Always)
            .acquire_timeout(DEADLINE),
    );
    let mut first = in_time("an acquire", pool.acquire())
        .await
        .expect("an acquire");
    let id = first.id();
    backend.ping(&mut first).await.expect("what is lent works");
    drop(first);

    let mut again = in_time("an acquire", pool.acquire())
        .await
        .expect("an acquire");
    assert_eq!(again.id(), id, "a living connection passes its check");
    if !backend.kill(&mut again).await {
        skipped("its connections cannot be killed");
        drop(again);
        end(backend, pool).await;
        return;
    }
    drop(again);
    let mut fresh = in_time("a replacement", pool.acquire())
        .await
        .expect("a replacement");
    assert_ne!(fresh.id(), id);
    backend.ping(&mut fresh).await.expect("what is lent works");

    // Killed in use: the user's error is the end of it.
    let id = fresh.id();
    assert!(backend.kill(&mut fresh).await);
    backend
        .ping(&mut fresh)
        .await
        .expect_err("it has been killed");
    drop(fresh);
    let mut all = Vec::new();
    for _ in 0..2 {
        let mut connection = in_time("all of the room", pool.acquire())
            .await
            .expect("an acquire");
        assert_ne!(connection.id(), id, "a dead connection was lent");
        backend
            .ping(&mut connection)
            .await
            .expect("what is lent works");
        all.push(connection);
    }
    drop(all);
    end(backend, pool).await;
}
