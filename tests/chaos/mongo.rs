//! What can befall MongoDB.

use std::sync::Arc;

use pool_chaos::{Leases, MongoWitness, Patience, Place, Scenario, Stage};
use test_servers::{Environment, MongoOptions};

use crate::{NOISE, TURN, costs_nothing};

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_befalls_the_server_costs_a_write_a_lease_or_a_callers_time() {
    if integration_tests::mongodb_url().is_none() {
        return;
    }
    let _turn = TURN.lock().await;
    let started = tokio::task::spawn_blocking(|| {
        let environment = Environment::from_env().expect("a valid environment");
        // So few that somebody can take all of them.
        let options = MongoOptions::default().max_connections(100);
        options.start(&environment.without_given_servers())
    });
    let server = started.await.unwrap().expect("a server can be started");
    if server.pid().is_none() {
        eprintln!("SKIPPED: this server is no process that a test could kill");
        return;
    }
    let witness = MongoWitness::new(server.url()).await;
    let stage = Stage::new(Place::Server(server), witness).await;
    let patience = Patience::with_slack(NOISE);
    let uri = stage.witness.subject_uri(stage.proxy.address(), None);
    let leases = Arc::new(Leases::new(&uri, patience).await);
    for (number, &scenario) in (1_i64..).zip(Scenario::ALL) {
        // The suite of failovers has replica sets.
        if scenario == Scenario::Failover {
            continue;
        }
        costs_nothing(scenario, &stage, &leases, number * 1_000_000, patience).await;
    }
}
