//! Transactions and savepoints, ended in every way.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pool_postgres::{IsolationLevel, PgTransaction, PostgresPool, RetryPolicy, TransactionOptions};
use pool_testkit::Fault;
use sqlx::AssertSqlSafe;

use crate::server::{self, Server};

struct Story {
    pool: PostgresPool,
    server: Server,
    table: String,
}

async fn story(name: &str) -> Option<Story> {
    let (builder, mut server) = server::pool(name).await?;
    let table = server.table().await;
    let pool = builder.limits(0, 1).build().unwrap();
    Some(Story {
        pool,
        server,
        table,
    })
}

impl Story {
    fn insert(&self, n: i64) -> AssertSqlSafe<String> {
        AssertSqlSafe(format!("insert into {} values ({n})", self.table))
    }

    async fn rows(&mut self) -> Vec<i64> {
        sqlx::query_scalar(AssertSqlSafe(format!(
            "select n from {} order by n",
            self.table
        )))
        .fetch_all(&self.pool)
        .await
        .unwrap()
    }

    /// The one connection of the pool is clean, was not replaced, and holds no transaction.
    async fn ends_clean(mut self, rows: &[i64]) {
        assert_eq!(self.rows().await, rows);
        server::until("it is idle", || self.pool.counts().idle == 1).await;
        assert_eq!(self.server.in_transaction().await, 0);
        let metrics = self.pool.pool_metrics();
        assert_eq!(metrics.counters.opened, 1, "{metrics:?}");
    }
}

#[tokio::test]
async fn what_is_committed_stays_and_what_is_rolled_back_does_not() {
    let Some(story) = story("commit").await else {
        return;
    };
    let mut transaction = story.pool.begin().await.unwrap();
    sqlx::query(story.insert(1))
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    let mut transaction = story.pool.begin().await.unwrap();
    sqlx::query(story.insert(2))
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.rollback().await.unwrap();
    story.ends_clean(&[1]).await;
}

#[tokio::test]
async fn a_dropped_transaction_is_rolled_back_before_anybody_else_works() {
    let Some(story) = story("dropped").await else {
        return;
    };
    let mut transaction = story.pool.begin().await.unwrap();
    sqlx::query(story.insert(1))
        .execute(&mut *transaction)
        .await
        .unwrap();
    drop(transaction);
    story.ends_clean(&[]).await;
}

#[tokio::test]
async fn savepoints_nest_and_end_on_their_own() {
    let Some(story) = story("savepoints").await else {
        return;
    };
    let mut outer = story.pool.begin().await.unwrap();
    sqlx::query(story.insert(1))
        .execute(&mut *outer)
        .await
        .unwrap();
    {
        let mut inner = outer.begin().await.unwrap();
        sqlx::query(story.insert(2))
            .execute(&mut *inner)
            .await
            .unwrap();
        let mut innermost: PgTransaction<'_> = inner.begin().await.unwrap();
        sqlx::query(story.insert(3))
            .execute(&mut *innermost)
            .await
            .unwrap();
        innermost.commit().await.unwrap();
        inner.rollback().await.unwrap();
    }
    {
        let mut dropped = outer.begin().await.unwrap();
        sqlx::query(story.insert(4))
            .execute(&mut *dropped)
            .await
            .unwrap();
    }
    let mut inner = outer.begin().await.unwrap();
    sqlx::query(story.insert(5))
        .execute(&mut *inner)
        .await
        .unwrap();
    inner.commit().await.unwrap();
    outer.commit().await.unwrap();
    story.ends_clean(&[1, 5]).await;
}

#[tokio::test]
async fn an_error_in_a_savepoint_is_undone_with_it() {
    let Some(story) = story("savepoint-error").await else {
        return;
    };
    let mut outer = story.pool.begin().await.unwrap();
    sqlx::query(story.insert(1))
        .execute(&mut outer)
        .await
        .unwrap();
    let mut inner = outer.begin().await.unwrap();
    sqlx::query(story.insert(1))
        .execute(&mut inner)
        .await
        .unwrap_err();
    drop(inner);
    sqlx::query(story.insert(2))
        .execute(&mut outer)
        .await
        .unwrap();
    outer.commit().await.unwrap();
    story.ends_clean(&[1, 2]).await;
}

#[tokio::test]
async fn a_commit_that_the_server_turned_into_a_rollback_is_an_error() {
    let Some(story) = story("failed-commit").await else {
        return;
    };
    let mut transaction = story.pool.begin().await.unwrap();
    sqlx::query(story.insert(1))
        .execute(&mut transaction)
        .await
        .unwrap();
    sqlx::query(story.insert(1))
        .execute(&mut transaction)
        .await
        .unwrap_err();
    let error = transaction.commit().await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "25P02");
    story.ends_clean(&[]).await;
}

