//! Creating services, many at once and under bad conditions.

use std::error::Error as _;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use service_container::{
    BoxError, Container, Dependencies, Factory, Lazy, Preparation, ResolveErrorKind, Resolver,
    infallible, sync,
};
use tokio::time::sleep;

use crate::support::Oops;

struct A;
struct B;
struct C;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_first_callers_create_once() {
    for round in 0..20 {
        let created = Arc::new(AtomicUsize::new(0));
        let mut builder = Container::builder();
        let counter = Arc::clone(&created);
        builder.singleton(infallible(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::task::yield_now().await;
                A
            }
        }));
        let counter = Arc::clone(&created);
        builder.scoped(infallible(move |_: Arc<A>| {
            counter.fetch_add(1, Ordering::Relaxed);
            async move {
                tokio::task::yield_now().await;
                B
            }
        }));
        let container = builder.build().unwrap();
        let scope = container.child("request").open().unwrap();
        let start = Arc::new(tokio::sync::Barrier::new(1000));
        let callers = (0..1000).map(|index| {
            let (scope, start) = (scope.clone(), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                if (index + round) % 2 == 0 {
                    Arc::as_ptr(&scope.get::<A>().await.unwrap()).addr()
                } else {
                    Arc::as_ptr(&scope.get::<B>().await.unwrap()).addr()
                }
            })
        });
        let mut addresses: Vec<_> = join_all(callers)
            .await
            .into_iter()
            .map(Result::unwrap)
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert!(
            addresses.len() <= 2,
            "services without size may share an address"
        );
        assert_eq!(created.load(Ordering::Relaxed), 2);
        scope.dispose().await.unwrap();
        container.dispose().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_callers_share_one_failure_and_the_next_starts_afresh() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let gate = Arc::new(tokio::sync::Notify::new());
    let mut builder = Container::builder();
    let (counter, opened) = (Arc::clone(&attempts), Arc::clone(&gate));
    builder.singleton(move || {
        let attempt = counter.fetch_add(1, Ordering::Relaxed);
        let opened = Arc::clone(&opened);
        async move {
            if attempt > 0 {
                return Ok(A);
            }
            opened.notified().await;
            Err(Oops("refused"))
        }
    });
    let container = builder.build().unwrap();
    let arrived = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let (container, arrived) = (container.clone(), Arc::clone(&arrived));
            tokio::spawn(async move {
                let mut asked = Box::pin(container.get::<A>());
                let first = futures_util::poll!(&mut asked);
                arrived.fetch_add(1, Ordering::SeqCst);
                assert!(first.is_pending());
                asked.await.map(drop)
            })
        })
        .collect();
    while arrived.load(Ordering::SeqCst) < 1000 {
        tokio::task::yield_now().await;
    }
    gate.notify_one();
    for caller in join_all(callers).await {
        let error = caller.unwrap().unwrap_err();
        assert_eq!(error.kind(), ResolveErrorKind::Failed);
        assert_eq!(error.source().unwrap().to_string(), "refused");
    }
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
    container.get::<A>().await.unwrap();
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_first_caller_does_not_cancel_the_others() {
    let created = Arc::new(AtomicUsize::new(0));
    let mut builder = Container::builder();
    let [a, b] = [Arc::clone(&created), Arc::clone(&created)];
    builder.singleton(infallible(move || {
        a.fetch_add(1, Ordering::Relaxed);
        async {
            sleep(Duration::from_secs(1)).await;
            A
        }
    }));
    builder.scoped(infallible(move || {
        b.fetch_add(1, Ordering::Relaxed);
        async {
            sleep(Duration::from_secs(1)).await;
            B
        }
    }));
    let container = builder.build().unwrap();
    let scope = container.child("request").open().unwrap();
    for _ in 0..2 {
        let first = tokio::spawn({
            let scope = scope.clone();
            async move { tokio::join!(scope.get::<A>(), scope.get::<B>()).0.map(drop) }
        });
        tokio::task::yield_now().await;
        let others = join_all((0..50).map(|_| async {
            let (a, b) = tokio::join!(scope.get::<A>(), scope.get::<B>());
            assert!(a.is_ok() && b.is_ok());
        }));
        let cancel = async {
            sleep(Duration::from_millis(10)).await;
            first.abort();
        };
        tokio::join!(others, cancel);
    }
    assert_eq!(created.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_scoped_creation_everybody_left_is_dropped_and_begins_anew() {
    struct Guard(Arc<AtomicUsize>);
    impl Drop for Guard {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let dropped = Arc::new(AtomicUsize::new(0));
    let mut builder = Container::builder();
    let guards = Arc::clone(&dropped);
    builder.scoped(infallible(move || {
        let guard = Guard(Arc::clone(&guards));
        async move {
            sleep(Duration::from_secs(1)).await;
            drop(guard);
            A
        }
    }));
    let container = builder.build().unwrap();
    let scope = container.child("request").open().unwrap();
    for attempt in 1..=3 {
        let short = Duration::from_millis(900);
        assert!(tokio::time::timeout(short, scope.get::<A>()).await.is_err());
        assert_eq!(dropped.load(Ordering::Relaxed), attempt);
    }
    scope.get::<A>().await.unwrap();
    // Nothing is in flight any more, so closing waits for nothing.
    assert_eq!(scope.dispose().await.unwrap().elapsed, Duration::ZERO);
}

#[tokio::test]
async fn an_error_names_the_way_and_keeps_its_source() {
    let mut builder = Container::builder();
    builder.singleton(|| async { Err::<A, _>(Oops("no such host")) });
    builder.transient(sync(|_: Arc<A>| B));
    builder.singleton(|resolver: Resolver| async move {
        resolver.get::<B>().await?;
        Ok::<_, BoxError>(C)
    });
    let container = builder.build().unwrap();
    let error = container.get::<C>().await.map(drop).unwrap_err();
    let path: Vec<_> = error.path().iter().map(|service| service.short()).collect();
    assert_eq!(path, ["C", "B", "A"]);
    assert_eq!(
        (error.requested().short(), error.service().short()),
        ("C".into(), "A".into())
    );
    assert_eq!(error.kind(), ResolveErrorKind::Failed);
    assert_eq!(error.scope(), &"container");
    assert!(error.source().unwrap().is::<Oops>());
    assert_eq!(
        error.to_string(),
        "cannot resolve it::creation::C -> it::creation::B -> it::creation::A in scope \
         `container`: its factory failed"
    );
}

#[tokio::test]
async fn what_is_not_there_says_what_is() {
    trait Greet: Send + Sync {}
    impl Greet for B {}
    impl Greet for C {}
    let mut builder = Container::builder();
    builder.named("orders").value(A);
    builder.named("billing").value(A);
    builder.value(B).provides::<dyn Greet>(|it| it);
    builder.value(C).provides::<dyn Greet>(|it| it);
    let container = builder.build().unwrap();
    let error = container.get::<A>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Missing);
    assert!(
        error.to_string().ends_with("names it has: billing, orders"),
        "{error}"
    );
    let error = container
        .get_named::<A>("refunds")
        .await
        .map(drop)
        .unwrap_err();
    assert!(error.to_string().contains("A[refunds]"), "{error}");
    let error = container.get::<dyn Greet>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Ambiguous);
    assert!(
        error.to_string().contains("2 services provide it"),
        "{error}"
    );
    assert_eq!(container.get_all::<dyn Greet>().await.unwrap().len(), 2);
    assert_eq!(container.get_all::<A>().await.unwrap().len(), 2);
    assert_eq!(container.get_all::<u8>().await.unwrap().len(), 0);
}

#[test]
fn without_a_runtime_what_exists_is_there_and_the_rest_is_an_error() {
    let mut builder = Container::builder();
    builder.value(A);
    builder.singleton(sync(|| B));
    builder.transient(sync(|| C));
    let container = builder.build().unwrap();
    assert!(container.ready::<A>().is_some());
    container.get::<A>().now_or_never().unwrap().unwrap();
    let error = container
        .get::<B>()
        .now_or_never()
        .unwrap()
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::NoRuntime);
    let error = container
        .get::<C>()
        .now_or_never()
        .unwrap()
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::NoRuntime);
    // Nothing has a disposer, so there is nothing to wait for.
    container.dispose().now_or_never().unwrap().unwrap();
}

