//! Each mistake ends within its time, in one error that says what and where.

use std::time::{Duration, Instant};

use pool_core::AcquireErrorKind;
use pool_postgres::{PostgresConfig, PostgresPool};
use sqlx::postgres::PgConnectOptions;

use crate::server::SOON;

const CANARY: &str = "canary-93";

/// The options of the test server, to be spoilt.
fn good() -> Option<PgConnectOptions> {
    Some(integration_tests::postgres_url()?.parse().unwrap())
}

/// Acquires, warms up and queries; each fails at once for good and says `wanted`.
async fn check(options: PgConnectOptions, wanted: &[&str]) {
    let pool = PostgresPool::from_options(options)
        .name("bad")
        .limits(1, 2)
        .acquire_timeout(3 * SOON)
        .build()
        .unwrap();
    let began = Instant::now();
    let acquire = pool.acquire().await.unwrap_err();
    assert_eq!(acquire.kind(), AcquireErrorKind::Connect, "{acquire}");
    let warm_up = pool.warmup_pool().await.unwrap_err();
    let query = sqlx::query("select 1").execute(&pool).await.unwrap_err();
    assert!(PostgresPool::acquire_error(&query).is_some());
    assert!(began.elapsed() < SOON, "permanent faults fail fast");
    for text in [
        acquire.to_string(),
        format!("{acquire:?}"),
        warm_up.to_string(),
        query.to_string(),
        pool.pool_metrics().last_error.unwrap(),
        format!("{pool:?} {:?}", pool.engine()),
    ] {
        assert!(!text.contains(CANARY), "a password shows: {text}");
    }
    for text in [acquire.to_string(), warm_up.to_string(), query.to_string()] {
        for wanted in wanted {
            assert!(text.contains(wanted), "`{wanted}` is missing: {text}");
        }
    }
    assert!(!pool.ready());
    // It goes on to try for its minimum, which is not what is left behind.
    let counts = pool.counts();
    assert_eq!(counts.total, counts.connecting, "{counts:?}");
}

#[tokio::test]
async fn a_wrong_password_is_named_with_its_user_and_server() {
    let Some(options) = good() else { return };
    let place = format!("{}:{}", options.get_host(), options.get_port());
    let user = options.get_username().to_owned();
    check(
        options
            .password(CANARY)
            .password(&format!("wrong {CANARY}")),
        &["password authentication failed", "28P01", &user, &place],
    )
    .await;
}

#[tokio::test]
async fn an_unknown_database_is_named() {
    let Some(options) = good() else { return };
    check(
        options.database("nowhere"),
        &["\"nowhere\" does not exist", "3D000"],
    )
    .await;
}

#[tokio::test]
async fn init_sql_that_fails_is_named() {
    let Some(options) = good() else { return };
    let pool = PostgresPool::from_options(options)
        .init_sql("select wrong")
        .build()
        .unwrap();
    let error = pool.acquire().await.unwrap_err().to_string();
    assert!(
        error.contains("init_sql: column \"wrong\" does not exist"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_refuses_is_tried_until_the_callers_time_is_over() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("postgres://app:{CANARY}@127.0.0.1:{port}/market");
    let pool = PostgresPool::builder(&url)
        .unwrap()
        .acquire_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let began = Instant::now();
    let error = pool.acquire().await.unwrap_err();
    let took = began.elapsed();
    assert!(error.is_timeout(), "{error}");
    assert!(Duration::from_secs(1) <= took && took < SOON, "{took:?}");
    let text = format!("{error} {error:?}");
    assert!(text.contains("Connection refused"), "{text}");
    assert!(
        text.contains(&format!("127.0.0.1:{port}/market as app")),
        "{text}"
    );
    assert!(!text.contains(CANARY), "{text}");
    assert!(
        pool.pool_metrics().counters.connect_failures >= 2,
        "it was tried again"
    );
}

#[tokio::test]
async fn a_server_that_never_answers_costs_no_more_than_the_connect_timeout() {
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = mute.local_addr().unwrap().port();
    let pool = PostgresPool::builder(&format!("postgres://app@127.0.0.1:{port}/market"))
        .unwrap()
        .connect_timeout(Duration::from_millis(200))
        .acquire_timeout(Duration::from_millis(600))
        .build()
        .unwrap();
    let error = tokio::time::timeout(SOON, pool.acquire()).await;
    let error = error.expect("nobody waits for an answer").unwrap_err();
    let text = error.to_string();
    assert!(text.contains("no answer within 200.0ms"), "{text}");
    assert!(text.contains(&format!("127.0.0.1:{port}/market")), "{text}");
}

#[tokio::test]
async fn an_unknown_host_is_named() {
    let pool = PostgresPool::builder("postgres://app@no-such-host.invalid/market")
        .unwrap()
        .acquire_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let error = tokio::time::timeout(SOON, pool.acquire()).await;
    let text = error.expect("the resolver is not waited for");
    let text = text.unwrap_err().to_string();
    assert!(text.contains("no-such-host.invalid:5432/market"), "{text}");
}

#[tokio::test]
async fn a_malformed_url_and_contradictory_settings_never_start() {
    for (url, wanted) in [
        ("127.0.0.1:5432/market", "not a URL"),
        ("mysql://u:canary-93@h/db", "scheme is `mysql`"),
        ("postgres://u:canary-93@h:99999/db", "invalid port"),
        (
            "postgres://u:canary-93@h/db?sslmod=require",
            "unknown parameter `sslmod`",
        ),
    ] {
        let error = PostgresPool::builder(url).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(wanted), "{url}: {text}");
        assert!(!text.contains(CANARY), "{text}");
        let mut config = PostgresConfig::new(url);
        config.name = Some("orders".to_owned());
        let text = PostgresPool::from_config(&config).unwrap_err().to_string();
        assert!(text.contains("`orders`") && text.contains(wanted), "{text}");
    }
    let mut config = PostgresConfig::new("postgres://u:canary-93@h/db");
    config.min_connections = Some(9);
    config.max_connections = Some(3);
    config.acquire_timeout_ms = Some(0);
    let text = PostgresPool::from_config(&config).unwrap_err().to_string();
    assert!(text.contains("min 9 is above max 3"), "{text}");
    assert!(
        text.contains("acquire_timeout is zero"),
        "both are reported: {text}"
    );
    assert!(!format!("{config:?}").contains(CANARY));
}