/// Polls a future `polls` times with pauses, then drops it.
async fn cut(future: impl Future, polls: u32) -> bool {
    let mut future = std::pin::pin!(future);
    for _ in 0..polls {
        if futures_util::poll!(future.as_mut()).is_ready() {
            return true;
        }
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    false
}

#[tokio::test]
async fn a_begin_cancelled_at_any_point_leaves_no_transaction() {
    let Some(story) = story("cut-begin").await else {
        return;
    };
    let (mut cancelled, mut begun) = (0, 0);
    for polls in 1..=6 {
        for _ in 0..5 {
            match cut(story.pool.begin(), polls).await {
                true => begun += 1,
                false => cancelled += 1,
            }
        }
        sqlx::query(story.insert(i64::from(polls)))
            .execute(&story.pool)
            .await
            .unwrap();
    }
    assert!(
        cancelled >= 5 && begun >= 1,
        "{cancelled} cancelled, {begun} begun"
    );
    // Had a BEGIN stayed open, the inserts would not be there for the witness.
    let mut story = story;
    let seen = story
        .server
        .number(&format!("select count(*) from {}", story.table))
        .await;
    assert_eq!(seen, 6);
    story.ends_clean(&[1, 2, 3, 4, 5, 6]).await;
}

#[tokio::test]
async fn a_cancelled_savepoint_fails_the_transaction_instead_of_ending_it_unseen() {
    let Some(story) = story("cut-savepoint").await else {
        return;
    };
    // No answer comes within a poll.
    let (options, proxy) = server::behind_a_proxy().await.unwrap();
    story.pool.set_connect_options(options);
    proxy.set(Fault::Delay(Duration::from_millis(20))).await;
    let mut outer = story.pool.begin().await.unwrap();
    sqlx::query(story.insert(1))
        .execute(&mut outer)
        .await
        .unwrap();
    assert!(!cut(outer.begin(), 1).await);
    for _ in 0..2 {
        sqlx::query(story.insert(2))
            .execute(&mut *outer)
            .await
            .unwrap_err();
    }
    outer.begin().await.unwrap_err();
    let error = outer.commit().await.unwrap_err().to_string();
    assert!(error.contains("nested begin was cancelled"), "{error}");
    story.ends_clean(&[]).await;
}

#[tokio::test]
async fn a_cancelled_commit_leaves_the_connection_clean() {
    let Some(story) = story("cut-commit").await else {
        return;
    };
    for n in 1..=10 {
        let mut transaction = story.pool.begin().await.unwrap();
        sqlx::query(story.insert(n))
            .execute(&mut transaction)
            .await
            .unwrap();
        cut(transaction.commit(), 1).await;
    }
    let mut story = story;
    // All or nothing for each; the COMMIT had been sent, so it is all.
    assert_eq!(story.rows().await, Vec::from_iter(1..=10));
    story.ends_clean(&Vec::from_iter(1..=10)).await;
}

#[tokio::test]
async fn isolation_and_read_only_reach_the_server() {
    let Some(story) = story("options").await else {
        return;
    };
    let options = TransactionOptions::new()
        .isolation(IsolationLevel::Serializable)
        .read_only();
    let mut transaction = story.pool.begin_with(options).await.unwrap();
    let level: String = sqlx::query_scalar("select current_setting('transaction_isolation')")
        .fetch_one(&mut transaction)
        .await
        .unwrap();
    assert_eq!(level, "serializable");
    let error = sqlx::query(story.insert(1))
        .execute(&mut transaction)
        .await
        .unwrap_err();
    assert_eq!(error.as_database_error().unwrap().code().unwrap(), "25006");
    drop(transaction);
    // It asked for that: the pool must not take it for a failover.
    story.ends_clean(&[]).await;
}

#[tokio::test]
async fn a_transaction_on_a_guard_borrows_it() {
    let Some(story) = story("guard-begin").await else {
        return;
    };
    let mut guard = story.pool.acquire().await.unwrap();
    let mut transaction = guard.begin().await.unwrap();
    sqlx::query(story.insert(1))
        .execute(&mut *transaction)
        .await
        .unwrap();
    drop(transaction);
    let mut transaction = guard.begin().await.unwrap();
    sqlx::query(story.insert(2))
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    drop(guard);
    story.ends_clean(&[2]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn serializable_increments_are_run_again_until_all_have_counted() {
    let Some((builder, mut server)) = server::pool("retry").await else {
        return;
    };
    let table = server.table().await;
    server
        .execute(&format!("insert into {table} values (0)"))
        .await;
    let pool = builder.limits(0, 4).build().unwrap();
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let (pool, table) = (pool.clone(), table.clone());
            tokio::spawn(async move { increment_ten_times(&pool, &table).await })
        })
        .collect();
    let mut runs = 0;
    for task in tasks {
        runs += task.await.unwrap().unwrap();
    }
    assert_eq!(server.number(&format!("select n from {table}")).await, 40);
    assert!(runs > 40, "nothing collided, so nothing was shown");
}

async fn increment_ten_times(pool: &PostgresPool, table: &str) -> sqlx::Result<u32> {
    let select = &format!("select n from {table}");
    let update = &format!("update {table} set n = $1");
    let options = TransactionOptions::new().isolation(IsolationLevel::Serializable);
    let policy = RetryPolicy::new().attempts(100);
    let mut runs = 0;
    for _ in 0..10 {
        let run = pool.run_in_transaction_with(options, policy, |transaction| {
            runs += 1;
            Box::pin(async move {
                let n: i64 = sqlx::query_scalar(AssertSqlSafe(select.clone()))
                    .fetch_one(&mut *transaction)
                    .await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
                sqlx::query(AssertSqlSafe(update.clone()))
                    .bind(n + 1)
                    .execute(&mut *transaction)
                    .await
            })
        });
        run.await?;
    }
    Ok(runs)
}

/// Each of two transactions takes the row that the other one wants next: one of them is killed by the
/// server, and run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_run_again() {
    let Some((builder, mut server)) = server::pool("deadlock").await else {
        return;
    };
    let table = &server.table().await;
    server
        .execute(&format!("alter table {table} add hits int8 default 0"))
        .await;
    server
        .execute(&format!("insert into {table} values (1), (2)"))
        .await;
    let pool = builder.limits(0, 2).build().unwrap();
    let both_hold_one = &tokio::sync::Barrier::new(2);
    let runs = &AtomicU32::new(0);
    let one = async |first: i64, second: i64| {
        pool.run_in_transaction(move |transaction| {
            let run = runs.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                for n in [first, second] {
                    let sql = format!("update {table} set hits = hits + 1 where n = {n}");
                    sqlx::query(AssertSqlSafe(sql))
                        .execute(&mut **transaction)
                        .await?;
                    if n == first && run < 2 {
                        both_hold_one.wait().await;
                    }
                }
                Ok::<_, sqlx::Error>(())
            })
        })
        .await
    };
    let (one, two) = tokio::join!(one(1, 2), one(2, 1));
    one.unwrap();
    two.unwrap();
    assert_eq!(runs.load(Ordering::SeqCst), 3, "one of the two ran again");
    let hits = format!("select sum(hits)::int8 from {table}");
    assert_eq!(server.number(&hits).await, 4, "and each has counted once");
    let deadlocks = "select deadlocks from pg_stat_database where datname = current_database()";
    let deadline = Instant::now() + server::SOON;
    while server.number(deadlocks).await == 0 {
        assert!(Instant::now() < deadline, "the server has seen none");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn what_collides_each_time_is_begun_as_often_as_the_policy_says() {
    let Some(story) = story("attempts").await else {
        return;
    };
    for (attempts, wanted) in [(0, 1), (1, 1), (3, 3)] {
        let mut runs = 0;
        let policy = RetryPolicy::new()
            .attempts(attempts)
            .backoff(Duration::ZERO, Duration::ZERO);
        let run =
            story
                .pool
                .run_in_transaction_with(TransactionOptions::new(), policy, |transaction| {
                    runs += 1;
                    let insert = story.insert(1);
                    Box::pin(async move {
                        sqlx::query(insert).execute(&mut *transaction).await?;
                        let raise = "do $$ begin raise exception using errcode = '40001'; end $$";
                        sqlx::query(raise).execute(&mut *transaction).await
                    })
                });
        let error = run.await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "40001");
        assert_eq!(runs, wanted, "{attempts} attempts");
    }
    story.ends_clean(&[]).await;
}

