//! Code to which nobody passes a container, in a process of its own: the environment is all it has.

use std::process::{Command, Output};

use mongodb::bson::{Document, doc};
use operation_context::{OperationContext, OperationErrorKind};
use service_container::DisposeReport;

use crate::support::{Servers, servers};

/// Says to this program, run as another process, that it is that code.
const WITHIN: &str = "WITHOUT_A_CONTAINER";

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// As it stands somewhere deep in a service. Whoever has a container gives its own operation.
async fn note(context: &OperationContext, symbol: &str) -> Result<i64, AnyError> {
    let lease = context.mongodb().await?.acquire().await?;
    let notes = lease.collection::<Document>("notes");
    notes.insert_one(doc! { "symbol": symbol }).await?;
    let noted = notes.count_documents(doc! {}).await?;
    let doubled = sqlx::query_scalar("select 2 * $1::bigint")
        .bind(i64::try_from(noted)?)
        .fetch_one(context.postgres().await?)
        .await?;
    Ok(doubled)
}

/// Runs the test `name` of this program as a process of its own, in a folder with a `pools.toml`.
fn run(servers: &Servers, name: &str, toml: &str, variables: &[(&str, &str)]) -> Output {
    let label = format!("compat_{}_{}", name.len(), std::process::id());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("pools.toml"), toml).unwrap();
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("compat::{name}"), "--nocapture"])
        .current_dir(&folder)
        .env(WITHIN, &label)
        .env("POSTGRES_URL", &servers.postgres)
        .env("MONGODB_URL", &servers.mongodb)
        .env("POOLS_DEFAULTS__POSTGRES__NAME", &label)
        .env("POOLS_DEFAULTS__MONGODB__DATABASE", &label)
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

#[track_caller]
fn assert_passed(output: &Output) {
    let (said, failed) = (&output.stdout, &output.stderr);
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(said),
        String::from_utf8_lossy(failed)
    );
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operation_without_a_container_makes_what_it_needs_and_closes_it() {
    let Some(servers) = servers() else { return };
    let Ok(label) = std::env::var(WITHIN) else {
        let name = "an_operation_without_a_container_makes_what_it_needs_and_closes_it";
        let toml = "[defaults.postgres]\nmax_connections = 3\n";
        assert_passed(&run(&servers, name, toml, &[]));
        return;
    };
    for round in 1..=2 {
        let context = OperationContext::create("legacy", "note");
        let doubled = note(&context, "AAPL").await.unwrap();
        assert_eq!(doubled, 2 * round);
        // Named by a variable, sized by the file.
        let pool = context.postgres().await.unwrap().clone();
        assert_eq!(pool.limits().max(), 3);
        assert_eq!(servers.count(&label, 1).await, 1);
        if round == 2 {
            let lease = context.mongodb().await.unwrap().acquire().await.unwrap();
            lease.database().drop().await.unwrap();
        }
        let report: DisposeReport = context.dispose().await.unwrap().expect("it made pools");
        assert_eq!(report.services.len(), 3, "{report}");
        assert!(pool.is_closed());
        assert_eq!(servers.count(&label, 0).await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_can_come_later_and_the_code_stays_as_it_is() {
    let Some(servers) = servers() else { return };
    let config = servers.config("compat_later");
    let container = operation_context::setup_service_container(config)
        .await
        .unwrap();
    for round in 1..=2 {
        let noted = OperationContext::create("legacy", "note")
            .container(&container)
            .run(async |context| note(context, "AAPL").await)
            .await;
        assert_eq!(noted.unwrap(), 2 * round);
    }
    let lease = container.get::<pool_mongo::MongoPool>().await.unwrap();
    lease
        .acquire()
        .await
        .unwrap()
        .database()
        .drop()
        .await
        .unwrap();
    container.dispose().await.unwrap();
}

#[tokio::test]
async fn a_standard_configuration_that_cannot_be_used_is_the_error_of_who_asks() {
    let Some(servers) = servers() else { return };
    if std::env::var_os(WITHIN).is_none() {
        let name = "a_standard_configuration_that_cannot_be_used_is_the_error_of_who_asks";
        let toml = "[defaults.postgres]\nmaxConections = 3\n";
        let variables = [("POOLS_DEFAULTS__POSTGRES__MAX_WAITERS", "many")];
        assert_passed(&run(&servers, name, toml, &variables));
        return;
    }
    let context = OperationContext::create("legacy", "note");
    let error = context.postgres().await.unwrap_err();
    assert_eq!(error.kind(), OperationErrorKind::Setup);
    let text = crate::support::chain(&error);
    for wanted in [
        "legacy.note",
        "`defaults.postgres.maxConections` in file",
        "pools.toml",
        "`POOLS_DEFAULTS__POSTGRES__MAX_WAITERS` in the environment: is text",
    ] {
        assert!(text.contains(wanted), "want {wanted}: {text}");
    }
    // Nothing was made, so nothing is to be closed.
    assert!(context.dispose().await.unwrap().is_none());
}
