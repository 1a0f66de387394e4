//! Creating everything before the first caller.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use service_container::{BoxError, Container, ResolveErrorKind, Resolver, infallible, sync};
use tokio::time::{Instant, sleep};

use crate::support::Oops;

struct A;
struct B;
struct C;
struct D;
struct E;

async fn after_a_second<T>(service: T) -> T {
    sleep(Duration::from_secs(1)).await;
    service
}

#[tokio::test(start_paused = true)]
async fn what_does_not_need_each_other_is_created_together() {
    let mut builder = Container::builder();
    builder.singleton(infallible(|_: Arc<D>, _: Arc<B>| after_a_second(C)));
    builder.singleton(infallible(|| after_a_second(A)));
    builder.singleton(infallible(|_: Arc<A>| after_a_second(B)));
    builder.transient(sync(|_: Arc<E>| D));
    builder.singleton(infallible(|| after_a_second(E)));
    builder.scoped(infallible(|| after_a_second(1_u8)));
    builder.value(2_u16);
    let container = builder.build().unwrap();
    let started = Instant::now();
    let report = container.warm_up().await.unwrap();
    assert_eq!(started.elapsed(), Duration::from_secs(3));
    assert_eq!(report.elapsed, Duration::from_secs(3));
    let mut names: Vec<_> = report
        .services
        .iter()
        .map(|row| row.service.short())
        .collect();
    names[..2].sort();
    assert_eq!(names, ["A", "E", "B", "C"]);
    assert!(
        report
            .services
            .iter()
            .all(|row| row.took == Duration::from_secs(1))
    );
    assert!(container.ready::<C>().is_some());
    // Warm already.
    assert_eq!(container.warm_up().await.unwrap().elapsed, Duration::ZERO);
}

#[tokio::test]
async fn a_failure_blocks_only_what_needs_it_and_is_tried_once() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&attempts);
    let mut builder = Container::builder();
    builder.singleton(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        async { Err::<A, _>(Oops("down")) }
    });
    builder.singleton(sync(|_: Arc<A>| B));
    builder.singleton(sync(|_: Arc<A>, _: Arc<B>| C));
    builder.singleton(sync(|| D));
    builder.singleton(|resolver: Resolver| async move {
        // Not declared, so found out here.
        resolver.get::<String>().await?;
        Ok::<_, BoxError>(E)
    });
    let container = builder.build().unwrap();
    let error = container.warm_up().await.unwrap_err();
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
    let mut kinds: Vec<_> = error
        .failures
        .iter()
        .map(|failure| (failure.service().short(), failure.kind()))
        .collect();
    kinds.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(
        kinds,
        [
            ("A".to_owned(), ResolveErrorKind::Failed),
            ("String".to_owned(), ResolveErrorKind::Missing)
        ]
    );
    let blocked: Vec<_> = error
        .blocked
        .iter()
        .map(|service| service.short())
        .collect();
    assert_eq!(blocked, ["B", "C"]);
    assert_eq!(error.report.services.len(), 1);
    assert!(error.source().is_some());
    let text = error.to_string();
    for part in [
        "2 failed, 1 created",
        "its factory failed: down",
        "warm_up::B was not begun",
    ] {
        assert!(text.contains(part), "`{part}` not in {text}");
    }
}

#[tokio::test(start_paused = true)]
async fn warming_up_goes_on_without_its_caller() {
    let mut builder = Container::builder();
    builder.singleton(infallible(|| after_a_second(A)));
    builder.singleton(infallible(|_: Arc<A>| after_a_second(B)));
    let container = builder.build().unwrap();
    let half = Duration::from_millis(500);
    tokio::time::timeout(half, container.warm_up())
        .await
        .unwrap_err();
    sleep(Duration::from_secs(5)).await;
    assert!(container.ready::<A>().is_some(), "what was begun ends");
    assert!(
        container.ready::<B>().is_none(),
        "what was not begun is not"
    );
}