#[test]
fn a_singleton_lives_on_the_runtime_of_the_container() {
    struct Server(tokio::task::JoinHandle<()>);
    let long = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let mut builder = Container::builder();
    builder.runtime(long.handle().clone());
    builder.singleton(sync(|| Server(tokio::spawn(std::future::pending()))));
    let container = builder.build().unwrap();
    let short = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let server = short.block_on(container.get::<Server>()).unwrap();
    drop(short);
    assert!(!server.0.is_finished());
    server.0.abort();
}

#[test]
fn a_runtime_that_ends_fails_what_it_was_creating_and_another_can_begin() {
    let first = AtomicBool::new(true);
    let mut builder = Container::builder();
    builder.singleton(infallible(move || {
        let stuck = first.swap(false, Ordering::Relaxed);
        async move {
            if stuck {
                std::future::pending::<()>().await;
            }
            A
        }
    }));
    let container = builder.build().unwrap();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let ending = runtime();
    let mut asked = Box::pin(container.get::<A>());
    ending.block_on(async {
        assert!(futures_util::poll!(&mut asked).is_pending());
        tokio::task::yield_now().await;
    });
    drop(ending);
    let next = runtime();
    let error = next.block_on(asked).map(drop).unwrap_err();
    assert!(
        error
            .source()
            .unwrap()
            .to_string()
            .contains("shutting down"),
        "{error:?}"
    );
    next.block_on(container.get::<A>()).unwrap();
    next.block_on(container.dispose()).unwrap();
}

