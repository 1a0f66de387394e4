//! What is created, for whom, and what is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use service_container::{
    BoxError, BuildProblem, Container, Lazy, ResolveErrorKind, Resolver, State, infallible, sync,
};
use tokio::time::sleep;

use super::{A, B, C};
use crate::support::{Log, Oops, Trace};

/// Rule 1: `Open -> Closing -> Closed`, once; resolving outside `Open` is `Closed`.
#[tokio::test(start_paused = true)]
async fn rule_01_states_move_one_way_and_only_open_resolves() {
    let mut builder = Container::builder();
    builder
        .value(A)
        .on_dispose(|_| sleep(Duration::from_secs(1)));
    builder.singleton(sync(|| B));
    let container = builder.build().unwrap();
    assert_eq!(container.state(), State::Open);
    assert!(container.ready::<A>().is_some());

    let disposal = tokio::spawn({
        let container = container.clone();
        async move { container.dispose().await }
    });
    sleep(Duration::from_millis(500)).await;
    assert_eq!(container.state(), State::Closing);
    assert!(container.ready::<A>().is_none());
    for error in [
        container.get::<A>().await.map(drop).unwrap_err(),
        container.get::<B>().await.map(drop).unwrap_err(),
        container.get_all::<A>().await.map(drop).unwrap_err(),
        container.get_named::<A>("x").await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ResolveErrorKind::Closed);
        assert!(
            error.to_string().contains("in scope `container`"),
            "{error}"
        );
        assert!(
            error.to_string().contains("closed for 500.000ms"),
            "{error}"
        );
    }
    assert_eq!(
        container.child("late").open().unwrap_err().parent,
        "container"
    );

    disposal.await.unwrap().unwrap();
    assert_eq!(container.state(), State::Closed);
    assert_eq!(
        container.get::<A>().await.map(drop).unwrap_err().kind(),
        ResolveErrorKind::Closed
    );

    // Everybody gets the same report, whenever they ask.
    let again = container.dispose().await.unwrap();
    assert_eq!(again.services.len(), 1);
    assert_eq!(again.elapsed, Duration::from_secs(1));
}

/// Rule 2: one attempt at a time; success is published once, failure is shared and not kept.
#[tokio::test(start_paused = true)]
async fn rule_02_one_attempt_whose_failure_is_shared_and_not_kept() {
    let attempts = Arc::new(AtomicUsize::new(0));
    let mut builder = Container::builder();
    let counter = Arc::clone(&attempts);
    builder.singleton(move || {
        let attempt = counter.fetch_add(1, Ordering::Relaxed);
        async move {
            sleep(Duration::from_millis(10)).await;
            if attempt == 0 {
                Err(Oops("no route"))
            } else {
                Ok(A)
            }
        }
    });
    let container = builder.build().unwrap();

    let callers = (0..20).map(|_| container.get::<A>());
    let failures = futures_util::future::join_all(callers).await;
    assert_eq!(attempts.load(Ordering::Relaxed), 1);
    for failure in failures {
        let error = failure.map(drop).unwrap_err();
        assert_eq!(error.kind(), ResolveErrorKind::Failed);
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.downcast_ref::<Oops>().unwrap().0, "no route");
    }

    let callers = (0..20).map(|_| container.get::<A>());
    let instances = futures_util::future::join_all(callers).await;
    assert_eq!(attempts.load(Ordering::Relaxed), 2);
    let first = container.get::<A>().await.unwrap();
    assert!(
        instances
            .into_iter()
            .all(|instance| Arc::ptr_eq(&instance.unwrap(), &first))
    );
}

/// Rule 3: a singleton is created by the container, a scoped service by its callers; a panic is
/// `Failed`.
#[tokio::test(start_paused = true)]
async fn rule_03_singletons_survive_their_caller_and_scoped_services_do_not() {
    let log = Log::default();
    let mut builder = Container::builder();
    let events = log.clone();
    builder.singleton(infallible(move || {
        let events = events.clone();
        async move {
            sleep(Duration::from_secs(1)).await;
            events.add("singleton");
            A
        }
    }));
    let events = log.clone();
    builder.scoped(infallible(move || {
        let events = events.clone();
        async move {
            sleep(Duration::from_secs(1)).await;
            events.add("scoped");
            B
        }
    }));
    builder.singleton(infallible(|| async {
        assert_eq!(1 + 1, 3, "arithmetic");
        C
    }));
    let container = builder.build().unwrap();
    let scope = container.child("request").open().unwrap();

    let impatient = Duration::from_millis(500);
    assert!(
        tokio::time::timeout(impatient, scope.get::<A>())
            .await
            .is_err()
    );
    assert!(
        tokio::time::timeout(impatient, scope.get::<B>())
            .await
            .is_err()
    );
    sleep(Duration::from_secs(2)).await;
    assert_eq!(log.take(), ["singleton"]);
    assert!(container.ready::<A>().is_some());
    assert!(scope.ready::<B>().is_none());

    // The first of two callers goes; the other keeps the one attempt going.
    let (first, second) = tokio::join!(tokio::time::timeout(impatient, scope.get::<B>()), async {
        scope.get::<B>().await
    });
    assert!(first.is_err());
    assert!(second.is_ok());
    assert_eq!(log.take(), ["scoped"]);

    let error = container.get::<C>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Failed);
    assert!(
        std::error::Error::source(&error)
            .unwrap()
            .to_string()
            .contains("arithmetic")
    );
}

