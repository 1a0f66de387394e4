//! Every public future is `Send`, and every public type is `Send` and, where that is right,
//! `Sync`: checked by the compiler, also for connections that are `Send` only.

use std::cell::Cell;
use std::time::Duration;

use pool_core::sizing::reactive::{Guess, Queue, Worth};
use pool_core::sizing::{
    AdaptiveConfig, AdaptivePolicy, Brake, Decision, DecisionRecord, Explanation,
    InvalidAdaptiveConfig, InvalidDynamicPoolConfig, Observation, SizingMode, SizingPolicy,
    SizingProblem, SizingWarning, ThresholdPolicy,
};
use pool_core::{
    AcquireError, AcquireErrorKind, BuildError, BuildProblem, CloseReason, ClosedCounters,
    ConnectFault, ConnectionEvents, ConnectionInfo, ConnectionManager, ControlledDelay,
    DrainReport, DynamicPoolConfig, DynamicSizing as _, EventHandlers, HeldSince, Histograms,
    InvalidLimits, Leak, Limits, Liveness, OwnedPooledConnection, Pool, PoolBuilder, PoolCounters,
    PoolCounts, PoolEvent, PoolEvents, PoolMetrics, PooledConnection, Quantiles, ReleaseCheck,
    Step, TimeSource, WarmupError, WarmupReport,
};

/// A backend whose connections may be moved between threads and not shared.
struct Moving;

impl ConnectionManager for Moving {
    type Connection = Cell<u32>;
    type Error = std::io::Error;

    async fn connect(&self) -> Result<Cell<u32>, std::io::Error> {
        Ok(Cell::new(0))
    }

    async fn validate(&self, _connection: &mut Cell<u32>) -> Result<(), std::io::Error> {
        Ok(())
    }
}

type Scripted = pool_testkit::ScriptedManager;

const fn send<T: Send + ?Sized>() {}
const fn sync<T: Sync + ?Sized>() {}
fn is_send<T: Send>(value: T) -> T {
    value
}

macro_rules! send_and_sync {
    ($($type:ty),* $(,)?) => {
        $( send::<$type>(); sync::<$type>(); )*
    };
}

#[test]
fn every_public_type_is_send_and_sync_where_that_is_right() {
    send_and_sync!(
        Pool<Moving>,
        Pool<Scripted>,
        OwnedPooledConnection<Scripted>,
        PooledConnection<'static, Scripted>,
        AcquireError,
        AcquireErrorKind,
        AdaptiveConfig,
        AdaptivePolicy,
        Brake,
        BuildError,
        BuildProblem,
        CloseReason,
        ClosedCounters,
        ConnectFault,
        ConnectionInfo,
        ControlledDelay,
        Decision,
        DecisionRecord,
        DrainReport,
        DynamicPoolConfig,
        EventHandlers,
        Explanation,
        Guess,
        HeldSince,
        Histograms,
        InvalidAdaptiveConfig,
        InvalidDynamicPoolConfig,
        InvalidLimits,
        Leak,
        Limits,
        Liveness,
        Observation,
        PoolCounters,
        PoolCounts,
        PoolEvent,
        PoolEvents,
        PoolMetrics,
        Quantiles,
        Queue,
        ReleaseCheck,
        SizingMode,
        SizingProblem,
        SizingWarning,
        Step,
        ThresholdPolicy,
        TimeSource,
        WarmupError,
        WarmupReport,
        Worth,
        dyn ConnectionEvents,
        dyn SizingPolicy,
    );
    send::<PoolBuilder<Moving>>();
    // Guards can be sent wherever their connections can.
    send::<OwnedPooledConnection<Moving>>();
    send::<PooledConnection<'static, Moving>>();
    #[cfg(feature = "bb8")]
    send_and_sync!(pool_core::bb8::Bb8Manager<Bb8>);
    #[cfg(feature = "bb8")]
    send_and_sync!(pool_core::bb8::Bb8Manager<Unlucky>);
    #[cfg(feature = "bb8")]
    send_and_sync!(pool_core::bb8::Bb8Error);
}

#[tokio::test]
async fn every_public_future_is_send() {
    let pool = Pool::builder(Moving).limits(1, 2).build().unwrap();
    let mut events = pool.subscribe();
    is_send(pool.warmup_pool()).await.unwrap();
    let guard = is_send(pool.acquire()).await.unwrap();
    // Held over an await in a task that moves between threads.
    let holder = is_send(async move {
        tokio::task::yield_now().await;
        guard.set(1);
        guard
    });
    drop(holder.await);
    drop(
        is_send(pool.acquire_timeout(Duration::from_secs(1)))
            .await
            .unwrap(),
    );
    let owned = is_send(pool.acquire_owned()).await.unwrap();
    tokio::spawn(async move { drop(owned) }).await.unwrap();
    pool.set_dynamic_pool_config(DynamicPoolConfig::default())
        .unwrap();
    is_send(events.next()).await.unwrap();
    drop(is_send(events.into_stream()));
    let report = is_send(pool.close(Duration::from_secs(1))).await;
    assert!(report.clean, "{report}");
}

