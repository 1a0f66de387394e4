//! Opening a scope and ending it, empty and with five services in it.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::Instant;

use benches::Report;
use futures_util::future::join_all;
use service_container::{Container, Scope, sync};
use tokio::runtime::Runtime;

use crate::subjects::Service;
use crate::{APART, per_op, processors};

pub(crate) fn measure(report: &mut Report, threads: usize, ops: u32) -> anyhow::Result<()> {
    let together = runtime(threads, 0)?;
    let container = container()?;
    let peer = dependency_injector::Container::new();
    subjects(
        report,
        per_op(threads),
        ops,
        &vec![&together; threads],
        |_| (container.clone(), peer.clone()),
    );
    together.block_on(container.dispose())?;
    if threads > 1 {
        let apart = (0..threads).map(|thread| runtime(1, thread));
        let apart = apart.collect::<Result<Vec<_>, _>>()?;
        let own = (0..threads).map(|_| {
            let peer = dependency_injector::Container::new();
            Ok((self::container()?, peer))
        });
        let own = own.collect::<anyhow::Result<Vec<_>>>()?;
        let runtimes: Vec<_> = apart.iter().collect();
        subjects(report, APART, ops, &runtimes, |thread| own[thread].clone());
        for ((container, _), runtime) in own.iter().zip(&apart) {
            runtime.block_on(container.dispose())?;
        }
    }
    Ok(())
}

fn container() -> anyhow::Result<Container> {
    let mut builder = Container::builder();
    builder.scoped(sync(|| Service::<0> { value: 0 }));
    builder.scoped(sync(|| Service::<1> { value: 1 }));
    builder.scoped(sync(|| Service::<2> { value: 2 }));
    builder.scoped(sync(|| Service::<3> { value: 3 }));
    builder.scoped(sync(|| Service::<4> { value: 4 }));
    Ok(builder.build()?)
}

/// Measures all of them, with a task for each of `runtimes`, which has what `containers` has for it.
fn subjects(
    report: &mut Report,
    metric: &'static str,
    ops: u32,
    runtimes: &[&Runtime],
    containers: impl Fn(usize) -> (Container, dependency_injector::Container),
) {
    let mut add = |subject, nanos| report.add("container/scope", subject, metric, "ns", nanos);
    let empty = time(runtimes, ops, |thread| {
        let (container, _) = containers(thread);
        move || {
            let scope = open(&container);
            async move {
                scope.dispose().await.expect("there is nothing in it");
            }
        }
    });
    add("service-container/empty", empty);
    let five = time(runtimes, ops / 5, |thread| {
        let (container, _) = containers(thread);
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
    add("service-container/five", five);

    // A peer with scopes, which are maps over maps; it has no disposal to wait for.
    let empty = time(runtimes, ops, |thread| {
        let (_, peer) = containers(thread);
        move || {
            drop(std::hint::black_box(peer.scope()));
            std::future::ready(())
        }
    });
    add("dependency-injector/empty", empty);
    let five = time(runtimes, ops / 5, |thread| {
        let (_, peer) = containers(thread);
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
    add("dependency-injector/five", five);
}

fn open(container: &Container) -> Scope {
    container
        .child("bench")
        .open()
        .expect("the container is open")
}

/// A runtime whose threads have processors of their own, the first of them the one with this number.
pub(crate) fn runtime(threads: usize, first: usize) -> std::io::Result<Runtime> {
    let next = AtomicUsize::new(0);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .on_thread_start(move || {
            processors::keep_to(first + next.fetch_add(1, Ordering::Relaxed) % threads);
        })
        .enable_all()
        .build()
}

/// Nanoseconds for one operation, with a task on each of `runtimes`, which has a thread for each of
/// its tasks. They begin together; the slowest counts.
pub(crate) fn time<F, Fut>(runtimes: &[&Runtime], ops: u32, operation: impl Fn(usize) -> F) -> f64
where
    F: Fn() -> Fut + Send + 'static,
    Fut: Future<Output = ()> + Send,
{
    let start = Arc::new(Start::of(runtimes.len()));
    let tasks: Vec<_> = (0..)
        .zip(runtimes)
        .map(|(task, runtime)| {
            let (start, operation) = (Arc::clone(&start), operation(task));
            runtime.spawn(async move {
                start.together(task).await;
                let began = Instant::now();
                for _ in 0..ops {
                    operation().await;
                }
                began.elapsed()
            })
        })
        .collect();
    let slowest = runtimes[0]
        .block_on(join_all(tasks))
        .into_iter()
        .map(|ended| ended.expect("no operation panics"))
        .max()
        .expect("there is a task");
    slowest.as_secs_f64() * 1e9 / f64::from(ops)
}

/// Where tasks wait until each has a thread to itself. None may block: a worker takes several tasks
/// at once, and those behind the one that blocks it might stay there.
struct Start(Mutex<Vec<Option<ThreadId>>>);

impl Start {
    fn of(tasks: usize) -> Self {
        Self(Mutex::new(vec![None; tasks]))
    }

    async fn together(&self, task: usize) {
        while !self.all_apart(task) {
            tokio::task::yield_now().await;
        }
    }

    /// Notes on which thread `task` is now. Once true for one of them it stays true, and they begin
    /// within moments: that task keeps its thread busy, so none of the others goes on there.
    fn all_apart(&self, task: usize) -> bool {
        let mut threads = self.0.lock().expect("nobody panics here");
        threads[task] = Some(std::thread::current().id());
        let different: HashSet<_> = threads.iter().flatten().collect();
        different.len() == threads.len()
    }
}
