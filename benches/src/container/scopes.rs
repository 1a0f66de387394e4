//! Opening a scope and ending it, empty and with five services in it.

use std::time::Instant;

use benches::Report;
use futures_util::future::join_all;
use service_container::{Container, Scope, sync};

use crate::per_op;
use crate::subjects::Service;

pub(crate) fn measure(report: &mut Report, threads: usize, ops: u32) -> anyhow::Result<()> {
    let runtime = runtime(threads)?;
    let container = {
        let mut builder = Container::builder();
        builder.scoped(sync(|| Service::<0> { value: 0 }));
        builder.scoped(sync(|| Service::<1> { value: 1 }));
        builder.scoped(sync(|| Service::<2> { value: 2 }));
        builder.scoped(sync(|| Service::<3> { value: 3 }));
        builder.scoped(sync(|| Service::<4> { value: 4 }));
        builder.build()?
    };
    let empty = time(&runtime, threads, ops, {
        let container = container.clone();
        move || {
            let scope = open(&container);
            async move {
                scope.dispose().await.expect("there is nothing in it");
            }
        }
    });
    add(report, threads, "service-container/empty", empty);
    let five = time(&runtime, threads, ops / 5, {
        let container = container.clone();
        move || {
            let scope = open(&container);
            async move {
                let sum = scope.get::<Service<0>>().await.expect("it is made").value
                    + scope.get::<Service<1>>().await.expect("it is made").value
                    + scope.get::<Service<2>>().await.expect("it is made").value
                    + scope.get::<Service<3>>().await.expect("it is made").value
                    + scope.get::<Service<4>>().await.expect("it is made").value;
                assert_eq!(sum, 10);
                scope.dispose().await.expect("nothing can fail");
            }
        }
    });
    add(report, threads, "service-container/five", five);

    // A peer with scopes, which are maps over maps; it has no disposal to wait for.
    let peer = dependency_injector::Container::new();
    let empty = time(&runtime, threads, ops, {
        let peer = peer.clone();
        move || {
            drop(std::hint::black_box(peer.scope()));
            std::future::ready(())
        }
    });
    add(report, threads, "dependency-injector/empty", empty);
    let five = time(&runtime, threads, ops / 5, {
        move || {
            let scope = peer.scope();
            scope.singleton(Service::<0> { value: 0 });
            scope.singleton(Service::<1> { value: 1 });
            scope.singleton(Service::<2> { value: 2 });
            scope.singleton(Service::<3> { value: 3 });
            scope.singleton(Service::<4> { value: 4 });
            let sum = scope.get::<Service<0>>().expect("it is there").value
                + scope.get::<Service<1>>().expect("it is there").value
                + scope.get::<Service<2>>().expect("it is there").value
                + scope.get::<Service<3>>().expect("it is there").value
                + scope.get::<Service<4>>().expect("it is there").value;
            assert_eq!(sum, 10);
            std::future::ready(())
        }
    });
    add(report, threads, "dependency-injector/five", five);
    runtime.block_on(container.dispose())?;
    Ok(())
}

fn open(container: &Container) -> Scope {
    container
        .child("bench")
        .open()
        .expect("the container is open")
}

fn add(report: &mut Report, threads: usize, subject: &str, nanos: f64) {
    report.add("container/scope", subject, per_op(threads), "ns", nanos);
}

pub(crate) fn runtime(threads: usize) -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .enable_all()
        .build()
}

/// Nanoseconds for one operation, with as many tasks as threads.
pub(crate) fn time<F, Fut>(
    runtime: &tokio::runtime::Runtime,
    threads: usize,
    ops: u32,
    operation: F,
) -> f64
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let began = Instant::now();
    let tasks: Vec<_> = (0..threads)
        .map(|_| {
            let operation = operation.clone();
            runtime.spawn(async move {
                for _ in 0..ops {
                    operation().await;
                }
            })
        })
        .collect();
    for ended in runtime.block_on(join_all(tasks)) {
        ended.expect("no operation panics");
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(ops)
}
