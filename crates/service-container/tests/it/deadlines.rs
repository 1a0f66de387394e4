//! Every wait has an end, seen on a paused clock.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use service_container::{
    Container, ContainerBuilder, DisposeOptions, DisposeReport, Outcome, ResolveErrorKind,
    infallible, sync,
};
use tokio::time::{Instant, sleep};

use crate::support::{Oops, Trace};

struct A;
struct B;
struct C;
struct D;

const SECOND: Duration = Duration::from_secs(1);

fn forever() -> std::future::Pending<()> {
    std::future::pending()
}

/// Disposes of a container and gives the report whatever it says.
async fn disposed(container: &Container, options: DisposeOptions) -> DisposeReport {
    match container.dispose_with(options).await {
        Ok(report) => report,
        Err(error) => error.into_report(),
    }
}

fn outcomes(report: &DisposeReport) -> Vec<String> {
    let services = report.services.iter();
    services
        .map(|service| format!("{} {}", service.service.short(), service.outcome))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_factory_has_its_own_time_or_that_of_the_container() {
    let mut builder = Container::builder();
    builder.create_timeout(3 * SECOND);
    builder.singleton(infallible(|| async {
        forever().await;
        A
    }));
    builder
        .singleton(infallible(|| async {
            forever().await;
            B
        }))
        .create_timeout(5 * SECOND);
    builder.transient(infallible(|| async {
        forever().await;
        C
    }));
    let container = builder.build().unwrap();
    let started = Instant::now();
    let error = container.get::<A>().await.map(drop).unwrap_err();
    assert_eq!(
        (error.kind(), started.elapsed()),
        (ResolveErrorKind::TimedOut, 3 * SECOND)
    );
    assert!(
        error
            .to_string()
            .ends_with("its factory took longer than 3s"),
        "{error}"
    );
    let started = Instant::now();
    let error = container.get::<B>().await.map(drop).unwrap_err();
    assert_eq!(
        (error.kind(), started.elapsed()),
        (ResolveErrorKind::TimedOut, 5 * SECOND)
    );
    let started = Instant::now();
    let error = container.get::<C>().await.map(drop).unwrap_err();
    assert_eq!(
        (error.kind(), started.elapsed()),
        (ResolveErrorKind::TimedOut, 3 * SECOND)
    );
}

#[tokio::test(start_paused = true)]
async fn the_default_time_of_a_factory_is_thirty_seconds() {
    let mut builder = Container::builder();
    builder.singleton(infallible(|| async {
        forever().await;
        A
    }));
    let container = builder.build().unwrap();
    let started = Instant::now();
    container.get::<A>().await.map(drop).unwrap_err();
    assert_eq!(started.elapsed(), 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_factory_does_not_count_its_arguments() {
    let mut builder = Container::builder();
    builder.create_timeout(3 * SECOND);
    builder.singleton(infallible(|| async {
        sleep(2 * SECOND).await;
        A
    }));
    builder.singleton(infallible(|_: Arc<A>| async {
        sleep(2 * SECOND).await;
        B
    }));
    let container = builder.build().unwrap();
    container.get::<B>().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn tasks_that_do_not_stop_are_counted_and_left() {
    let mut builder = Container::builder();
    builder.value(A).on_dispose(|_| async {});
    let container = builder.build().unwrap();
    container.tasks().spawn(sleep(4 * SECOND));
    container.tasks().spawn(forever());
    container.tasks().spawn(forever());
    let options = DisposeOptions::default().task_timeout(5 * SECOND);
    let report = disposed(&container, options).await;
    assert_eq!(report.unfinished_tasks, 2);
    assert_eq!(report.elapsed, 5 * SECOND);
    assert_eq!(outcomes(&report), ["A clean"]);
    assert!(!report.is_clean());
    assert!(
        container
            .dispose()
            .await
            .unwrap_err()
            .to_string()
            .contains("2 tasks still running")
    );
}

#[tokio::test(start_paused = true)]
async fn waiting_for_tasks_ends_with_the_overall_deadline() {
    let container = Container::builder().build().unwrap();
    container.tasks().spawn(forever());
    let options = DisposeOptions::default()
        .task_timeout(50 * SECOND)
        .deadline(7 * SECOND);
    assert_eq!(disposed(&container, options).await.elapsed, 7 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_does_not_end_is_given_up() {
    let mut builder = Container::builder();
    builder.create_timeout(Duration::MAX);
    builder.singleton(infallible(|| async {
        forever().await;
        A
    }));
    builder.value(B).on_dispose(|_| async {});
    let container = builder.build().unwrap();
    let caller = tokio::spawn({
        let container = container.clone();
        async move { container.get::<A>().await.map(drop) }
    });
    tokio::task::yield_now().await;
    let report = disposed(&container, DisposeOptions::default()).await;
    assert_eq!(report.elapsed, 10 * SECOND);
    assert_eq!(report.unfinished_creations.len(), 1);
    assert_eq!(report.unfinished_creations[0].short(), "A");
    assert_eq!(outcomes(&report), ["B clean"]);
    assert_eq!(
        caller.await.unwrap().unwrap_err().kind(),
        ResolveErrorKind::Failed
    );
}

#[tokio::test(start_paused = true)]
async fn a_scoped_creation_nobody_polls_does_not_keep_a_scope_open() {
    let mut builder = Container::builder();
    builder.scoped(infallible(|| async {
        sleep(SECOND).await;
        A
    }));
    let container = builder.build().unwrap();
    let scope = container.child("request").open().unwrap();
    let mut asked = Box::pin(scope.get::<A>());
    assert!(futures_util::poll!(&mut asked).is_pending());
    let error = scope.dispose().await.unwrap_err();
    assert_eq!(error.report().elapsed, 10 * SECOND);
    assert_eq!(error.report().unfinished_creations[0].short(), "A");
    assert_eq!(
        asked.await.map(drop).unwrap_err().kind(),
        ResolveErrorKind::Closed
    );
}

#[tokio::test(start_paused = true)]
async fn defaults_are_those_that_are_documented() {
    let stuck = |builder: &mut ContainerBuilder| {
        builder.value(A).on_dispose(|_| forever());
        builder.value(B).on_dispose(|_| forever());
        builder.value(C).on_dispose(|_| forever());
        builder.value(D).on_dispose(|_| forever());
    };
    let mut builder = Container::builder();
    stuck(&mut builder);
    let container = builder.build().unwrap();
    let report = container.dispose().await.unwrap_err().into_report();
    // Three times ten seconds make thirty; the fourth gets a second.
    assert_eq!(report.elapsed, 31 * SECOND);
    assert_eq!(
        outcomes(&report),
        [
            "D timed out",
            "C timed out",
            "B timed out",
            "A skipped: the deadline had passed"
        ]
    );

    let mut builder = Container::builder();
    builder.dispose_options(DisposeOptions::default().service_timeout(SECOND));
    stuck(&mut builder);
    let container = builder.build().unwrap();
    let report = container.dispose().await.unwrap_err().into_report();
    assert_eq!(report.elapsed, 4 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn services_that_do_not_need_each_other_can_end_together() {
    let mut builder = Container::builder();
    builder.singleton(sync(|| A)).on_dispose(|_| sleep(SECOND));
    builder
        .singleton(sync(|_: Arc<A>| B))
        .on_dispose(|_| sleep(2 * SECOND));
    builder
        .singleton(sync(|_: Arc<A>| C))
        .on_dispose(|_| sleep(3 * SECOND));
    builder
        .singleton(sync(|_: Arc<B>| D))
        .on_dispose(|_| sleep(SECOND));
    let container = builder.build().unwrap();
    container.warm_up().await.unwrap();
    let options = DisposeOptions::default().max_concurrent(NonZeroUsize::new(8).unwrap());
    let report = disposed(&container, options).await;
    // D then B take three seconds, C takes three beside them, and A waits for both.
    assert_eq!(report.elapsed, 4 * SECOND);
    let order: Vec<_> = report
        .services
        .iter()
        .map(|service| service.service.short())
        .collect();
    assert_eq!(order.first().unwrap(), "D");
    assert_eq!(order.last().unwrap(), "A");

    let fork = container.fork().build().unwrap();
    fork.warm_up().await.unwrap();
    assert_eq!(
        disposed(&fork, DisposeOptions::default()).await.elapsed,
        7 * SECOND
    );
}

#[tokio::test(start_paused = true)]
async fn a_scope_inside_has_no_more_time_than_is_left() {
    let mut builder = Container::builder();
    builder.scoped(sync(|| A)).on_dispose(|_| forever());
    builder.value(B).on_dispose(|_| async {});
    let container = builder.build().unwrap();
    let scope = container.child("request").open().unwrap();
    scope.get::<A>().await.unwrap();
    container.tasks().spawn(sleep(SECOND));
    let options = DisposeOptions::default().deadline(4 * SECOND);
    let report = disposed(&container, options).await;
    assert_eq!(report.children[0].elapsed, 3 * SECOND);
    assert_eq!(report.elapsed, 4 * SECOND);
    assert_eq!(outcomes(&report.children[0]), ["A timed out"]);
    // Nothing is left for the container's own but the grace, which is enough.
    assert_eq!(outcomes(&report), ["B clean"]);
    assert_eq!(report.failures().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_is_closing_already_has_no_more_time_than_its_parent() {
    let mut builder = Container::builder();
    builder.scoped(sync(|| A)).on_dispose(|_| async {});
    builder.scoped(sync(|| B)).on_dispose(|_| forever());
    builder.value(C).on_dispose(|_| async {});
    let container = builder.build().unwrap();
    let patient = DisposeOptions::default()
        .deadline(500 * SECOND)
        .grace(100 * SECOND)
        .service_timeout(500 * SECOND)
        .task_timeout(500 * SECOND);
    // Two levels, both closing, and a third scope that waits for a task that does not stop.
    let outer = container.child("outer").open().unwrap();
    let inner = outer.child("inner").open().unwrap();
    let tasks = container.child("tasks").open().unwrap();
    for scope in [&outer, &inner, &tasks] {
        scope.get::<A>().await.unwrap();
        scope.get::<B>().await.unwrap();
    }
    tasks.tasks().spawn(forever());
    let mut closing: Vec<_> = [outer, tasks]
        .into_iter()
        .map(|scope| tokio::spawn(async move { scope.dispose_with(patient).await }))
        .collect();
    sleep(SECOND).await;

    let options = DisposeOptions::default().deadline(4 * SECOND);
    let report = disposed(&container, options).await;
    // The deadline, and the grace of those inside.
    assert_eq!(report.elapsed, 5 * SECOND, "{report}");
    assert_eq!(outcomes(&report), ["C clean"]);
    let [outer, tasks] = &report.children[..] else {
        panic!("{report}");
    };
    assert_eq!(outcomes(&outer.children[0]), ["B timed out", "A clean"]);
    let skipped = "B skipped: the deadline had passed";
    assert_eq!(outcomes(outer), [skipped, "A clean"]);
    assert_eq!(outcomes(tasks), [skipped, "A clean"]);
    assert_eq!(tasks.unfinished_tasks, 1);
    // Whoever closed them before gets the same reports.
    let error = closing.remove(0).await.unwrap().unwrap_err();
    assert_eq!(error.report().elapsed, 6 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_scope_with_less_time_than_its_parent_keeps_to_its_own() {
    let mut builder = Container::builder();
    builder.scoped(sync(|| A)).on_dispose(|_| forever());
    let container = builder.build().unwrap();
    let scope = container.child("request").open().unwrap();
    scope.get::<A>().await.unwrap();
    let closing = tokio::spawn({
        let options = DisposeOptions::default().deadline(2 * SECOND);
        async move { scope.dispose_with(options).await }
    });
    sleep(SECOND).await;
    let report = disposed(&container, DisposeOptions::default()).await;
    assert_eq!(report.elapsed, SECOND);
    let error = closing.await.unwrap().unwrap_err();
    assert_eq!(error.report().elapsed, 2 * SECOND);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_disposer_that_blocks_its_thread_is_given_up_all_the_same() {
    let mut builder = Container::builder();
    builder.value(A).on_dispose(|_| async {});
    builder
        .value(B)
        .on_dispose(|_| async { std::thread::sleep(Duration::from_millis(500)) })
        .dispose_timeout(Duration::from_millis(50));
    let container = builder.build().unwrap();
    let started = std::time::Instant::now();
    let report = disposed(&container, DisposeOptions::default()).await;
    assert!(
        started.elapsed() < Duration::from_millis(400),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(outcomes(&report), ["B timed out", "A clean"]);
}

#[tokio::test(start_paused = true)]
async fn an_endless_deadline_is_one_that_never_comes() {
    let mut builder = Container::builder();
    builder
        .value(A)
        .on_dispose(|_| sleep(1000 * SECOND))
        .dispose_timeout(Duration::MAX);
    let container = builder.build().unwrap();
    let options = DisposeOptions::default()
        .deadline(Duration::MAX)
        .task_timeout(Duration::MAX);
    let report = disposed(&container, options).await;
    assert!(matches!(report.services[0].outcome, Outcome::Clean));
    assert_eq!(report.elapsed, 1000 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_leaves_does_not_stop_a_disposal() {
    let mut builder = Container::builder();
    builder.value(A).on_dispose(|_| sleep(5 * SECOND));
    let container = builder.build().unwrap();
    tokio::time::timeout(SECOND, container.dispose())
        .await
        .unwrap_err();
    sleep(SECOND).await;
    // Other limits come too late: there is one disposal.
    let options = DisposeOptions::default().deadline(Duration::ZERO);
    assert_eq!(disposed(&container, options).await.elapsed, 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_unclean_end_that_nobody_waits_for_is_logged() {
    Trace::record();
    let mut builder = Container::builder();
    builder
        .scoped(sync(|| A))
        .on_dispose(|_| async { Err::<(), _>(Oops("half done")) });
    let container = builder.build().unwrap();
    let unclean = |trace: Trace| {
        let events = trace.events.into_iter();
        let found: Vec<_> = events
            .filter(|event| event.contains("not disposed of cleanly"))
            .collect();
        found
    };

    // Dropped half-way: it ends in the background.
    let work = container.with_scope("job", |scope| async move {
        scope.get::<A>().await.unwrap();
        forever().await;
    });
    tokio::time::timeout(SECOND, work).await.unwrap_err();
    sleep(SECOND).await;
    let events = unclean(Trace::take());
    assert_eq!(events.len(), 1, "{events:?}");
    for part in ["WARN", "scope=job", "half done"] {
        assert!(events[0].contains(part), "`{part}` not in {}", events[0]);
    }

    // Whoever waits is told, and decides.
    let scope = container.child("job").open().unwrap();
    scope.get::<A>().await.unwrap();
    scope.dispose().await.unwrap_err();
    assert_eq!(unclean(Trace::take()), [""; 0]);
    // A caller who leaves is nobody.
    let scope = container.child("job").open().unwrap();
    scope.get::<A>().await.unwrap();
    let mut asked = Box::pin(scope.dispose());
    assert!(futures_util::poll!(&mut asked).is_pending());
    drop(asked);
    sleep(SECOND).await;
    assert_eq!(unclean(Trace::take()).len(), 1);
}

#[test]
fn a_disposal_cut_short_by_its_runtime_is_not_clean() {
    let mut builder = Container::builder();
    builder.value(A).on_dispose(|_| forever());
    let container = builder.build().unwrap();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let ending = runtime();
    let mut asked = Box::pin(container.dispose());
    ending.block_on(async {
        assert!(futures_util::poll!(&mut asked).is_pending());
        tokio::task::yield_now().await;
    });
    drop(ending);
    let error = runtime().block_on(asked).unwrap_err();
    assert!(error.report().interrupted);
    assert!(
        error
            .to_string()
            .contains("the runtime shut down before the end"),
        "{error}"
    );
}
