//! Through a real PgBouncer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pool_core::AcquireErrorKind;
use pool_postgres::{PgFlavor, PostgresPool, PostgresPoolBuilder};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection, Row as _};
use test_servers::{Environment, PgBouncer, PgBouncerProgram, Server};

use crate::own_server::{self, blocking};
use crate::server::{self, SOON};

/// The programs of this machine that `wanted` picks; loud when there is none.
fn programs(what: &str, wanted: fn(&PgBouncerProgram) -> bool) -> Vec<PgBouncerProgram> {
    let environment = Environment::from_env().expect("the environment is good");
    let mut programs = PgBouncerProgram::all(&environment);
    programs.retain(wanted);
    if programs.is_empty() {
        integration_tests::skip(what);
    }
    programs
}

async fn in_front_of(
    server: &Arc<Server>,
    program: &PgBouncerProgram,
    settings: &'static [(&'static str, &'static str)],
) -> PgBouncer {
    let (server, program) = (Arc::clone(server), program.clone());
    blocking(move || {
        let environment = Environment::from_env().expect("the environment is good");
        program
            .start(&server, &environment, settings)
            .expect("PgBouncer starts")
    })
    .await
}

fn through(bouncer: &PgBouncer, flavor: PgFlavor) -> PostgresPoolBuilder {
    PostgresPool::builder(bouncer.url())
        .unwrap()
        .name("through-pgbouncer")
        .flavor(flavor)
        .acquire_timeout(SOON)
        .connect_timeout(SOON)
        .recycle_timeout(SOON)
}

/// PgBouncer's own view.
struct Console(PgConnection);

impl Console {
    async fn open(bouncer: &PgBouncer) -> Self {
        let options: PgConnectOptions = bouncer.url().parse().unwrap();
        let options = options.database("pgbouncer").extra_float_digits(None);
        Self(options.connect().await.expect("anybody may ask"))
    }

