//! The fourteen rules a container keeps, each by its number.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use service_container::{
    BoxError, BuildProblem, Container, DisposeOptions, Lazy, LeakPolicy, ResolveErrorKind,
    Resolver, Scope, State, infallible, sync,
};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::support::{Log, Oops, Trace};

struct A;
struct B;
struct C;

fn boom() {
    panic!("no more");
}

fn forever() -> std::future::Pending<()> {
    std::future::pending()
}

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

/// Rule 5: cancel the token, wait for the tasks, children before parents, then the last created
/// first.
#[tokio::test(start_paused = true)]
async fn rule_05_closing_goes_from_the_token_to_the_first_created() {
    let log = Log::default();
    let disposer = |name: &'static str| {
        let log = log.clone();
        move || {
            let log = log.clone();
            async move { log.add(name) }
        }
    };
    let mut builder = Container::builder();
    let [a, b, c] = [disposer("A"), disposer("B"), disposer("C")];
    builder.singleton(sync(|| A)).on_dispose(move |_| a());
    builder.singleton(sync(|| B)).on_dispose(move |_| b());
    builder.scoped(sync(|| C)).on_dispose(move |_| c());
    let container = builder.build().unwrap();
    let child = container.child("request").open().unwrap();
    child.get::<C>().await.unwrap();
    container.get::<B>().await.unwrap();
    container.get::<A>().await.unwrap();

    for scope in [&container as &Scope, &child] {
        let (token, log, scope) = (scope.cancelled(), log.clone(), scope.clone());
        scope.clone().tasks().spawn(async move {
            token.cancelled().await;
            sleep(Duration::from_secs(1)).await;
            log.add(format!("task of {}", scope.name()));
        });
    }
    let report = container.dispose().await.unwrap();
    assert_eq!(
        log.take(),
        ["task of container", "task of request", "C", "A", "B"]
    );
    assert_eq!(report.children.len(), 1);
    assert_eq!(report.children[0].scope, "request");
    assert_eq!(child.state(), State::Closed);
}

/// Rule 6: every disposer gets the smaller of its own time and what is left; whatever becomes of it
/// the next one runs; when the deadline is gone the rest get a short grace, all at once.
#[tokio::test(start_paused = true)]
async fn rule_06_every_disposer_has_its_turn_whatever_the_others_do() {
    struct Failing;
    struct Panicking;
    struct Stuck;
    struct Slow;
    struct Quick;
    struct Endless;

    let mut builder = Container::builder();
    // Disposed of from the last to the first.
    builder.value(Endless).on_dispose(|_| forever());
    builder
        .value(Quick)
        .on_dispose(|_| sleep(Duration::from_millis(50)));
    builder
        .value(Slow)
        .on_dispose(|_| sleep(Duration::from_secs(60)));
    builder
        .value(Stuck)
        .on_dispose(|_| forever())
        .dispose_timeout(Duration::from_secs(2));
    builder.value(Panicking).on_dispose(|_| async { boom() });
    builder
        .value(Failing)
        .on_dispose(|_| async { Err::<(), _>(Oops("half done")) });
    let container = builder.build().unwrap();

    let options = DisposeOptions::default()
        .deadline(Duration::from_secs(5))
        .service_timeout(Duration::from_secs(60))
        .grace(Duration::from_millis(100));
    let error = container.dispose_with(options).await.unwrap_err();
    let report = error.report();
    let rows: Vec<_> = report
        .services
        .iter()
        .map(|service| {
            let milliseconds = service.elapsed.as_millis();
            (
                service.service.short(),
                service.outcome.to_string(),
                milliseconds,
            )
        })
        .collect();
    let row = |name: &str, outcome: &str, milliseconds| {
        (name.to_owned(), outcome.to_owned(), milliseconds)
    };
    assert_eq!(
        rows,
        [
            row("Failing", "failed: half done", 0),
            row("Panicking", "panicked: no more", 0),
            row("Stuck", "timed out", 2000),
            row("Slow", "timed out", 3000),
            row("Quick", "clean", 50),
            row("Endless", "skipped: the deadline had passed", 100),
        ]
    );
    assert_eq!(report.elapsed, Duration::from_millis(5100));
    assert_eq!(report.failures().len(), 5);
    assert!(std::error::Error::source(&error).unwrap().is::<Oops>());
    for name in ["Failing", "Panicking", "Stuck", "Slow", "Endless"] {
        assert!(error.to_string().contains(name), "{error}");
    }
    assert!(!error.to_string().contains("Quick"), "{error}");
}

