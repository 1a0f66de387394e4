//! Servers that turn read-only, run full, move, or change their passwords.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pool_core::Liveness;
use pool_postgres::{Credentials, PostgresPool, TargetSessionAttrs};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::own_server;
use crate::server::{self, Server};

/// The options of the test server with the pool's own name.
fn options(name: &str) -> PgConnectOptions {
    let url = integration_tests::postgres_url().expect("there is a server");
    url.parse::<PgConnectOptions>()
        .unwrap()
        .application_name(name)
}

#[tokio::test]
async fn a_write_that_meets_a_read_only_server_has_all_connections_replaced() {
    for executor in [
        "pool",
        "guard",
        "transaction",
        "run",
        "run as sqlx spells it",
    ] {
        let Some((_, mut server)) = server::pool("read-only").await else {
            return;
        };
        let table = server.table().await;
        let insert = || AssertSqlSafe(format!("insert into {table} values (1)"));
        let old = options(server.name()).options([("default_transaction_read_only", "on")]);
        let pool = PostgresPool::from_options(old)
            .name(server.name())
            .limits(3, 3)
            .build()
            .unwrap();
        pool.warmup_pool().await.unwrap();
        // The primary has moved; the old one still answers, and cannot write.
        pool.set_connect_options(options(server.name()));
        let held = pool.acquire().await.unwrap();
        let error = match executor {
            "pool" => sqlx::query(insert()).execute(&pool).await,
            "guard" => {
                let mut guard = pool.acquire().await.unwrap();
                sqlx::query(insert()).execute(&mut guard).await
            }
            "transaction" => {
                let mut transaction = pool.begin().await.unwrap();
                sqlx::query(insert()).execute(&mut transaction).await
            }
            "run" => {
                pool.run_in_transaction(|transaction| {
                    let insert = insert();
                    Box::pin(async move { sqlx::query(insert).execute(transaction).await })
                })
                .await
            }
            _ => {
                pool.run_in_transaction(|transaction| {
                    let insert = insert();
                    Box::pin(async move { sqlx::query(insert).execute(&mut **transaction).await })
                })
                .await
            }
        };
        let error = error.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "25006");
        sqlx::query(insert())
            .execute(&pool)
            .await
            .expect("the first error was the last");
        drop(held);
        server::until("all three are replaced", || {
            let counters = pool.pool_metrics().counters;
            (counters.closed.evicted, counters.closed.broken) == (2, 1)
        })
        .await;
        server.settles_at(3).await;
    }
}

/// A pool that wants to write, with three connections to a server of its own that has just become
/// read-only.
async fn demoted(liveness: Liveness) -> Option<(PostgresPool, test_servers::Server)> {
    let server = own_server::start().await?;
    own_server::execute(&server, "create table rows (n int8)").await;
    let pool = PostgresPool::builder(server.url())
        .unwrap()
        .limits(3, 3)
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .liveness(liveness)
        .acquire_timeout(server::SOON)
        .build()
        .unwrap();
    pool.warmup_pool().await.unwrap();
    set_read_only(&server, "on").await;
    Some((pool, server))
}

