//! Shared and owned contexts: whose pools end when.

use std::sync::Arc;
use std::time::Duration;

use operation_context::{OperationContext, OperationErrorKind, setup_service_container};
use pool_postgres::PostgresPool;
use service_container::{DisposeError, DisposeOptions};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::support::{PATIENCE, application, servers};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

async fn answer(context: &OperationContext) -> Result<i32, AnyError> {
    let answer = sqlx::query_scalar("select 42")
        .fetch_one(context.postgres().await?)
        .await?;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shared_context_ends_its_scope_and_leaves_the_pools() {
    let Some(servers) = servers() else { return };
    let container = setup_service_container(servers.config("context_shared"))
        .await
        .unwrap();
    for _ in 0..3 {
        let context = OperationContext::create("quotes", "import").container(&container);
        assert_eq!(answer(&context).await.unwrap(), 42);
        drop(context.mongodb().await.unwrap().acquire().await.unwrap());
        context.dispose().await.unwrap();
        let error = context.postgres().await.unwrap_err();
        assert_eq!(error.kind(), OperationErrorKind::Disposed);
        assert!(error.to_string().contains("quotes.import"), "{error}");
    }
    let pool = container.ready::<PostgresPool>().unwrap().clone();
    assert!(!pool.is_closed());
    assert_eq!(
        pool.pool_metrics().counters.opened,
        1,
        "one connection served all three"
    );

    let report = container.dispose().await.unwrap();
    assert!(pool.is_closed());
    assert_eq!(report.services.len(), 3, "{report}");
    assert_eq!(servers.count(&application("context_shared"), 0).await, 0);
    let context = OperationContext::create("quotes", "late").container(&container);
    let error = context.postgres().await.unwrap_err();
    assert_eq!(error.kind(), OperationErrorKind::Disposed);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owned_context_closes_its_own_pools() {
    let Some(servers) = servers() else { return };
    let name = "context_owned";
    let context = OperationContext::create("quotes", "import").config(servers.config(name));
    assert_eq!(answer(&context).await.unwrap(), 42);
    let pool = context.postgres().await.unwrap().clone();
    assert_eq!(servers.count(&application(name), 1).await, 1);

    let report = context.dispose().await.unwrap().expect("pools were made");
    assert!(pool.is_closed());
    assert_eq!(
        report.services.len(),
        2,
        "the pool and the factory: {report}"
    );
    assert_eq!(servers.count(&application(name), 0).await, 0);
    assert!(
        context.dispose().await.unwrap().is_some(),
        "the same report again"
    );
}

#[tokio::test]
async fn a_context_that_asks_for_nothing_opens_nothing() {
    let context = OperationContext::create("quotes", "idle").with_metadata("source", "test");
    assert_eq!(context.metadata("source"), Some("test"));
    assert!(context.dispose().await.unwrap().is_none());
    let error = context.mongodb().await.unwrap_err();
    assert_eq!(error.kind(), OperationErrorKind::Disposed);
}

#[tokio::test]
async fn a_pool_that_the_container_does_not_have_is_named() {
    let container = service_container::Container::builder().build().unwrap();
    let context = OperationContext::create("quotes", "import").container(&container);
    let error = context.mongodb().await.unwrap_err();
    assert_eq!(error.kind(), OperationErrorKind::NotConfigured);
    let wanted = "operation `quotes.import` gets no mongodb: its container has none";
    assert_eq!(error.to_string(), wanted);
    context.dispose().await.unwrap();
    container.dispose().await.unwrap();
}

/// How the work of a `run` ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Dropped,
    Error,
    Panic,
    Success,
}

async fn work(
    ending: Ending,
    working: &Notify,
    context: &OperationContext,
) -> Result<i32, AnyError> {
    let mut transaction = context.postgres().await?.begin().await?;
    let answer: i32 = sqlx::query_scalar("select 42")
        .fetch_one(&mut *transaction)
        .await?;
    working.notify_one();
    match ending {
        Ending::Success => Ok(answer),
        Ending::Error => Err("the work failed".into()),
        Ending::Panic => panic!("the work panicked"),
        Ending::Dropped => std::future::pending().await,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn run_ends_the_operation_however_the_work_ends() {
    let Some(servers) = servers() else { return };
    for ending in [
        Ending::Success,
        Ending::Error,
        Ending::Panic,
        Ending::Dropped,
    ] {
        let name = format!("context_run_{ending:?}").to_lowercase();
        let context = OperationContext::create("quotes", "run").config(servers.config(&name));
        let working = Arc::new(Notify::new());
        // In a task of its own: the future is `Send`.
        let running = {
            let working = Arc::clone(&working);
            tokio::spawn(context.run(async move |context| work(ending, &working, context).await))
        };
        if matches!(ending, Ending::Dropped) {
            timeout(PATIENCE, working.notified()).await.unwrap();
            running.abort();
        }
        let outcome = timeout(PATIENCE, running).await.unwrap();
        match ending {
            Ending::Success => assert_eq!(outcome.unwrap().unwrap(), 42),
            Ending::Error => {
                let error = outcome.unwrap().unwrap_err();
                assert_eq!(error.to_string(), "the work failed");
            }
            Ending::Panic => assert!(outcome.unwrap_err().is_panic()),
            Ending::Dropped => assert!(outcome.unwrap_err().is_cancelled()),
        }
        assert_eq!(servers.count(&application(&name), 0).await, 0, "{ending:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_context_closes_its_own_pools_in_the_background() {
    let Some(servers) = servers() else { return };
    let name = "context_dropped";
    let context = OperationContext::create("quotes", "forgotten").config(servers.config(name));
    answer(&context).await.unwrap();
    drop(context);
    assert_eq!(servers.count(&application(name), 0).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_connection_makes_the_end_unclean_and_is_named() {
    let Some(servers) = servers() else { return };
    let config = servers
        .sources("context_stuck")
        .set("drain_timeout_ms", 2_000)
        .load()
        .unwrap();
    let context = OperationContext::create("quotes", "stuck").config(config);
    let held = context.postgres().await.unwrap().acquire().await.unwrap();
    context.mongodb().await.unwrap();
    let began = std::time::Instant::now();
    let unclean: DisposeError = timeout(PATIENCE, context.dispose())
        .await
        .unwrap()
        .unwrap_err();
    // What the pool has to close, the margin in which it says so, and the same for the factory.
    let took = began.elapsed();
    assert!(took < Duration::from_millis(7_400), "{took:?}");
    let text = unclean.to_string();
    assert!(
        text.contains("PostgresPool") && text.contains("context.rs"),
        "{text}"
    );
    assert!(
        !text.contains("MongoPool"),
        "the other pool ended well: {text}"
    );
    drop(held);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_pool_takes_neither_the_deadline_nor_what_the_others_need() {
    let Some(servers) = servers() else { return };
    let name = "context_deadline";
    let config = servers
        .sources(name)
        .set("drain_timeout_ms", 60_000)
        .load()
        .unwrap();
    let container = setup_service_container(config).await.unwrap();
    let context = OperationContext::create("quotes", "stuck").container(&container);
    assert_eq!(answer(&context).await.unwrap(), 42);
    // The pool made last is disposed of first, and has a lease out.
    let held = context.mongodb().await.unwrap().acquire().await.unwrap();
    assert_eq!(servers.count(&application(name), 1).await, 1);

    let options = DisposeOptions::default()
        .deadline(Duration::from_secs(1))
        .grace(Duration::from_secs(2));
    let began = std::time::Instant::now();
    let disposed = timeout(PATIENCE, container.dispose_with(options)).await;
    let took = began.elapsed();
    let unclean = disposed.unwrap().unwrap_err();
    assert!(
        Duration::from_secs(1) <= took && took < Duration::from_secs(5),
        "{took:?}: {unclean}"
    );
    let services: Vec<_> = unclean
        .report()
        .services
        .iter()
        .map(|service| (service.service.short(), service.outcome.to_string()))
        .collect();
    assert_eq!(services.len(), 3, "{services:?}");
    let of = |name: &str| {
        let found = services.iter().find(|(service, _)| service == name);
        &found.expect("each is accounted for").1
    };
    assert_eq!(of("MongoPool"), "timed out");
    assert_eq!(of("PostgresPool"), "clean");
    // It waits for the stuck pool as well.
    assert_eq!(of("ConnectionFactory"), "skipped: the deadline had passed");
    assert!(!unclean.to_string().contains("PostgresPool"), "{unclean}");
    assert_eq!(servers.count(&application(name), 0).await, 0);
    drop(held);
}