/// A caller can be a task of its own: the acquire is `'static` without a lifetime from the pool.
#[tokio::test]
async fn an_owned_acquire_outlives_the_handle_it_came_from() {
    let pool = Pool::builder(Moving).limits(0, 2).build().unwrap();
    let acquire = pool.clone().acquire_owned();
    let guard = tokio::spawn(acquire).await.unwrap().unwrap();
    guard.set(7);
    assert_eq!(guard.get(), 7);
    drop(guard);
    assert_eq!(pool.counts().idle, 1);
}

/// bb8's own kind of manager, on the engine.
#[cfg(feature = "bb8")]
struct Bb8;

#[cfg(feature = "bb8")]
impl bb8::ManageConnection for Bb8 {
    type Connection = Cell<u32>;
    type Error = std::io::Error;

    async fn connect(&self) -> Result<Cell<u32>, std::io::Error> {
        Ok(Cell::new(0))
    }

    async fn is_valid(&self, _connection: &mut Cell<u32>) -> Result<(), std::io::Error> {
        Ok(())
    }

    fn has_broken(&self, connection: &mut Cell<u32>) -> bool {
        connection.get() > 1
    }
}

/// A manager of bb8 runs unchanged, and is resized, which bb8 cannot do.
#[cfg(feature = "bb8")]
#[tokio::test]
async fn a_bb8_manager_runs_on_the_engine_and_is_resized() {
    let manager = pool_core::bb8::Bb8Manager::new(Bb8);
    let pool = Pool::builder(manager).limits(0, 1).build().unwrap();
    let first = pool.acquire().await.unwrap();
    pool.set_limits(0, 2).unwrap();
    let second = pool.acquire().await.unwrap();
    first.set(2);
    drop((first, second));
    pool_testkit::eventually("the broken one is closed", || pool.counts().total == 1).await;
    assert_eq!(pool.pool_metrics().counters.closed.broken, 1);
    assert!(pool.close(Duration::from_secs(1)).await.clean);
}

/// A manager of bb8 whose errors are no `std::error::Error`, which bb8 does not ask for.
#[cfg(feature = "bb8")]
struct Unlucky;

#[cfg(feature = "bb8")]
impl bb8::ManageConnection for Unlucky {
    type Connection = u32;
    type Error = String;

    async fn connect(&self) -> Result<u32, String> {
        Err("no such tenant".to_owned())
    }

    async fn is_valid(&self, _connection: &mut u32) -> Result<(), String> {
        Ok(())
    }

    fn has_broken(&self, _connection: &mut u32) -> bool {
        false
    }
}

/// Its text reaches the caller, and what is said of its errors holds.
#[cfg(feature = "bb8")]
#[tokio::test]
async fn a_bb8_manager_may_have_any_error() {
    let manager = pool_core::bb8::Bb8Manager::with_any_error(Unlucky).classify_with(|error| {
        assert_eq!(error, "no such tenant");
        ConnectFault::Permanent
    });
    let pool = Pool::builder(manager).limits(0, 1).build().unwrap();
    let Err(error) = pool.acquire().await else {
        panic!("nothing can be opened")
    };
    assert_eq!(error.kind(), AcquireErrorKind::Connect);
    assert!(error.to_string().contains("\"no such tenant\""), "{error}");
    assert!(pool.close(Duration::from_secs(1)).await.clean);
}

/// An error that is a `std::error::Error` is still there, with its type.
#[cfg(feature = "bb8")]
#[tokio::test]
async fn an_error_of_a_bb8_manager_keeps_its_type() {
    struct Refused;

    impl bb8::ManageConnection for Refused {
        type Connection = u32;
        type Error = std::io::Error;

        async fn connect(&self) -> Result<u32, std::io::Error> {
            Err(std::io::ErrorKind::ConnectionRefused.into())
        }

        async fn is_valid(&self, _connection: &mut u32) -> Result<(), std::io::Error> {
            Ok(())
        }

        fn has_broken(&self, _connection: &mut u32) -> bool {
            false
        }
    }

    let manager =
        pool_core::bb8::Bb8Manager::new(Refused).classify_with(|_| ConnectFault::Permanent);
    let pool = Pool::builder(manager).limits(0, 1).build().unwrap();
    let Err(error) = pool.acquire().await else {
        panic!("nothing can be opened")
    };
    let (_, cause) = error.last_connect_error().expect("a connect failed");
    let source = cause.source().expect("the manager's own error");
    let refused = source.downcast_ref::<std::io::Error>().expect("as it was");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let said = error.to_string();
    assert_eq!(said.matches("connection refused").count(), 1, "{said}");
    assert!(pool.close(Duration::from_secs(1)).await.clean);
}
