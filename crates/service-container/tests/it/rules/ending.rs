//! How scopes and what is in them end.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use service_container::{
    Container, DisposeOptions, Lazy, LeakPolicy, Resolver, Scope, State, sync,
};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::{A, B, C, boom, forever};
use crate::support::{Log, Oops, Trace};

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

    // Saying so is all: nothing was disposed of.
    tokio::task::yield_now().await;
    let told = tokio::time::timeout(Duration::from_millis(50), disposed.notified());
    assert!(told.await.is_err(), "a warning does not dispose");
    // A scope inside counts by itself, and one that was disposed of does not.
    let outer = container.child("outer").open().unwrap();
    let inner = outer.child("inner").open().unwrap();
    inner.get::<A>().await.unwrap();
    drop((outer, inner));
    assert_eq!(
        container.leaked_scopes(),
        2,
        "there was nothing in the outer"
    );
    let scope = container.child("request").open().unwrap();
    scope.get::<A>().await.unwrap();
    scope.dispose().await.unwrap();
    disposed.notified().await;
    drop(scope);
    assert_eq!(container.leaked_scopes(), 2);

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
