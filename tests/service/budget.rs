//! One number of connections for several pools, as the servers count them.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use connection_factory::ConnectionFactory;
use pool_postgres::PostgresPool;
use sqlx::Connection as _;

use crate::support::{PATIENCE, Servers, servers};

/// Services `a`, `b` and `c` at one server, with a budget of `max`.
fn factory(servers: &Servers, name: &str, max: u32) -> ConnectionFactory {
    let (_, address) = servers.postgres.rsplit_once('@').expect("a user");
    let address = address.split_once('/').expect("a database").0;
    let mut sources = connection_factory::FactoryConfig::sources()
        .set("budgets.main.server", address)
        .set("budgets.main.max_connections", max)
        .set("defaults.postgres.url", &servers.postgres)
        .set("defaults.postgres.max_connections", 10);
    for service in ["a", "b", "c"] {
        let label = format!("{name}_{}_{service}", std::process::id());
        sources = sources.set(&format!("services.{service}.postgres.name"), label);
    }
    let sources = sources.set("services.c.postgres.min_connections", 2);
    ConnectionFactory::new(sources.load().expect("the sources are right"))
}

/// Within which a server that is busy sees a connection off.
const SEES_THEM_GO: Duration = Duration::from_secs(1);

/// Callers that come back for more until it stops.
fn flood(pool: &PostgresPool, callers: u32, stop: &Arc<AtomicBool>) -> Arc<AtomicU32> {
    let served = Arc::new(AtomicU32::new(0));
    for _ in 0..callers {
        let (pool, stop, served) = (pool.clone(), Arc::clone(stop), Arc::clone(&served));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                sqlx::query("select pg_sleep(0.005)")
                    .execute(&pool)
                    .await
                    .expect("it is served in time");
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    served
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_never_counts_more_than_the_budget_and_nobody_is_starved() {
    const MAX: u32 = 6;
    let Some(servers) = servers() else { return };
    let name = "budget_shared";
    let factory = factory(&servers, name, MAX);
    let a = factory.postgres("a").await.unwrap();
    let b = factory.postgres("b").await.unwrap();
    let c = factory.postgres("c").await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let by_a = flood(&a, 40, &stop);

    let mut watcher = sqlx::PgConnection::connect(&servers.postgres)
        .await
        .unwrap();
    let ours = format!("{name}_{}_%", std::process::id());
    let mut by_b = None;
    let mut peak = 0;
    let mut too_many: Option<(Instant, HashSet<(i32, String)>)> = None;
    let began = Instant::now();
    loop {
        let seen: Vec<(i32, String)> = sqlx::query_as(
            "select pid, backend_start::text from pg_stat_activity where application_name like $1",
        )
        .bind(&ours)
        .fetch_all(&mut watcher)
        .await
        .unwrap();
        peak = peak.max(seen.len());
        // The server lists a backend for a moment after its client has gone, and another one may
        // have come by then: of a list that is too long, no more than the budget may stay.
        let (since, listed) =
            too_many.get_or_insert_with(|| (Instant::now(), seen.iter().cloned().collect()));
        listed.retain(|backend| seen.contains(backend));
        if listed.len() <= MAX as usize {
            too_many = None;
        } else {
            let stay = listed.len();
            assert!(since.elapsed() < SEES_THEM_GO, "{stay} connections stay");
        }
        let parts = factory.budgets().remove(0);
        assert!(parts.total <= MAX, "{parts:?}");
        let of = |at: usize| parts.pools[at].total;
        match &by_b {
            // Alone, the first flood comes to have all but the minimum of the third.
            None if of(0) == MAX - 2 => by_b = Some(flood(&b, 400, &stop)),
            // Then both floods have the same, however different they are.
            Some(by_b) if of(0) == 2 && of(1) == 2 && by_b.load(Ordering::Relaxed) > 50 => break,
            _ => {}
        }
        assert!(began.elapsed() < PATIENCE, "{parts:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(peak >= MAX as usize, "all of it was used: {peak}");
    assert!(by_a.load(Ordering::Relaxed) > 50);
    assert_eq!(c.pool_metrics().counters.closed.surplus, 0, "its minimum");
    // The third is served although both others wait in long queues.
    sqlx::query("select 1").execute(&c).await.unwrap();

    stop.store(true, Ordering::Relaxed);
    assert!(factory.drain(PATIENCE).await.clean);
}

#[tokio::test(flavor = "multi_thread")]
async fn leases_and_connections_to_different_servers_do_not_share() {
    let Some(servers) = servers() else { return };
    let config = servers
        .sources("budget_apart")
        .set("budgets.documents.server", host(&servers.mongodb))
        .set("budgets.documents.max_connections", 2)
        .load()
        .unwrap();
    let factory = ConnectionFactory::new(config);
    let mongodb = factory.mongodb("test").await.unwrap();
    let postgres = factory.postgres("test").await.unwrap();
    assert_eq!((mongodb.counts().max, postgres.counts().max), (2, 10));
    let held = [
        mongodb.acquire().await.unwrap(),
        mongodb.acquire().await.unwrap(),
    ];
    let third = tokio::time::timeout(Duration::from_millis(100), mongodb.acquire()).await;
    assert!(third.is_err(), "the budget is used up");
    let budget = factory.budgets().remove(0);
    assert_eq!((budget.total, &*budget.pools[0].pool), (2, "test/mongodb"));
    drop(held);
    assert!(factory.drain(PATIENCE).await.clean);
}

fn host(url: &str) -> &str {
    let (_, rest) = url.rsplit_once('@').expect("a user");
    rest.split(['/', '?']).next().expect("a host")
}
