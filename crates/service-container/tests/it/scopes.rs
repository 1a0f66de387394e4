//! Scopes: what is in them, what is not, and how they are left.

use std::sync::Arc;
use std::time::Duration;

use service_container::{
    Container, DisposeOptions, LeakPolicy, ResolveErrorKind, ScopeError, ScopeInfo, State,
    infallible, sync,
};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::support::{Log, Oops};

#[derive(Default)]
struct A(#[expect(dead_code, reason = "gives it an address of its own")] u8);
struct B(Arc<A>);

/// A container whose scoped `A` says when it is disposed of.
fn container(log: &Log) -> Container {
    let mut builder = Container::builder();
    builder.on_leak(LeakPolicy::Panic);
    let events = log.clone();
    builder.scoped(sync(A::default)).on_dispose(move |_| {
        let events = events.clone();
        async move { events.add("A") }
    });
    builder.scoped(sync(B));
    builder.build().unwrap()
}

#[tokio::test]
async fn each_scope_has_its_own_and_one_inside_another_does_not_share() {
    let log = Log::default();
    let container = container(&log);
    let first = container.child("first").open().unwrap();
    let inside = first.child("inside").open().unwrap();
    let second = container.child("second").open().unwrap();
    let a = first.get::<A>().await.unwrap();
    assert!(inside.ready::<A>().is_none());
    assert!(second.ready::<A>().is_none());
    assert!(Arc::ptr_eq(&first.get::<B>().await.unwrap().0, &a));
    inside.get::<B>().await.unwrap();
    assert!(!std::ptr::eq(inside.ready::<A>().unwrap(), &*a));

    // The one inside goes first, and the report has it.
    let report = first.dispose().await.unwrap();
    assert_eq!(report.children.len(), 1);
    assert_eq!(report.children[0].services.len(), 1);
    assert_eq!(log.take(), ["A", "A"]);
    assert_eq!(
        (inside.state(), second.state()),
        (State::Closed, State::Open)
    );

    // A scope disposed of before is not in the report of its parent.
    assert_eq!(container.dispose().await.unwrap().children.len(), 1);
    assert_eq!(second.state(), State::Closed);
}

#[tokio::test]
async fn a_scope_knows_where_it_stands() {
    let mut builder = Container::builder();
    builder.name("shop");
    builder.scoped(sync(|info: ScopeInfo| info));
    builder.singleton(sync(|info: ScopeInfo| Box::new(info)));
    let container = builder.build().unwrap();
    let request = container.child("request").open().unwrap();
    let job = request.child(format!("job {}", 7)).open().unwrap();
    let info = job.get::<ScopeInfo>().await.unwrap();
    assert_eq!(info.name, "job 7");
    assert_eq!(info.path, ["shop", "request", "job 7"]);
    assert_ne!(info.id, request.info().id);
    // A singleton is in the container, whoever asked for it first.
    assert_eq!(job.get::<Box<ScopeInfo>>().await.unwrap().path, ["shop"]);
}

#[tokio::test]
async fn an_input_is_what_the_scope_was_given() {
    struct User(&'static str);
    trait Principal: Send + Sync {
        fn name(&self) -> &'static str;
    }
    impl Principal for User {
        fn name(&self) -> &'static str {
            self.0
        }
    }
    struct Greeting(Arc<dyn Principal>, Option<Arc<User>>);

    let mut builder = Container::builder();
    builder.scope_input::<dyn Principal>();
    builder.scoped(sync(Greeting));
    let container = builder.build().unwrap();
    let user: Arc<dyn Principal> = Arc::new(User("you"));
    let scope = container
        .child("request")
        .provide(Arc::new(User("replaced")))
        .provide(Arc::new(User("extra")))
        .provide(user)
        .provide_named("x", Arc::new(1_u8))
        .open()
        .unwrap();
    let greeting = scope.get::<Greeting>().await.unwrap();
    assert_eq!(greeting.0.name(), "you");
    // Optional dependencies see what the scope was given even if nothing is registered.
    assert_eq!(greeting.1.as_ref().unwrap().0, "extra");
    assert_eq!(*scope.get_named::<u8>("x").await.unwrap(), 1);
    assert_eq!(scope.ready_named::<u8>("x"), Some(&1));

    let without = container.child("request").open().unwrap();
    let error = without.get::<Greeting>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Missing);
    assert!(
        error.to_string().ends_with("opened without providing it"),
        "{error}"
    );
}