/// Rule 7: what is used after creation is recorded when used, and disposed of after its user.
#[tokio::test]
async fn rule_07_late_uses_decide_the_order_of_disposal() {
    struct Early {
        late: Lazy<Late>,
        resolver: Resolver,
    }
    struct Late;
    struct Later;

    let log = Log::default();
    let mut builder = Container::builder();
    let events = log.clone();
    builder
        .singleton(sync(|late: Lazy<Late>, resolver: Resolver| Early {
            late,
            resolver,
        }))
        .on_dispose(move |early| {
            let events = events.clone();
            async move {
                // Resolved before, so still there.
                early.late.get().await.unwrap();
                events.add("Early");
            }
        });
    let events = log.clone();
    builder.singleton(sync(|| Late)).on_dispose(move |_| {
        let events = events.clone();
        async move { events.add("Late") }
    });
    let events = log.clone();
    builder.singleton(sync(|| Later)).on_dispose(move |_| {
        let events = events.clone();
        async move { events.add("Later") }
    });
    let container = builder.build().unwrap();

    // Never used after creation: last created, first disposed of.
    let fork = container.fork().build().unwrap();
    fork.get::<Early>().await.unwrap();
    fork.get::<Late>().await.unwrap();
    fork.get::<Later>().await.unwrap();
    let early = fork.get::<Early>().await.unwrap();
    assert!(early.late.ready().is_none());
    early.late.get().await.unwrap();
    fork.dispose().await.unwrap();
    assert_eq!(log.take(), ["Later", "Early", "Late"]);

    let early = container.get::<Early>().await.unwrap();
    early.late.get().await.unwrap();
    early.resolver.get::<Later>().await.unwrap();
    container.dispose().await.unwrap();
    assert_eq!(log.take(), ["Early", "Later", "Late"]);
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
    // A transient service that needs itself, and one that does so through a singleton.
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
}

/// Rule 10: transient services have no disposer (that is a compile error, see
/// `ContainerBuilder::transient`); something short-lived that has one is `Owned`.
#[tokio::test]
async fn rule_10_short_lived_services_end_with_their_owner() {
    let log = Log::default();
    let mut builder = Container::builder();
    builder.transient(sync(|| A));
    let events = log.clone();
    builder.scoped(sync(|_: Arc<A>| B)).on_dispose(move |_| {
        let events = events.clone();
        async move { events.add("B") }
    });
    let container = builder.build().unwrap();
    let [one, other] = [
        container.get::<A>().await.unwrap(),
        container.get::<A>().await.unwrap(),
    ];
    assert!(!Arc::ptr_eq(&one, &other));
    assert!(container.ready::<A>().is_none());

    let first = container.owned::<B>().await.unwrap();
    let second = container.owned::<B>().await.unwrap();
    assert!(!std::ptr::eq(&*first, &*second));
    let report = first.dispose().await.unwrap();
    assert_eq!(report.services.len(), 1);
    assert_eq!(log.take(), ["B"]);
    drop(second);
    assert_eq!(container.leaked_scopes(), 1);
}