#[tokio::test]
async fn mutual_need_works_when_one_side_waits_until_it_is_used() {
    struct Left(Lazy<Right>);
    struct Right(Arc<Left>);
    let mut builder = Container::builder();
    builder.singleton(sync(Left));
    builder.singleton(sync(Right));
    let container = builder.build().unwrap();
    let right = container.get::<Right>().await.unwrap();
    let left = container.get::<Left>().await.unwrap();
    assert!(Arc::ptr_eq(left.0.get().await.unwrap(), &right));
    assert!(Arc::ptr_eq(&right.0, &left));
    assert!(Arc::ptr_eq(left.0.clone().ready().unwrap(), &right));
    container.dispose().await.unwrap();
}

#[tokio::test]
async fn a_kept_resolver_keeps_nothing_alive_and_causes_no_false_cycle() {
    struct Plugins(Resolver);
    struct Plugin(#[expect(dead_code, reason = "held, as a dependency is")] Arc<Plugins>);
    let mut builder = Container::builder();
    builder.singleton(sync(Plugins));
    builder.singleton(sync(Plugin));
    let container = builder.build().unwrap();
    let plugins = container.get::<Plugins>().await.unwrap();
    // It was created by `Plugins`' resolver and needs `Plugins`, which is done: no cycle.
    plugins.0.get::<Plugin>().await.unwrap();
    assert_eq!(plugins.0.scope_info().unwrap().path, ["container"]);
    assert!(!plugins.0.cancelled().unwrap().is_cancelled());
    let inside = plugins.0.child("job").unwrap().open().unwrap();
    assert_eq!(inside.info().path, ["container", "job"]);
    drop(inside);
    drop(container);
    let error = plugins.0.get::<Plugin>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Closed);
    assert!(plugins.0.child("job").is_err());
}

