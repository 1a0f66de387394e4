//! A pool with something to tell.

use std::time::Duration;

use pool_core::{ConnectFault, Pool, ServerState};
use pool_telemetry::Registry;
use pool_testkit::{Answer, ScriptedManager, settle};

/// A pool to which everything has happened that has a metric, with a name that must be escaped.
pub(crate) async fn lived() -> (Pool<ScriptedManager>, Registry) {
    let (manager, script) = ScriptedManager::new();
    let pool = Pool::builder(manager)
        .name("a \"quoted\" \\ name")
        .limits(1, 3)
        .acquire_timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    script
        .connect()
        .next(1, Answer::Fails(ConnectFault::Transient));
    pool.warmup_pool().await.ok();
    let held = [
        pool.acquire().await.unwrap(),
        pool.acquire().await.unwrap(),
        pool.acquire().await.unwrap(),
    ];
    pool.acquire().await.unwrap_err();
    drop(held);
    pool.set_limits(1, 2).unwrap();
    pool.set_target(Some(2));
    settle().await;
    let mut below = ServerState::new("db.example:27017");
    (below.ready, below.open, below.in_use, below.connecting) = (true, 5, 3, 2);
    (below.cleared, below.connect_failures) = (7, 9);
    script.set_servers(vec![below]);
    let registry = Registry::new();
    registry.register(pool.clone()).unwrap();
    (pool, registry)
}
