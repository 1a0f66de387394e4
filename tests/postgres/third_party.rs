//! A published crate that demands an sqlx pool, as it is: `pg_task`, which keeps tasks in a table,
//! and runs them from workers that listen, claim and write over the `PgPool` that they are given.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use pg_task::{NextStep, Step, StepResult, Worker};
use pool_postgres::PostgresPool;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

use crate::server;

const TASKS: i64 = 200;

#[derive(Debug, Serialize, Deserialize)]
struct Quote {
    n: i64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Settle {
    n: i64,
}

pg_task::task!(Trade { Quote, Settle });
pg_task::scheduler!(Tasks { Trade });

#[async_trait]
impl Step<Trade> for Quote {
    async fn step(self, db: &PgPool) -> StepResult<Trade> {
        note(db, self.n, "quoted").await?;
        NextStep::now(Settle { n: self.n })
    }
}

#[async_trait]
impl Step<Trade> for Settle {
    async fn step(self, db: &PgPool) -> StepResult<Trade> {
        note(db, self.n, "settled").await?;
        NextStep::none()
    }
}

async fn note(db: &PgPool, n: i64, what: &str) -> sqlx::Result<()> {
    let insert = sqlx::query("insert into steps select $1, $2 from pg_sleep(0.002)");
    insert.bind(n).bind(what).execute(db).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_crate_runs_on_its_part_while_the_pool_is_under_load() {
    let Some((builder, mut server)) = server::pool("third-party").await else {
        return;
    };
    let schema = format!("\"{}\"", server.name());
    server.execute(&format!("create schema {schema}")).await;
    let pool = builder
        .limits(0, 8)
        .max_connecting(8)
        .init_sql(format!("set search_path = {schema}"))
        .build()
        .unwrap();
    sqlx::migrate!("postgres/pg_task").run(&pool).await.unwrap();
    sqlx::query("create table steps (n int8, what text, primary key (n, what))")
        .execute(&pool)
        .await
        .unwrap();

    let (stop, load, done) = under_load(&pool);
    server::until("the maximum is in use", || pool.counts().total == 8).await;
    let share = pool.sqlx_pool(3).await.unwrap();
    let worker = Worker::<Tasks>::new((*share).clone())
        .with_concurrency(NonZeroUsize::new(4).expect("four is not zero"));
    let worker = tokio::spawn(async move { worker.run().await });
    let watching = Arc::clone(&stop);
    let watch = tokio::spawn(async move {
        let mut most = 0;
        while !watching.load(Ordering::Relaxed) {
            server.has_at_most(8).await;
            most = most.max(server.connections().await);
        }
        (server, most)
    });

    // Its own functions take the pool itself where they ask for an executor.
    for n in 0..TASKS {
        let task = Tasks::Trade(Trade::Quote(Quote { n }));
        pg_task::enqueue(&pool, &task).await.unwrap();
    }
    let before = done.load(Ordering::Relaxed);
    while unfinished(&pool).await > 0 {
        assert!(!worker.is_finished(), "the worker goes on");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(done.load(Ordering::Relaxed) > before, "beside the load");
    assert!(share.size() > 1, "it used its part: {share:?}");
    assert_eq!(pool.counts().total, 5, "and the pool all of its own");

    sqlx::query("select pg_notify('pg_task_changed', 'stop_worker')")
        .execute(&pool)
        .await
        .unwrap();
    worker.await.unwrap().expect("no step failed");
    stop.store(true, Ordering::Relaxed);
    let (mut server, most) = watch.await.expect("never above the maximum");
    assert!(most > 5, "both were at work at once: {most}");
    for task in load {
        task.await.unwrap();
    }
    let steps: Vec<(String, i64)> =
        sqlx::query_as("select what, count(*) from steps group by what")
            .fetch_all(&pool)
            .await
            .unwrap();
    let steps: HashMap<_, _> = steps.into_iter().collect();
    let wanted = [("quoted".to_owned(), TASKS), ("settled".to_owned(), TASKS)];
    assert_eq!(steps, HashMap::from(wanted), "each step once");
    share.close().await;
    assert_eq!(pool.engine().limits().max(), 8, "its part is back");
    server
        .execute(&format!("drop schema {schema} cascade"))
        .await;
}

/// Twelve callers that go on until told to stop, and what they have done.
fn under_load(
    pool: &PostgresPool,
) -> (
    Arc<AtomicBool>,
    Vec<tokio::task::JoinHandle<()>>,
    Arc<AtomicU64>,
) {
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let load = (0..12).map(|_| {
        let (pool, stop, done) = (pool.clone(), Arc::clone(&stop), Arc::clone(&done));
        tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let sleep = sqlx::query("select pg_sleep(0.002)");
                sleep.execute(&pool).await.expect("nobody is turned away");
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    let load = load.collect();
    (stop, load, done)
}

/// How many tasks its table still has; a task that has failed stays there, and says why.
async fn unfinished(pool: &PostgresPool) -> i64 {
    let (left, error): (i64, Option<String>) =
        sqlx::query_as("select count(*), min(error) from pg_task")
            .fetch_one(pool)
            .await
            .unwrap();
    assert_eq!(error, None, "a task failed");
    left
}
