//! A listener that sleeps, fails or panics changes neither counts nor the time of checkouts.

use std::cell::Cell;
use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Once};
use std::time::Duration;

use pool_core::{
    ConnectFault, ConnectionEvents, EventHandlers, ListenerResult, PoolCounters, PoolCounts,
    PoolEvent, SharedError, TimeSource,
};
use pool_testkit::{Answer, eventually, in_time, settle};
use tokio::time::Instant;

use crate::support::{denied, end, fill, ms, pool, scripted, secs, take};

#[derive(Clone, Copy, Debug)]
enum Manner {
    Fails,
    Panics,
    Sleeps,
}

struct Bad(Manner);

impl Bad {
    async fn misbehave(&self) -> ListenerResult {
        match self.0 {
            Manner::Fails => Err("the listener fails".into()),
            Manner::Panics => panic!("the listener panics"),
            Manner::Sleeps => {
                tokio::time::sleep(secs(3_600)).await;
                Ok(())
            }
        }
    }
}

#[async_trait::async_trait]
impl ConnectionEvents for Bad {
    async fn on_connect(&self) -> ListenerResult {
        self.misbehave().await
    }

    async fn on_disconnect(&self) -> ListenerResult {
        self.misbehave().await
    }

    async fn on_error(&self, _error: &(dyn Error + Send + Sync)) -> ListenerResult {
        self.misbehave().await
    }

    async fn on_pool_created(&self) -> ListenerResult {
        self.misbehave().await
    }
}

/// A hundred checkouts with everything that listeners are told of; what a clock and the counters
/// say of them.
async fn day(manner: Option<Manner>) -> (Vec<Duration>, PoolCounts, PoolCounters) {
    let (builder, script) = scripted();
    let builder = builder.limits(1, 4).event_capacity(16);
    let pool = match manner {
        Some(manner) => builder.events(Bad(manner)).events(Bad(manner)).build(),
        None => builder.build(),
    }
    .unwrap();
    settle().await;
    let mut times = Vec::new();
    for n in 0..100 {
        if n % 10 == 0 {
            script
                .connect()
                .next(1, Answer::Fails(ConnectFault::Permanent));
        }
        let began = Instant::now();
        let guard = pool.acquire().await;
        times.push(began.elapsed());
        if let Ok(mut guard) = guard {
            if n % 3 == 0 {
                guard.break_off();
            }
            drop(guard);
        }
        settle().await;
        tokio::time::sleep(ms(50)).await;
    }
    let mut counters = pool.pool_metrics().counters;
    counters.listener_failures = 0;
    counters.listener_missed = 0;
    let counts = pool.counts();
    end(pool, &script).await;
    (times, counts, counters)
}