#[tokio::test]
async fn tokens_follow_the_scopes() {
    let container = Container::builder().build().unwrap();
    let outer = container.child("outer").open().unwrap();
    let inner = outer.child("inner").open().unwrap();
    let beside = container.child("beside").open().unwrap();
    let tokens = [
        &container as &service_container::Scope,
        &outer,
        &inner,
        &beside,
    ]
    .map(service_container::Scope::cancelled);
    let cancelled = || {
        tokens
            .clone()
            .map(|token: CancellationToken| token.is_cancelled())
    };
    outer.dispose().await.unwrap();
    assert_eq!(cancelled(), [false, true, true, false]);
    // Asked for only when it is too late.
    assert!(outer.cancelled().is_cancelled());
    container.dispose().await.unwrap();
    assert_eq!(cancelled(), [true; 4]);
    let late = Container::builder().build().unwrap();
    late.dispose().await.unwrap();
    assert!(late.cancelled().is_cancelled());
}

#[tokio::test]
async fn with_scope_disposes_and_gives_what_the_work_gave() {
    let log = Log::default();
    let container = container(&log);
    let value = container
        .with_scope("job", |scope| async move {
            scope.get::<B>().await.unwrap();
            Err::<(), _>("the work's own")
        })
        .await
        .unwrap();
    assert_eq!(value, Err("the work's own"));
    assert_eq!(log.take(), ["A"]);
}

#[tokio::test]
async fn with_scope_disposes_when_the_work_panics() {
    let log = Log::default();
    let container = container(&log);
    let work = tokio::spawn({
        let container = container.clone();
        async move {
            let _: Result<(), _> = container
                .with_scope("job", |scope| async move {
                    scope.get::<A>().await.unwrap();
                    panic!("in the work");
                })
                .await;
        }
    });
    let panic = work.await.unwrap_err().into_panic();
    assert_eq!(*panic.downcast_ref::<&str>().unwrap(), "in the work");
    assert_eq!(log.take(), ["A"]);

    let early = tokio::spawn(async move {
        fn not_even_a_future(_: service_container::Scope) -> std::future::Ready<()> {
            panic!("before the work");
        }
        let _ = container.with_scope("job", not_even_a_future).await;
    });
    assert!(early.await.unwrap_err().is_panic());
}

#[tokio::test(start_paused = true)]
async fn with_scope_disposes_when_it_is_dropped_half_way() {
    let log = Log::default();
    let container = container(&log);
    let work = container.with_scope("job", |scope| async move {
        scope.get::<A>().await.unwrap();
        std::future::pending::<()>().await;
    });
    tokio::time::timeout(Duration::from_secs(1), work)
        .await
        .unwrap_err();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(log.take(), ["A"]);
    assert_eq!(container.leaked_scopes(), 0);
    assert!(container.dispose().await.unwrap().is_clean());
}

#[tokio::test]
async fn with_scope_keeps_the_value_when_the_disposal_fails() {
    let mut builder = Container::builder();
    builder
        .scoped(sync(A::default))
        .on_dispose(|_| async { Err::<(), _>(Oops("stuck")) });
    let container = builder.build().unwrap();
    let work = |scope: service_container::Scope| async move {
        scope.get::<A>().await.unwrap();
        7
    };
    let error = container.with_scope("job", work).await.unwrap_err();
    assert!(error.to_string().contains("A failed: stuck"), "{error}");
    assert!(std::error::Error::source(&error).unwrap().is::<Oops>());
    assert_eq!(error.into_value(), Some(7));

    container.dispose().await.unwrap();
    let error = container.with_scope("job", work).await.unwrap_err();
    assert!(matches!(error, ScopeError::Open(_)));
    assert_eq!(
        error.to_string(),
        "cannot open scope `job`: scope `container` is closed"
    );
}

