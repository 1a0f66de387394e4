//! What can befall PostgreSQL.

use std::sync::Arc;

use pool_chaos::{Patience, Place, Postgres, PostgresWitness, Scenario, Stage};
use test_servers::{Environment, PostgresOptions};

use crate::{NOISE, TURN, costs_nothing};

/// What is acknowledged is to outlive the server's process.
fn options() -> PostgresOptions {
    PostgresOptions::default().setting("synchronous_commit", "on")
}

fn environment() -> Environment {
    let environment = Environment::from_env().expect("a valid environment");
    environment.without_given_servers()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_befalls_the_server_costs_a_write_a_connection_or_a_callers_time() {
    if integration_tests::postgres_url().is_none() {
        return;
    }
    let _turn = TURN.lock().await;
    let started = tokio::task::spawn_blocking(|| options().start(&environment()).unwrap());
    let server = started.await.unwrap();
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
        // Needs two servers, see below.
        if scenario == Scenario::Failover {
            continue;
        }
        costs_nothing(scenario, &stage, &pool, number * 1_000_000, patience).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_takes_over_with_the_address_costs_no_write() {
    if integration_tests::postgres_url().is_none() {
        return;
    }
    let _turn = TURN.lock().await;
    let started = tokio::task::spawn_blocking(|| {
        let primary = options().start(&environment()).unwrap();
        let replica = options().start_replica(&primary, &environment()).unwrap();
        (primary, replica)
    });
    let (primary, replica) = started.await.unwrap();
    let stage = PostgresWitness::stage_of_pair(primary, replica).await;
    let patience = Patience::with_slack(NOISE);
    let url = stage.witness.subject_url(stage.proxy.address());
    let pool = Arc::new(Postgres::new(&url, patience));
    costs_nothing(Scenario::Failover, &stage, &pool, 1, patience).await;
}