/// Rule 4: a factory that finishes after `Closing` has its instance disposed of in place, and its
/// caller gets `Closed`.
#[tokio::test(start_paused = true)]
async fn rule_04_what_is_created_too_late_is_disposed_of_in_place() {
    let log = Log::default();
    let mut builder = Container::builder();
    let events = log.clone();
    builder.singleton(sync(|| A)).on_dispose(move |_| {
        let events = events.clone();
        async move { events.add("dispose A") }
    });
    let events = log.clone();
    builder
        .singleton(infallible(|_: Arc<A>| async {
            sleep(Duration::from_secs(1)).await;
            B
        }))
        .on_dispose(move |_| {
            let events = events.clone();
            async move { events.add("dispose B") }
        });
    let container = builder.build().unwrap();

    let caller = tokio::spawn({
        let container = container.clone();
        async move { container.get::<B>().await.map(drop) }
    });
    sleep(Duration::from_millis(500)).await;
    let report = container.dispose().await.unwrap();
    assert_eq!(
        caller.await.unwrap().unwrap_err().kind(),
        ResolveErrorKind::Closed
    );
    // It used A while it was being created, so A had to wait for it.
    assert_eq!(log.take(), ["dispose B", "dispose A"]);
    let names: Vec<_> = report
        .services
        .iter()
        .map(|service| service.service.short())
        .collect();
    assert_eq!(names, ["B", "A"]);
    assert_eq!(report.elapsed, Duration::from_millis(500));
}

/// Rule 8: declared cycles fail at build; others fail when the creation that would close the circle
/// begins to wait, in whatever tasks they run.
#[tokio::test(start_paused = true)]
async fn rule_08_a_cycle_is_an_error_not_a_deadlock() {
    let mut builder = Container::builder();
    builder.singleton(sync(|_: Arc<B>| A));
    builder.singleton(sync(|_: Arc<A>| B));
    let error = builder.build().unwrap_err();
    assert!(matches!(error.problems(), [BuildProblem::Cycle { path, .. }] if path.len() == 3));

    // Two tasks, each creating what the other needs: only a graph of all of them can see it.
    let mut builder = Container::builder();
    builder.create_timeout(Duration::from_secs(1000));
    builder.singleton(|resolver: Resolver| async move {
        sleep(Duration::from_secs(1)).await;
        resolver.get::<B>().await?;
        Ok::<_, BoxError>(A)
    });
    builder.singleton(|resolver: Resolver| async move {
        sleep(Duration::from_secs(1)).await;
        resolver.get::<A>().await?;
        Ok::<_, BoxError>(B)
    });
    // A transient service that needs itself.
    builder.transient(|resolver: Resolver| async move {
        resolver.get::<C>().await?;
        Ok::<_, BoxError>(C)
    });
    let container = builder.build().unwrap();
    let started = tokio::time::Instant::now();
    let (a, b) = tokio::join!(container.get::<A>(), container.get::<B>());
    for error in [a.map(drop).unwrap_err(), b.map(drop).unwrap_err()] {
        assert_eq!(error.kind(), ResolveErrorKind::Cycle, "{error}");
    }
    assert_eq!(started.elapsed(), Duration::from_secs(1));

    let error = container.get::<C>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Cycle);
    assert_eq!(error.path().len(), 2);

    // A cycle found is not kept: nothing waits any more, so another attempt finds it anew.
    let error = container.get::<A>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Cycle);
    assert!(
        error.to_string().contains("it would wait for itself"),
        "{error}"
    );

    // A transient service that needs itself through a singleton, whose creation goes on elsewhere.
    struct Through(Resolver);
    let mut builder = Container::builder();
    builder.create_timeout(Duration::from_secs(1000));
    builder.transient(|resolver: Resolver| async move {
        resolver.get::<A>().await?;
        Ok::<_, BoxError>(C)
    });
    builder.singleton(|resolver: Resolver| async move {
        resolver.get::<C>().await?;
        Ok::<_, BoxError>(A)
    });
    // One that uses another only after both exist waits for nobody.
    builder.singleton(sync(Through));
    builder.singleton(sync(|_: Arc<Through>| B));
    let container = builder.build().unwrap();
    let started = tokio::time::Instant::now();
    let error = container.get::<C>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Cycle, "{error}");
    assert_eq!(started.elapsed(), Duration::ZERO);
    let through = container.get::<Through>().await.unwrap();
    assert!(through.0.get::<B>().await.is_ok());
}

