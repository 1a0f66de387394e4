//! Small words that the stories share.

use std::future::Future;
use std::time::Duration;

use pool_core::{
    AcquireError, DynamicPoolConfig, OwnedPooledConnection, PoolBuilder, PoolCounts, TimeSource,
};
use pool_testkit::{Script, ScriptedManager, eventually, in_time, settle};
use tokio::task::JoinHandle;

pub(crate) type Pool = pool_core::Pool<ScriptedManager>;
pub(crate) type Guard = OwnedPooledConnection<ScriptedManager>;
pub(crate) type Caller = JoinHandle<Result<Guard, AcquireError>>;

/// From 2 to 20, two at a time, every second: for stories of sizing that are not about the numbers.
pub(crate) const CONFIG: DynamicPoolConfig = DynamicPoolConfig {
    enabled: true,
    min_size: 2,
    max_size: 20,
    scale_up_threshold: 70.0,
    scale_down_threshold: 30.0,
    scale_up_increment: 2,
    scale_down_increment: 2,
    evaluation_interval: 1_000,
};

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A builder on `tokio`'s clock in which nothing ends by age; the story says what does.
pub(crate) fn scripted() -> (PoolBuilder<ScriptedManager>, Script) {
    let (manager, script) = ScriptedManager::new();
    let builder = Pool::builder(manager)
        .time_source(TimeSource::Tokio)
        .idle_timeout(None)
        .max_lifetime(None)
        .seed(7);
    (builder, script)
}

/// A pool within limits, and nothing else set.
#[track_caller]
pub(crate) fn pool(min: u32, max: u32) -> (Pool, Script) {
    let (builder, script) = scripted();
    (builder.limits(min, max).build().unwrap(), script)
}

/// `n` connections, held.
#[track_caller]
pub(crate) fn take(pool: &Pool, n: usize) -> impl Future<Output = Vec<Guard>> + use<> {
    let acquires: Vec<_> = (0..n).map(|_| pool.acquire_owned()).collect();
    async move {
        let mut guards = Vec::new();
        for acquire in acquires {
            guards.push(in_time("an acquire", acquire).await.unwrap());
        }
        guards
    }
}

/// Opens `n` connections and leaves them idle.
pub(crate) async fn fill(pool: &Pool, n: usize) {
    drop(take(pool, n).await);
    settle().await;
    let counts = pool.counts();
    assert_eq!((counts.idle as usize, counts.active), (n, 0), "{counts}");
}

/// `n` callers in line, one behind the other.
pub(crate) async fn line_up(pool: &Pool, n: usize) -> Vec<Caller> {
    let mut callers = Vec::new();
    for _ in 0..n {
        let waiting = pool.counts().waiting;
        callers.push(tokio::spawn(pool.acquire_owned()));
        settle().await;
        assert_eq!(pool.counts().waiting, waiting + 1, "{}", pool.counts());
    }
    callers
}

/// What a caller was given.
#[track_caller]
pub(crate) fn served(caller: Caller) -> impl Future<Output = Guard> {
    let at = std::panic::Location::caller();
    async move {
        match in_time("a caller's turn", caller).await.unwrap() {
            Ok(guard) => guard,
            Err(error) => panic!("{at}: {error}"),
        }
    }
}

/// Why a caller was given nothing.
#[track_caller]
pub(crate) fn refused(caller: Caller) -> impl Future<Output = AcquireError> {
    let at = std::panic::Location::caller();
    async move {
        match in_time("a caller's refusal", caller).await.unwrap() {
            Ok(guard) => panic!("{at}: served with {guard:?}"),
            Err(error) => error,
        }
    }
}

/// Why an acquire was given nothing.
#[track_caller]
pub(crate) fn denied<T>(acquired: Result<T, AcquireError>) -> AcquireError {
    match acquired {
        Ok(_) => panic!("a connection was lent"),
        Err(error) => error,
    }
}

/// (total, active, idle, connecting, closing, waiting).
#[track_caller]
pub(crate) fn check(pool: &Pool, expected: (u32, u32, u32, u32, u32, u32)) {
    let PoolCounts {
        total,
        active,
        idle,
        connecting,
        closing,
        waiting,
        ..
    } = pool.counts();
    assert_eq!(
        (total, active, idle, connecting, closing, waiting),
        expected,
        "(total, active, idle, connecting, closing, waiting)"
    );
}

/// Closes the pool and sees that nothing is left at either end.
pub(crate) async fn end(pool: Pool, script: &Script) {
    let report = pool.close(secs(20)).await;
    assert!(report.clean, "{report}");
    check(&pool, (0, 0, 0, 0, 0, 0));
    drop(pool);
    eventually("the server has no connection left", || script.open() == 0).await;
    assert_eq!(script.opened(), script.closed());
}