#[tokio::test(start_paused = true)]
async fn owned_gives_up_what_it_began_when_it_is_dropped() {
    let log = Log::default();
    let mut builder = Container::builder();
    builder.on_leak(LeakPolicy::Panic);
    let events = log.clone();
    builder.scoped(sync(A::default)).on_dispose(move |_| {
        let events = events.clone();
        async move { events.add("A") }
    });
    builder.scoped(infallible(|a: Arc<A>| async move {
        sleep(Duration::from_secs(5)).await;
        B(a)
    }));
    let container = builder.build().unwrap();
    let asked = container.owned::<B>();
    tokio::time::timeout(Duration::from_secs(1), asked)
        .await
        .map(drop)
        .unwrap_err();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(log.take(), ["A"]);
    container.dispose().await.unwrap();
    let error = container.owned::<B>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), ResolveErrorKind::Closed);
}

#[tokio::test]
async fn scopes_come_and_go_without_a_trace() {
    let log = Log::default();
    let container = container(&log);
    for _ in 0..100 {
        let scopes: Vec<_> = (0..10)
            .map(|_| container.child("request").open().unwrap())
            .collect();
        scopes[3].get::<A>().await.unwrap();
        scopes[3].dispose().await.unwrap();
    }
    assert_eq!(log.take().len(), 100);
    assert!(container.dispose().await.unwrap().children.is_empty());
}

/// Each thread counts for itself what keeps the container.
#[test]
fn a_container_goes_with_its_last_holder_on_whatever_thread() {
    let probe = Arc::new(A::default());
    let mut builder = Container::builder();
    builder.value(B(Arc::clone(&probe)));
    let first = builder.build().unwrap();
    let kept = std::thread::scope(|threads| {
        let opening: Vec<_> = (0..4)
            .map(|_| {
                let first = &first;
                threads.spawn(move || {
                    let outer = first.child("outer").open().unwrap();
                    (first.clone(), outer.child("inner").open().unwrap())
                })
            })
            .collect();
        let opened = opening.into_iter().map(|thread| thread.join().unwrap());
        opened.collect::<Vec<_>>()
    });
    drop(first);
    let mut ids = std::collections::BTreeSet::new();
    for (container, inner) in kept {
        let (value, inside) = (container.ready::<B>(), inner.ready::<B>());
        assert!(Arc::ptr_eq(&value.unwrap().0, &probe));
        assert!(Arc::ptr_eq(&inside.unwrap().0, &probe));
        // What is opened now is kept by its own holders too.
        let late = container.child("late").open().unwrap();
        ids.extend([inner.info().id, late.info().id]);
        let again = Container::clone(&container);
        drop(container);
        assert!(again.ready::<B>().is_some());
        drop(again);
        std::thread::spawn(move || {
            drop(inner);
            assert!(late.ready::<B>().is_some());
        })
        .join()
        .unwrap();
    }
    assert_eq!(ids.len(), 8, "numbers are given once");
    assert_eq!(Arc::strong_count(&probe), 1, "the container is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_races_with_opening_and_creating() {
    for _ in 0..300 {
        let created = Log::default();
        let disposed = Log::default();
        let mut builder = Container::builder();
        builder.on_leak(LeakPolicy::Panic);
        let (made, ended) = (created.clone(), disposed.clone());
        builder
            .scoped(infallible(move || {
                made.add("A");
                async {
                    tokio::task::yield_now().await;
                    A::default()
                }
            }))
            .on_dispose(move |_| {
                let ended = ended.clone();
                async move { ended.add("A") }
            });
        let container = builder.build().unwrap();
        let workers: Vec<_> = (0..8)
            .map(|_| {
                let container = container.clone();
                tokio::spawn(async move {
                    while let Ok(scope) = container.child("request").open() {
                        let got = scope.get::<A>().await;
                        // Left to whoever closes the container, if that has begun.
                        if scope.dispose().await.is_err() || got.is_err() {
                            break;
                        }
                    }
                })
            })
            .collect();
        tokio::task::yield_now().await;
        container
            .dispose_with(DisposeOptions::default())
            .await
            .unwrap();
        for worker in workers {
            worker.await.unwrap();
        }
        assert_eq!(created.take().len(), disposed.take().len());
        assert_eq!(container.leaked_scopes(), 0);
    }
}