#[tokio::test]
async fn other_errors_are_not_retried_and_roll_back() {
    type BoxError = Box<dyn std::error::Error + Send + Sync>;
    let Some(story) = story("no-retry").await else {
        return;
    };
    let mut runs = 0;
    let error = story
        .pool
        .run_in_transaction(|transaction| {
            runs += 1;
            let insert = story.insert(1);
            Box::pin(async move {
                sqlx::query(insert).execute(&mut *transaction).await?;
                Err::<(), BoxError>("not today".into())
            })
        })
        .await
        .unwrap_err();
    assert_eq!((error.to_string().as_str(), runs), ("not today", 1));
    story.ends_clean(&[]).await;
}

/// Why `PgPooledConnection::begin` is not sqlx's: what `docs/from-sqlx.md` says of sqlx 0.9 holds.
#[tokio::test]
async fn sqlx_alone_leaves_a_cancelled_begin_open_and_calls_a_rollback_a_commit() {
    use sqlx::Connection as _;
    let Some((builder, mut server)) = server::pool("sqlx-begin").await else {
        return;
    };
    let pool = builder.limits(0, 1).build().unwrap();
    // No answer comes within a poll.
    let (options, proxy) = server::behind_a_proxy().await.unwrap();
    pool.set_connect_options(options);
    proxy.set(Fault::Delay(Duration::from_millis(20))).await;
    let mut alone = pool.acquire().await.unwrap().detach();
    assert!(!cut(alone.begin(), 1).await);
    alone.ping().await.unwrap();
    assert!(!alone.is_in_transaction(), "sqlx counts no transaction");
    assert_eq!(server.in_transaction().await, 1, "the server has one");

    sqlx::query("rollback").execute(&mut alone).await.unwrap();
    let mut transaction = alone.begin().await.unwrap();
    sqlx::query("select wrong")
        .execute(&mut *transaction)
        .await
        .unwrap_err();
    transaction
        .commit()
        .await
        .expect("success, though nothing was committed");
}
