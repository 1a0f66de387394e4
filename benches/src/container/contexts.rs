//! An operation: created, both pools touched, disposed of.

use anyhow::Context as _;
use benches::Report;
use connection_factory::FactoryConfig;
use operation_context::{OperationContext, setup_service_container};
use service_container::Container;
use tokio::runtime::Runtime;

use crate::scopes::{runtime, time};
use crate::{APART, THREADS, per_op};

/// One way to run it: a task for each place, which is a runtime and a container.
struct Way {
    metric: &'static str,
    runtimes: Vec<Runtime>,
    containers: Vec<Container>,
    /// The runtime and the container of each task.
    tasks: Vec<usize>,
}

pub(crate) fn measure(report: &mut Report, rounds: u32, ops: u32) -> anyhow::Result<()> {
    let variables: Vec<_> = std::env::vars().collect();
    let config = FactoryConfig::sources()
        .server_urls(&variables)
        .set("services.bench.mongodb.database", "bench")
        .load()
        .context("POSTGRES_URL and MONGODB_URL say where the servers are")?;
    let mut ways = Vec::new();
    for threads in THREADS {
        ways.push(Way::new(&config, per_op(threads), &[threads])?);
    }
    ways.push(Way::new(&config, APART, &[1, 1])?);
    for _ in 0..rounds {
        for way in &ways {
            way.measure(report, ops);
        }
    }
    for Way {
        runtimes,
        containers,
        ..
    } in &ways
    {
        for (runtime, container) in runtimes.iter().zip(containers) {
            runtime.block_on(container.dispose())?;
        }
    }
    Ok(())
}

impl Way {
    /// A runtime and a container for each of `threads`, with so many threads and tasks.
    fn new(
        config: &FactoryConfig,
        metric: &'static str,
        threads: &[usize],
    ) -> anyhow::Result<Self> {
        let mut way = Self {
            metric,
            runtimes: Vec::new(),
            containers: Vec::new(),
            tasks: Vec::new(),
        };
        for (place, threads) in threads.iter().enumerate() {
            let runtime = runtime(*threads, place)?;
            let container = runtime.block_on(setup_service_container(config.clone()))?;
            way.runtimes.push(runtime);
            way.containers.push(container);
            way.tasks.extend(std::iter::repeat_n(place, *threads));
        }
        Ok(way)
    }

    fn measure(&self, report: &mut Report, ops: u32) {
        let runtimes: Vec<_> = self.tasks.iter().map(|at| &self.runtimes[*at]).collect();
        let container = |task: usize| self.containers[self.tasks[task]].clone();
        let untouched = time(&runtimes, ops, |task| {
            let container = container(task);
            move || {
                let context = OperationContext::create("bench", "idle").container(&container);
                async move {
                    context.dispose().await.expect("there is nothing to end");
                }
            }
        });
        let both = time(&runtimes, ops / 5, |task| {
            let container = container(task);
            move || {
                let context = OperationContext::create("bench", "both").container(&container);
                async move {
                    let postgres = context.postgres().await.expect("it is made");
                    let mongodb = context.mongodb().await.expect("it is made");
                    assert!(!postgres.is_closed() && !mongodb.is_closed());
                    context.dispose().await.expect("nothing can fail");
                }
            }
        });
        for (subject, nanos) in [
            ("operation-context/untouched", untouched),
            ("operation-context/both-pools", both),
        ] {
            report.add("container/context", subject, self.metric, "ns", nanos);
        }
    }
}