#[tokio::test(start_paused = true)]
async fn bad_listeners_change_neither_counts_nor_the_time_of_checkouts() {
    let (times, counts, counters) = day(None).await;
    assert!(counters.connect_failures > 0 && counters.closed.broken > 10);
    for manner in [Manner::Sleeps, Manner::Fails, Manner::Panics] {
        let (with_times, with_counts, with_counters) = day(Some(manner)).await;
        assert_eq!(with_times, times, "{manner:?}");
        assert_eq!(with_counts, counts, "{manner:?}");
        assert_eq!(with_counters, counters, "{manner:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn checkouts_take_no_time_while_a_listener_sleeps() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 4)
        .events(Bad(Manner::Sleeps))
        .build()
        .unwrap();
    let began = Instant::now();
    for _ in 0..1_000 {
        let mut guard = take(&pool, 1).await.remove(0);
        guard.evict();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
    end(pool, &script).await;
}

/// A listener that failed or panicked is noted and called again.
#[tokio::test(start_paused = true)]
async fn failures_of_listeners_are_counted_and_do_not_end_them() {
    for manner in [Manner::Fails, Manner::Panics] {
        let (builder, script) = scripted();
        let pool = builder.limits(0, 3).events(Bad(manner)).build().unwrap();
        fill(&pool, 3).await;
        eventually("created, and connected three times", || {
            pool.pool_metrics().counters.listener_failures == 4
        })
        .await;
        end(pool, &script).await;
    }
}

/// Closures may block, even on a runtime with one thread; they are called one at a time, in order.
#[tokio::test]
async fn a_closure_that_blocks_its_thread_holds_nobody_up() {
    const PATIENCE: Duration = secs(10);
    let connects = Arc::new(AtomicUsize::new(0));
    let at_once = Arc::new(AtomicUsize::new(0));
    let let_go = Arc::new(AtomicBool::new(false));
    let handler = {
        let (connects, at_once) = (Arc::clone(&connects), Arc::clone(&at_once));
        let let_go = Arc::clone(&let_go);
        move || {
            assert_eq!(at_once.fetch_add(1, Ordering::SeqCst), 0, "two at once");
            connects.fetch_add(1, Ordering::SeqCst);
            let began = std::time::Instant::now();
            while !let_go.load(Ordering::SeqCst) && began.elapsed() < PATIENCE {
                std::thread::sleep(ms(1));
            }
            let_go.store(true, Ordering::SeqCst);
            at_once.fetch_sub(1, Ordering::SeqCst);
        }
    };
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .time_source(TimeSource::Hardware)
        .events(EventHandlers::new().on_connect(handler))
        .build()
        .unwrap();
    let began = Instant::now();
    for _ in 0..100 {
        take(&pool, 1).await.remove(0).evict();
    }
    assert!(began.elapsed() < PATIENCE, "the closure held the pool up");
    eventually("it is called", || connects.load(Ordering::SeqCst) == 1).await;
    let_go.store(true, Ordering::SeqCst);
    eventually("it is called for each", || {
        connects.load(Ordering::SeqCst) == 100
    })
    .await;
    assert_eq!(pool.pool_metrics().counters.listener_failures, 0);
    end(pool, &script).await;
}

/// A slow one misses events, and is told how many it would have had.
#[tokio::test(start_paused = true)]
async fn what_a_slow_listener_misses_is_counted() {
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 1)
        .event_capacity(8)
        .events(Bad(Manner::Sleeps))
        .build()
        .unwrap();
    let mut slow = pool.subscribe();
    for _ in 0..50 {
        take(&pool, 1).await.remove(0).evict();
        settle().await;
    }
    tokio::time::sleep(secs(4_000)).await;
    assert!(pool.pool_metrics().counters.listener_missed > 50);
    let mut seen = 0;
    while slow.missed() == 0 || seen < 8 {
        in_time("an event", slow.next()).await.unwrap();
        seen += 1;
    }
    // Created; fifty times connected and disconnected.
    assert!(slow.missed() >= 80, "{}", slow.missed());
    end(pool, &script).await;
}

/// Closures, and listeners that are added while the pool runs.
#[tokio::test(start_paused = true)]
async fn handlers_are_called_for_what_they_ask_for() {
    let counts: Arc<[AtomicUsize; 5]> = Arc::default();
    let count = |n: usize| {
        let counts = Arc::clone(&counts);
        move || {
            counts[n].fetch_add(1, Ordering::SeqCst);
        }
    };
    let on_error = count(2);
    let (builder, script) = scripted();
    let pool = builder
        .limits(0, 2)
        .events(
            EventHandlers::new()
                .on_connect(count(0))
                .on_disconnect(count(1))
                .on_error(move |error| {
                    assert!(error.to_string().contains("says the script"), "{error}");
                    on_error();
                })
                .on_pool_created(count(3)),
        )
        .build()
        .unwrap();
    settle().await;
    pool.add_listener(EventHandlers::new().on_connect(count(4)));
    script
        .connect()
        .next(1, Answer::Fails(ConnectFault::Permanent));
    denied(pool.acquire().await);
    tokio::time::sleep(ms(20)).await;
    let mut held = take(&pool, 2).await;
    held[0].evict();
    drop(held);
    let seen = || {
        counts
            .iter()
            .map(|count| count.load(Ordering::SeqCst))
            .collect::<Vec<_>>()
    };
    eventually("each is called for its own", || seen() == [2, 1, 1, 1, 2]).await;
    settle().await;
    assert_eq!(seen(), [2, 1, 1, 1, 2], "and not again");
    end(pool, &script).await;
}

/// The story of a connection as a subscription tells it.
#[tokio::test(start_paused = true)]
async fn a_subscription_tells_what_happened_in_order() {
    let (pool, script) = pool(0, 1);
    let mut events = pool.subscribe();
    script.connect().takes(ms(30));
    script
        .connect()
        .next(1, Answer::Fails(ConnectFault::Transient));
    drop(take(&pool, 1).await);
    script.cut_all();
    tokio::time::sleep(secs(1)).await;
    drop(take(&pool, 1).await);
    let mut story = Vec::new();
    while story.len() < 5 {
        story.push(match in_time("an event", events.next()).await.unwrap() {
            PoolEvent::ConnectFailed { error, fault } => format!("{fault:?}: {error}"),
            PoolEvent::Connected { id, took } => format!("{id} in {took:?}"),
            PoolEvent::ConnectionFailed { id, error } => format!("{id} failed: {error}"),
            PoolEvent::Disconnected { id, reason } => format!("{id} closed: {reason}"),
            other => format!("{other:?}"),
        });
    }
    assert_eq!(
        story,
        [
            "Transient: connection refused, says the script",
            "2 in 30ms",
            "2 failed: the line is cut",
            "2 closed: invalid",
            "3 in 30ms",
        ]
    );
    end(pool, &script).await;
}

/// A subscription as a stream ends with the pool.
#[tokio::test(start_paused = true)]
async fn a_subscription_is_a_stream_that_ends_with_the_pool() {
    use futures_util::StreamExt as _;
    let (pool, script) = pool(0, 2);
    let events = pool.subscribe().into_stream();
    fill(&pool, 2).await;
    end(pool, &script).await;
    let events: Vec<_> = in_time("the end", events.collect()).await;
    let connected = events
        .iter()
        .filter(|event| matches!(event, PoolEvent::Connected { .. }));
    assert_eq!(connected.count(), 2);
}

/// An error that listeners are given is the error itself, with its type.
#[tokio::test(start_paused = true)]
async fn a_connect_error_reaches_listeners_whole() {
    let (pool, script) = pool(0, 1);
    let mut events = pool.subscribe();
    script
        .connect()
        .next(1, Answer::Fails(ConnectFault::Permanent));
    denied(pool.acquire().await);
    let error: SharedError = loop {
        let event = in_time("an event", events.next()).await.unwrap();
        if let PoolEvent::ConnectFailed { error, .. } = event {
            break error;
        }
    };
    let error = error.downcast_ref::<pool_testkit::ScriptedError>();
    assert_eq!(
        error,
        Some(&pool_testkit::ScriptedError::Told(ConnectFault::Permanent))
    );
    end(pool, &script).await;
}

/// Who writes the log is foreign code as well.
struct BadSubscriber;

thread_local! {
    /// How often it has panicked on this thread, if it is to.
    static PANICS: Cell<Option<u32>> = const { Cell::new(None) };
}

impl BadSubscriber {
    /// Begins to panic on this thread.
    ///
    /// The subscriber is the one of the process: with one for this thread alone, what is traced first
    /// on another thread would be switched off for all of them.
    fn panic_here() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            tracing::subscriber::set_global_default(Self).unwrap();
            tracing::callsite::rebuild_interest_cache();
        });
        PANICS.set(Some(0));
    }
}

impl tracing::Subscriber for BadSubscriber {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        if event.metadata().target() == "pool_core::shared"
            && let Some(panics) = PANICS.get()
        {
            PANICS.set(Some(panics + 1));
            panic!("the subscriber panics");
        }
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// A subscriber that panics costs neither a connection, nor a caller its turn.
#[tokio::test(start_paused = true)]
async fn a_subscriber_that_panics_changes_nothing() {
    BadSubscriber::panic_here();
    let (pool, script) = pool(0, 2);
    for round in 1..=3 {
        let mut held = take(&pool, 2).await;
        assert_eq!(script.opened(), round * 2);
        held.iter_mut().for_each(|guard| guard.evict());
        drop(held);
        eventually("both are closed", || pool.counts().total == 0).await;
    }
    end(pool, &script).await;
    assert!(PANICS.take() > Some(0), "it was asked to write");
}