/// Rule 9: a singleton cannot keep a scoped service: declared, through transient services and
/// aliases, or resolved while running.
#[tokio::test]
async fn rule_09_singletons_do_not_capture_scoped_services() {
    trait Session: Send + Sync {}
    struct UnitOfWork;
    impl Session for UnitOfWork {}

    let mut builder = Container::builder();
    builder
        .scoped(sync(|| UnitOfWork))
        .provides::<dyn Session>(|it| it);
    builder.transient(sync(|_: Arc<dyn Session>| A));
    builder.singleton(sync(|_: Arc<A>| B));
    builder.singleton(sync(|_: Lazy<UnitOfWork>| C));
    let error = builder.build().unwrap_err();
    let paths: Vec<Vec<String>> = error
        .problems()
        .iter()
        .map(|problem| match problem {
            BuildProblem::Captive { path, .. } => path.iter().map(|name| name.short()).collect(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(
        paths,
        [vec!["B", "A", "UnitOfWork"], vec!["C", "UnitOfWork"]]
    );

    let mut builder = Container::builder();
    builder.scoped(sync(|| UnitOfWork));
    builder.singleton(|resolver: Resolver| async move {
        resolver.get::<UnitOfWork>().await?;
        Ok::<_, BoxError>(A)
    });
    let container = builder.build().unwrap();
    let scope = container.child("request").open().unwrap();
    scope.get::<UnitOfWork>().await.unwrap();
    for error in [
        scope.get::<A>().await.map(drop).unwrap_err(),
        container.get::<UnitOfWork>().await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ResolveErrorKind::Captive);
    }

    // The same while running: by an alias, and by a transient service made for a singleton. Made for
    // somebody in the scope, that one may have it.
    let mut builder = Container::builder();
    builder
        .scoped(sync(|| UnitOfWork))
        .provides::<dyn Session>(|it| it);
    builder.transient(|resolver: Resolver| async move {
        resolver.get::<dyn Session>().await?;
        Ok::<_, BoxError>(A)
    });
    builder.singleton(|resolver: Resolver| async move {
        resolver.get::<A>().await?;
        Ok::<_, BoxError>(B)
    });
    builder.scoped(|resolver: Resolver| async move {
        resolver.get::<A>().await?;
        Ok::<_, BoxError>(C)
    });
    let container = builder.build().unwrap();
    let scope = container.child("request").open().unwrap();
    let error = scope.get::<B>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Captive, "{error}");
    assert!(scope.get::<C>().await.is_ok());
}

/// Rule 12: an override below a singleton does not change what it captured; a fork does.
#[tokio::test]
async fn rule_12_overrides_do_not_reach_into_singletons() {
    struct Config(&'static str);
    struct Client(Arc<Config>);
    struct Page(Arc<Config>, Arc<Client>);

    let mut builder = Container::builder();
    builder.value(Config("real"));
    builder.singleton(sync(Client));
    builder.scoped(sync(Page));
    let container = builder.build().unwrap();

    // The singleton is created on behalf of the scope, and still from the container's services.
    let scope = container
        .child("test")
        .provide(Arc::new(Config("fake")))
        .open()
        .unwrap();
    let page = scope.get::<Page>().await.unwrap();
    assert_eq!((page.0.0, page.1.0.0), ("fake", "real"));
    assert_eq!(scope.ready::<Config>().unwrap().0, "fake");
    assert_eq!(scope.get::<Config>().await.unwrap().0, "fake");
    assert_eq!(container.ready::<Config>().unwrap().0, "real");
    let inside = scope.child("inside").open().unwrap();
    assert_eq!(inside.ready::<Config>().unwrap().0, "fake");
    let nearer = scope
        .child("nearer")
        .provide(Arc::new(Config("nearer")))
        .open()
        .unwrap();
    assert_eq!(nearer.get::<Page>().await.unwrap().0.0, "nearer");
    assert_eq!(container.ready::<Config>().unwrap().0, "real");

    let mut fork = container.fork();
    fork.replace_shared(Arc::new(Config("fake")));
    let fork = fork.build().unwrap();
    assert_eq!(fork.get::<Client>().await.unwrap().0.0, "fake");
}

/// Rule 14: creation and disposal have spans under that of their caller; a hit has nothing.
#[tokio::test]
async fn rule_14_spans_stand_on_the_cold_paths_only() {
    Trace::record();
    let mut builder = Container::builder();
    builder.singleton(sync(|| A)).on_dispose(|_| async {});
    let container = builder.build().unwrap();
    {
        use tracing::Instrument as _;
        let span = tracing::info_span!("caller");
        async { container.get::<A>().await.unwrap() }
            .instrument(span)
            .await;
    }
    let seen = |name: &str, parent: Option<&str>| (name.to_owned(), parent.map(str::to_owned));
    let created = [
        seen("caller", None),
        seen("container.create", Some("caller")),
    ];
    assert_eq!(Trace::take().spans, created);
    container.get::<A>().await.unwrap();
    assert!(container.ready::<A>().is_some());
    let hit = Trace::take();
    assert!(hit.spans.is_empty() && hit.events.is_empty(), "{hit:?}");
    container.dispose().await.unwrap();
    let disposed = [
        seen("container.close", None),
        seen("container.dispose", Some("container.close")),
    ];
    assert_eq!(Trace::take().spans, disposed);
}
