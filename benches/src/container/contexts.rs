//! An operation: created, both pools touched, disposed of.

use anyhow::Context as _;
use benches::Report;
use connection_factory::FactoryConfig;
use operation_context::{OperationContext, setup_service_container};

use crate::per_op;
use crate::scopes::{runtime, time};

pub(crate) fn measure(
    report: &mut Report,
    threads: usize,
    rounds: u32,
    ops: u32,
) -> anyhow::Result<()> {
    let variables: Vec<_> = std::env::vars().collect();
    let config = FactoryConfig::sources()
        .server_urls(&variables)
        .set("services.bench.mongodb.database", "bench")
        .load()
        .context("POSTGRES_URL and MONGODB_URL say where the servers are")?;
    let runtime = runtime(threads)?;
    let container = runtime.block_on(setup_service_container(config))?;
    for _ in 0..rounds {
        let untouched = time(&runtime, threads, ops, {
            let container = container.clone();
            move || {
                let context = OperationContext::create("bench", "idle").container(&container);
                async move {
                    context.dispose().await.expect("there is nothing to end");
                }
            }
        });
        let both = time(&runtime, threads, ops / 5, {
            let container = container.clone();
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
            report.add("container/context", subject, per_op(threads), "ns", nanos);
        }
    }
    runtime.block_on(container.dispose())?;
    Ok(())
}