/// Rule 11: aliases share one instance and are disposed of once; values only if said so.
#[tokio::test]
async fn rule_11_aliases_are_views_and_values_belong_to_their_giver() {
    trait Read: Send + Sync {}
    trait Write: Send + Sync {}
    struct File(Arc<AtomicUsize>);
    impl Read for File {}
    impl Write for File {}

    let created = Arc::new(AtomicUsize::new(0));
    let closed = Arc::new(AtomicUsize::new(0));
    let mut builder = Container::builder();
    let (counter, closing) = (Arc::clone(&created), Arc::clone(&closed));
    builder
        .singleton(sync(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            File(Arc::clone(&closing))
        }))
        .provides::<dyn Read>(|it| it)
        .provides::<dyn Write>(|it| it)
        .on_dispose(|file: Arc<File>| async move {
            file.0.fetch_add(1, Ordering::Relaxed);
        });
    let kept = Arc::new(A);
    builder.shared(Arc::clone(&kept));
    builder
        .value(B)
        .on_dispose(|_| async { Ok::<_, Infallible>(()) });
    let container = builder.build().unwrap();

    let read = container.get::<dyn Read>().await.unwrap();
    let write = container.get::<dyn Write>().await.unwrap();
    let file = container.get::<File>().await.unwrap();
    assert!(std::ptr::addr_eq(Arc::as_ptr(&read), Arc::as_ptr(&file)));
    assert!(std::ptr::addr_eq(Arc::as_ptr(&write), Arc::as_ptr(&file)));
    assert!(std::ptr::addr_eq(
        container.ready::<dyn Read>().unwrap(),
        Arc::as_ptr(&file)
    ));
    assert!(Arc::ptr_eq(&container.get::<A>().await.unwrap(), &kept));

    let report = container.dispose().await.unwrap();
    let names: Vec<_> = report
        .services
        .iter()
        .map(|service| service.service.short())
        .collect();
    assert_eq!(names, ["File", "B"]);
    assert_eq!(
        (
            created.load(Ordering::Relaxed),
            closed.load(Ordering::Relaxed)
        ),
        (1, 1)
    );
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

/// Rule 13: dropping an open scope that should have been disposed of is noticed: with the services,
/// the place where it was opened, a count, and a policy.
#[tokio::test]
async fn rule_13_a_dropped_scope_says_so() {
    Trace::record();
    let disposed = Arc::new(Notify::new());
    let build = |policy: Option<LeakPolicy>| {
        let mut builder = Container::builder();
        if let Some(policy) = policy {
            builder.on_leak(policy);
        }
        let disposed = Arc::clone(&disposed);
        builder.scoped(sync(|| A)).on_dispose(move |_| {
            let disposed = Arc::clone(&disposed);
            async move { disposed.notify_one() }
        });
        builder.build().unwrap()
    };

    let container = build(None);
    let scope = container.child("request").open().unwrap();
    let token = scope.cancelled();
    drop(scope);
    assert!(token.is_cancelled());
    assert_eq!(container.leaked_scopes(), 0, "nothing in it had a disposer");
    let line = line!() + 1;
    let scope = container.child("request").open().unwrap();
    scope.get::<A>().await.unwrap();
    drop(scope.clone());
    assert_eq!(container.leaked_scopes(), 0, "a handle is left");
    Trace::take();
    drop(scope);
    assert_eq!(container.leaked_scopes(), 1);
    let events = Trace::take().events;
    assert_eq!(events.len(), 1, "{events:?}");
    for part in [
        "WARN",
        "request",
        "rules::A",
        &format!("{}:{line}:", file!()),
    ] {
        assert!(events[0].contains(part), "`{part}` not in {}", events[0]);
    }

    let container = build(Some(LeakPolicy::SpawnDispose));
    let scope = container.child("request").open().unwrap();
    scope.get::<A>().await.unwrap();
    drop(scope);
    disposed.notified().await;
    assert_eq!(container.leaked_scopes(), 1);

    let container = build(Some(LeakPolicy::Panic));
    let scope = container.child("request").open().unwrap();
    scope.get::<A>().await.unwrap();
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(scope))).unwrap_err();
    assert!(panic.downcast_ref::<String>().unwrap().contains("request"));
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