#[tokio::test(start_paused = true)]
async fn what_a_finished_service_asks_for_is_not_asked_for_by_its_first_user() {
    struct Slow;
    struct Shared(Lazy<Late>);
    struct Late;
    let mut builder = Container::builder();
    builder.singleton(infallible(|_: Arc<Shared>| async {
        sleep(Duration::from_secs(1)).await;
        Slow
    }));
    builder.singleton(sync(Shared));
    builder.singleton(sync(|_: Arc<Slow>| Late));
    let container = builder.build().unwrap();
    let slow = tokio::spawn({
        let container = container.clone();
        async move { container.get::<Slow>().await.map(drop) }
    });
    sleep(Duration::from_millis(500)).await;
    // `Shared` was created for `Slow`, which still is not. `Late` waits for `Slow`, and that is all.
    let shared = container.get::<Shared>().await.unwrap();
    shared.0.get().await.unwrap();
    slow.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_finished_transient_service_asks_for_is_asked_for_by_its_maker() {
    struct Part(Lazy<Circle>);
    struct Circle;
    let mut builder = Container::builder();
    builder.create_timeout(Duration::from_secs(1000));
    builder.transient(sync(Part));
    builder.singleton(|part: Arc<Part>| async move { part.0.get().await.map(|_| A) });
    builder.singleton(sync(|_: Arc<A>| Circle));
    let container = builder.build().unwrap();
    let started = tokio::time::Instant::now();
    let error = container.get::<A>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Cycle, "{error}");
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn a_factory_written_by_hand_declares_what_it_was_told() {
    struct Relay {
        wants: Vec<&'static str>,
    }
    struct Relayed(Vec<Arc<u32>>);
    impl Factory<()> for Relay {
        type Service = Relayed;

        fn declare(&self, dependencies: &mut Dependencies) {
            for name in &self.wants {
                dependencies.require_named::<u32>(*name);
            }
        }

        fn prepare(self: Arc<Self>, resolver: Resolver) -> Preparation<Relayed> {
            Box::pin(async move {
                let mut found = Vec::new();
                for name in &self.wants {
                    found.push(resolver.get_named(name).await?);
                }
                let creation: service_container::Creation<Relayed> =
                    Box::pin(async move { Ok(Relayed(found)) });
                Ok(creation)
            })
        }
    }
    let mut builder = Container::builder();
    builder.named("one").value(1_u32);
    builder.singleton(Relay {
        wants: vec!["one", "two"],
    });
    assert_eq!(builder.build().unwrap_err().problems().len(), 1);

    let mut builder = Container::builder();
    builder.named("one").value(1_u32);
    builder.named("two").value(2_u32);
    builder.singleton(Relay {
        wants: vec!["two", "one"],
    });
    let container = builder.build().unwrap();
    let relayed = container.get::<Relayed>().await.unwrap();
    assert_eq!(
        relayed.0.iter().map(|number| **number).collect::<Vec<_>>(),
        [2, 1]
    );
}

#[tokio::test]
async fn a_panic_in_an_alias_is_a_failed_creation() {
    trait Greet: Send + Sync {}
    impl Greet for A {}
    let mut builder = Container::builder();
    builder
        .singleton(sync(|| A))
        .provides::<dyn Greet>(|_| panic!("no such view"));
    let container = builder.build().unwrap();
    let error = container.get::<dyn Greet>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Failed);
    assert_eq!(
        error.source().unwrap().to_string(),
        "panicked: no such view"
    );
}

/// So many types cannot all have the place to themselves where a look for them begins.
#[tokio::test]
async fn of_hundreds_of_types_each_is_found_and_no_other() {
    struct Numbered<T>(usize, PhantomData<fn() -> T>);

    macro_rules! with_each {
        ($do:ident) => {
            $do!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31
                32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59)
        };
    }
    let mut builder = Container::builder();
    macro_rules! register {
        ($($n:literal)*) => {$(
            builder.value(Numbered::<[u8; $n]>($n, PhantomData));
            builder.value(Numbered::<[u16; $n]>(100 + $n, PhantomData));
            builder.value(Numbered::<[u32; $n]>(200 + $n, PhantomData));
            builder.value(Numbered::<[u64; $n]>(300 + $n, PhantomData));
            builder.singleton(sync(|| Numbered::<[i8; $n]>(400 + $n, PhantomData)));
            builder.scoped(sync(|| Numbered::<[i16; $n]>(500 + $n, PhantomData)));
        )*};
    }
    with_each!(register);
    let container = builder.build().unwrap();
    container.warm_up().await.unwrap();
    let scope = container.child("looks").open().unwrap();
    macro_rules! look {
        ($($n:literal)*) => {$(
            let found = |number: usize, found: Option<&usize>| assert_eq!(found, Some(&number));
            // Each has a way of its own: the container and who stands in it.
            for place in [&*container, &scope] {
                found($n, place.ready::<Numbered<[u8; $n]>>().map(|one| &one.0));
                found(100 + $n, place.ready::<Numbered<[u16; $n]>>().map(|one| &one.0));
                found(200 + $n, place.ready::<Numbered<[u32; $n]>>().map(|one| &one.0));
                found(300 + $n, place.ready::<Numbered<[u64; $n]>>().map(|one| &one.0));
                found(400 + $n, place.ready::<Numbered<[i8; $n]>>().map(|one| &one.0));
                assert!(place.ready::<Numbered<[i32; $n]>>().is_none(), "not registered");
            }
            assert!(scope.ready::<Numbered<[i16; $n]>>().is_none(), "not made yet");
            assert_eq!(scope.get::<Numbered<[i16; $n]>>().await.unwrap().0, 500 + $n);
            found(500 + $n, scope.ready::<Numbered<[i16; $n]>>().map(|one| &one.0));
        )*};
    }
    with_each!(look);
    scope.dispose().await.unwrap();
    container.dispose().await.unwrap();
}