    /// Asserts that the pool has at most `max` connections to PgBouncer, which may take a moment to
    /// see that one has been closed.
    async fn has_at_most(&mut self, max: u32, pool: &PostgresPool) {
        let deadline = Instant::now() + Duration::from_secs(1);
        loop {
            let clients = self.0.fetch_all("show clients").await.unwrap();
            let name = |client: &PgRow| client.get::<String, _>("application_name");
            let ours = clients.iter().filter(|client| name(client) == pool.name());
            let ours = ours.count();
            assert!(ours > 0, "the load goes through it");
            if ours <= max as usize {
                return;
            }
            assert!(Instant::now() < deadline, "{ours} with a maximum of {max}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_loses_statements_is_refused_at_once_with_the_setting_to_change() {
    let Some(server) = own_server::start().await.map(Arc::new) else {
        return;
    };
    for program in programs("any PgBouncer", |_| true) {
        let bouncer = if program.tracks_statements() {
            let settings = &[
                ("pool_mode", "transaction"),
                ("max_prepared_statements", "0"),
            ];
            in_front_of(&server, &program, settings).await
        } else {
            in_front_of(&server, &program, &[("pool_mode", "transaction")]).await
        };
        // More than once: what a refused connect leaves at the server must not decide the next.
        for _ in 0..3 {
            let pool = through(&bouncer, PgFlavor::PgBouncerTransaction)
                .build()
                .unwrap();
            let error = pool.acquire().await.unwrap_err();
            assert_eq!(error.kind(), AcquireErrorKind::Connect, "at once: {error}");
            let error = error.to_string();
            assert!(error.contains("max_prepared_statements = 200"), "{error}");
            pool.close(SOON).await;
        }
        let pool = through(&bouncer, PgFlavor::Direct).build().unwrap();
        let error = pool.acquire().await.unwrap_err();
        assert_eq!(error.kind(), AcquireErrorKind::Connect, "at once: {error}");
        let error = error.to_string();
        assert!(error.contains("extra_float_digits"), "{error}");
        pool.close(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_several_poolers_has_to_prove_that_it_keeps_statements() {
    let Some(server) = own_server::start().await.map(Arc::new) else {
        return;
    };
    let tracking = PgBouncerProgram::tracks_statements;
    for program in programs("PgBouncer 1.21 or later", tracking) {
        let keeps = &[
            ("pool_mode", "transaction"),
            ("max_prepared_statements", "200"),
        ];
        let loses = &[
            ("pool_mode", "transaction"),
            ("max_prepared_statements", "0"),
        ];
        let (keeps, loses) = (
            in_front_of(&server, &program, keeps).await,
            in_front_of(&server, &program, loses).await,
        );
        let second: PgConnectOptions = loses.url().parse().unwrap();
        let pool = through(&keeps, PgFlavor::PgBouncerTransaction)
            .or_host(second.get_host(), second.get_port())
            .build()
            .unwrap();
        sqlx::query("select 1").execute(&pool).await.unwrap();
        blocking(move || drop(keeps)).await;
        pool.soft_evict();
        let waits = tokio::spawn({
            let pool = pool.clone();
            async move { pool.acquire().await.map(drop) }
        });
        server::until("the second was tried", || {
            let error = pool.pool_metrics().last_error.unwrap_or_default();
            error.contains("max_prepared_statements = 200")
        })
        .await;
        assert_eq!(pool.counts().idle, 0, "it was not taken");
        waits.abort();
        pool.close(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_waits_for_a_server_that_is_away_behind_a_pooler() {
    for program in programs("any PgBouncer", |_| true) {
        let Some(server) = own_server::start().await.map(Arc::new) else {
            return;
        };
        let settings = &[
            ("pool_mode", "session"),
            ("server_login_retry", "1"),
            ("query_wait_timeout", "1"),
        ];
        let bouncer = in_front_of(&server, &program, settings).await;
        let pool = through(&bouncer, PgFlavor::PgBouncerSession)
            .limits(0, 2)
            .build()
            .unwrap();
        sqlx::query("select 1").execute(&pool).await.unwrap();
        let mut server = Arc::into_inner(server).expect("nobody else has it");
        let mut server = blocking(move || {
            server.kill().expect("it can be killed");
            server
        })
        .await;
        pool.soft_evict();
        let caller = tokio::spawn({
            let pool = pool.clone();
            async move { sqlx::query("select 1").execute(&pool).await }
        });
        server::until("the pooler has turned it down", || {
            let codes = pool.pool_metrics().connect_failure_codes;
            codes.contains_key("08P01")
        })
        .await;
        assert!(!caller.is_finished(), "it waits");
        let server = blocking(move || {
            server.restart().expect("it comes back");
            server
        })
        .await;
        caller.await.unwrap().expect("it was kept for the server");
        assert!(pool.close(SOON).await.clean);
        blocking(move || drop((bouncer, server))).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_session_mode_any_version_serves_with_settings_and_cancels() {
    let Some(server) = own_server::start().await.map(Arc::new) else {
        return;
    };
    for program in programs("any PgBouncer", |_| true) {
        let bouncer = in_front_of(&server, &program, &[("pool_mode", "session")]).await;
        let pool = through(&bouncer, PgFlavor::PgBouncerSession)
            .limits(0, 1)
            .init_sql("set lock_timeout = '77ms'")
            .build()
            .unwrap();
        let sleep = sqlx::query("select pg_sleep(600)").execute(&pool);
        tokio::time::timeout(Duration::from_millis(300), sleep)
            .await
            .unwrap_err();
        for _ in 0..3 {
            let timeout: String = sqlx::query_scalar("select current_setting('lock_timeout')")
                .fetch_one(&pool)
                .await
                .unwrap();
            assert_eq!(timeout, "77ms");
        }
        let counters = pool.pool_metrics().counters;
        assert_eq!(counters.opened, 1, "it was cancelled, not replaced");
        pool.close(SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_transactions_and_resizes_under_load_in_transaction_mode() {
    let Some(server) = own_server::start().await.map(Arc::new) else {
        return;
    };
    let settings = &[
        ("pool_mode", "transaction"),
        ("max_prepared_statements", "200"),
        // Fewer than the pool has: each transaction gets another session.
        ("default_pool_size", "3"),
    ];
    let tracking = PgBouncerProgram::tracks_statements;
    for program in programs("PgBouncer 1.21 or later", tracking) {
        let bouncer = in_front_of(&server, &program, settings).await;
        let pool = through(&bouncer, PgFlavor::PgBouncerTransaction)
            .limits(0, 8)
            .build()
            .unwrap();
        own_server::execute(
            &server,
            "drop table if exists rows; create table rows (n int8)",
        )
        .await;
        let stop = Arc::new(AtomicBool::new(false));
        let load: Vec<_> = (0..12)
            .map(|task| {
                let (pool, stop) = (pool.clone(), Arc::clone(&stop));
                tokio::spawn(work(pool, task, stop))
            })
            .collect();
        let mut console = Console::open(&bouncer).await;
        let mut was = 0;
        for max in [8, 2, 16, 1, 12, 3] {
            pool.set_limits(0, max).unwrap();
            server::until("it has grown", || max < was || pool.counts().total > was).await;
            server::until("it has shrunk", || pool.counts().total <= max).await;
            was = max;
            let before = pool.pool_metrics().counters.returned;
            server::until("it goes on", || {
                pool.pool_metrics().counters.returned > before + 200
            })
            .await;
            console.has_at_most(max, &pool).await;
            assert!(own_server::connections(&server, &pool).await <= 3);
        }
        stop.store(true, Ordering::Relaxed);
        let mut committed = 0;
        for task in load {
            committed += task.await.expect("no statement failed");
        }
        let rows: i64 = sqlx::query_scalar("select count(*) from rows")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(rows, committed, "what was committed, and nothing else");
        server::until("all is idle", || pool.counts().active == 0).await;
        let metrics = pool.pool_metrics();
        assert_eq!(metrics.errors, 0, "{metrics:?}");
        assert!(pool.close(SOON).await.clean);
    }
}

/// Statements of several texts, and transactions that are committed, rolled back and dropped;
/// returns how many rows were committed.
async fn work(pool: PostgresPool, task: i64, stop: Arc<AtomicBool>) -> i64 {
    let mut committed = 0;
    for n in (task * 1_000_000).. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        // Another text for each of 20, so that statements are prepared all the time.
        let sql = AssertSqlSafe(format!("select $1::int8 + {}", n % 20));
        let sum: i64 = sqlx::query_scalar(sql)
            .bind(n)
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(sum, n + n % 20, "another one's answer");
        let mut transaction = pool.begin().await.unwrap();
        for _ in 0..2 {
            sqlx::query("insert into rows values ($1)")
                .bind(n)
                .execute(&mut transaction)
                .await
                .unwrap();
        }
        match n % 3 {
            0 => {
                transaction.commit().await.unwrap();
                committed += 2;
            }
            1 => transaction.rollback().await.unwrap(),
            _ => drop(transaction),
        }
    }
    committed
}

#[tokio::test]
async fn what_does_not_last_behind_a_pooler_is_refused_when_the_pool_is_built() {
    let builder = PostgresPool::builder("postgres://app@127.0.0.1:1/market").unwrap();
    let error = builder
        .flavor(PgFlavor::PgBouncerTransaction)
        .init_sql("set search_path = app")
        .reset_sql("discard all")
        .build()
        .unwrap_err()
        .to_string();
    assert!(error.contains("init_sql does not last"), "{error}");
    assert!(error.contains("reset_sql does not last"), "{error}");
}
