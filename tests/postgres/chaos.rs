//! Short forms of what `cargo xtask chaos` runs for long.

use std::sync::Arc;
use std::time::Duration;

use pool_chaos::{Patience, Place, Postgres, PostgresWitness, Scenario, Stage, run};
use test_servers::{Environment, PostgresOptions};

/// What a machine that is busy with other tests may add.
const NOISE: Duration = Duration::from_secs(2);

const FAULT: Duration = Duration::from_millis(800);

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_befalls_the_server_costs_a_write_a_connection_or_a_callers_time() {
    if integration_tests::postgres_url().is_none() {
        return;
    }
    let started = tokio::task::spawn_blocking(|| {
        let environment = Environment::from_env().expect("a valid environment");
        // What is acknowledged is to outlive the server's process.
        PostgresOptions::default()
            .setting("synchronous_commit", "on")
            .start(&environment.without_given_servers())
    });
    let server = started.await.unwrap().expect("a server can be started");
    if server.pid().is_none() {
        eprintln!("SKIPPED: this server is no process that a test could kill");
        return;
    }
    let witness = PostgresWitness::new(server.url());
    let stage = Stage::new(Place::Server(server), witness).await;
    let patience = Patience::with_slack(NOISE);
    let url = stage.witness.subject_url(stage.proxy.address());
    let pool = Arc::new(Postgres::new(&url, patience));
    for (number, &scenario) in (1_i64..).zip(Scenario::ALL) {
        // Needs several servers.
        if scenario == Scenario::Failover {
            continue;
        }
        let first = number * 1_000_000;
        let outcome = run(scenario, &stage, &pool, first, FAULT, patience).await;
        let outcome = outcome.expect("all others apply");
        let complaints = outcome.complaints(Duration::from_secs(1) + NOISE);
        assert!(
            complaints.is_empty(),
            "{scenario}: {complaints:?}\n{outcome:#?}"
        );
    }
}