/// Has all sessions of a server read only, or write again, from now on.
async fn set_read_only(server: &test_servers::Server, setting: &str) {
    let sql = format!("alter system set default_transaction_read_only = {setting}");
    own_server::execute(server, &sql).await;
    own_server::execute(server, "select pg_reload_conf()").await;
    loop {
        // Each session reads the settings for itself, when it next does something.
        let mut connection = PgConnection::connect(server.url()).await.unwrap();
        let show = sqlx::query_scalar("show transaction_read_only");
        let seen: String = show.fetch_one(&mut connection).await.unwrap();
        if seen == setting {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_of_an_idle_connection_asks_whether_its_server_still_does() {
    let Some((pool, server)) = demoted(Liveness::Always).await else {
        return;
    };
    let write = tokio::spawn({
        let pool = pool.clone();
        async move {
            let mut guard = pool.acquire().await.unwrap();
            let insert = sqlx::query("insert into rows values (1)");
            insert.execute(&mut *guard).await
        }
    });
    server::until("none of the three is lent", || {
        pool.pool_metrics().counters.closed.invalid >= 1
            && pool
                .pool_metrics()
                .connect_failure_codes
                .contains_key("session_attrs")
    })
    .await;
    assert!(!write.is_finished(), "it waits for a server that can write");
    set_read_only(&server, "off").await;
    write
        .await
        .unwrap()
        .expect("it never met the one that could not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_came_to_nothing_has_its_server_asked_whether_it_still_does() {
    for ends in ["dropped", "rolled back"] {
        let Some((pool, server)) = demoted(Liveness::Never).await else {
            return;
        };
        let mut transaction = pool.begin().await.unwrap();
        let insert = sqlx::query("insert into rows values (1)");
        // sqlx's spelling, whose errors the pool does not see.
        let error = insert.execute(&mut *transaction).await.unwrap_err();
        assert_eq!(error.as_database_error().unwrap().code().unwrap(), "25006");
        match ends {
            "dropped" => drop(transaction),
            _ => transaction.rollback().await.unwrap(),
        }
        server::until("all three are replaced", || {
            let closed = pool.pool_metrics().counters.closed;
            (closed.broken, closed.evicted) == (1, 2)
        })
        .await;
        set_read_only(&server, "off").await;
        let insert = sqlx::query("insert into rows values (1)");
        insert.execute(&pool).await.unwrap();
    }
}

#[tokio::test]
async fn a_server_without_room_bounds_the_pool_instead_of_failing_callers() {
    let Some((mut server, role)) = role("room", "connection limit 2").await else {
        return;
    };
    let pool = PostgresPool::from_options(options(server.name()).username(&role).password("one"))
        .name(server.name())
        .limits(0, 6)
        .max_connecting(6)
        .build()
        .unwrap();
    let work = async || {
        let work: Vec<_> = (0..12)
            .map(|_| {
                let pool = pool.clone();
                let sleep = async move { sqlx::query("select pg_sleep(0.1)").execute(&pool).await };
                tokio::spawn(sleep)
            })
            .collect();
        for task in work {
            task.await
                .unwrap()
                .expect("callers wait for the two there is room for");
        }
    };
    // One after the other: the server counts those that it is about to refuse, and where three ask at
    // once for the last of the room it may refuse them all.
    let first = pool.acquire().await.unwrap();
    drop((pool.acquire().await.unwrap(), first));
    work().await;
    let metrics = pool.pool_metrics();
    assert_eq!(metrics.ceiling, 2, "what the server has room for");
    let refused = metrics.counters.connect_failures;
    assert!(refused <= 4, "four at the most were under way: {refused}");
    assert_eq!(metrics.connect_failure_codes["53300"], refused);
    work().await;
    let again = pool.pool_metrics().counters.connect_failures;
    assert_eq!(
        again, refused,
        "it does not ask for what there is no room for"
    );
    assert!(server.connections().await <= 2);
    let error = pool
        .pool_metrics()
        .last_error
        .expect("the server said that it is full");
    assert!(
        error.contains("too many connections") && error.contains("53300"),
        "{error}"
    );
    server.forget(pool, &role).await;
}

#[tokio::test]
async fn the_credential_provider_is_asked_for_each_connect() {
    let Some((mut server, role)) = role("rotating", "").await else {
        return;
    };
    let password = Arc::new(Mutex::new("one"));
    let asked = Arc::new(AtomicU32::new(0));
    let pool = PostgresPool::from_options(options(server.name()))
        .name(server.name())
        .limits(0, 2)
        .acquire_timeout(Duration::from_secs(5))
        .credentials({
            let (password, asked, role) = (Arc::clone(&password), Arc::clone(&asked), role.clone());
            move || {
                let password = *password.lock().unwrap();
                asked.fetch_add(1, Ordering::SeqCst);
                let role = role.clone();
                async move {
                    match password {
                        "sealed" => Err("the vault is sealed".into()),
                        password => Ok(Credentials::password(password).user(role)),
                    }
                }
            }
        })
        .build()
        .unwrap();
    let user = async || -> String {
        sqlx::query_scalar("select current_user::text")
            .fetch_one(&pool)
            .await
            .unwrap()
    };
    assert_eq!(user().await, role);
    assert_eq!(user().await, role);
    assert_eq!(asked.load(Ordering::SeqCst), 1);

    server
        .execute(&format!("alter role \"{role}\" password 'two'"))
        .await;
    *password.lock().unwrap() = "two";
    pool.soft_evict();
    assert_eq!(user().await, role);
    assert_eq!(asked.load(Ordering::SeqCst), 2);

    *password.lock().unwrap() = "sealed";
    pool.soft_evict();
    let opened = tokio::spawn({
        let pool = pool.clone();
        async move { pool.acquire().await.map(drop) }
    });
    server::until("the failure is seen", || {
        pool.pool_metrics().counters.connect_failures > 0
    })
    .await;
    let error = pool.pool_metrics().last_error.unwrap();
    assert!(
        error.contains("credentials: the vault is sealed"),
        "{error}"
    );
    *password.lock().unwrap() = "two";
    opened
        .await
        .unwrap()
        .expect("the caller was kept until the vault was open again");
    server.forget(pool, &role).await;
}

/// A role with the password `one`, and a witness.
async fn role(test: &str, with: &str) -> Option<(Server, String)> {
    let (_, mut server) = server::pool(test).await?;
    let role = server.name().to_owned();
    server
        .execute(&format!(
            "create role \"{role}\" login password 'one' {with}"
        ))
        .await;
    Some((server, role))
}

impl Server {
    /// Closes the pool and drops its role.
    async fn forget(&mut self, pool: PostgresPool, role: &str) {
        assert!(pool.close(Duration::from_secs(5)).await.clean);
        self.settles_at(0).await;
        self.execute(&format!("drop role \"{role}\"")).await;
    }
}
