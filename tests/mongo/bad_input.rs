//! Each mistake ends within its time in one error that names what and where, without a password.

use std::time::{Duration, Instant};

use pool_core::{AcquireErrorKind, ConnectFault};
use pool_mongo::{ConnectProblem, MongoPool, MongoPoolError};

use crate::support::{Site, UNREACHABLE, with_password};

const CANARY: &str = "c4n4ry-p4ssw0rd";

#[track_caller]
fn says(error: &impl std::error::Error, wanted: &[&str]) {
    let text = error.to_string();
    for wanted in wanted {
        assert!(text.contains(wanted), "`{wanted}` is missing: {text}");
    }
    assert!(!text.contains(CANARY), "{text}");
    assert!(!format!("{error:?}").contains(CANARY), "{error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        assert!(!format!("{cause} {cause:?}").contains(CANARY), "{cause}");
        source = cause.source();
    }
}

async fn refused(uri: &str) -> MongoPoolError {
    MongoPool::builder(uri)
        .database("market")
        .build()
        .await
        .map(drop)
        .expect_err("the pool must not be built")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_host() {
    let timeout = Duration::from_secs(3);
    let pool = MongoPool::builder(UNREACHABLE)
        .database("market")
        .limits(1, 4)
        .acquire_timeout(timeout)
        .build()
        .await
        .unwrap();
    let began = Instant::now();
    let error = pool.acquire().await.map(drop).unwrap_err();
    let took = began.elapsed();
    assert!(took < timeout + Duration::from_millis(500), "{took:?}");
    assert!(error.is_timeout());
    says(&error, &["127.0.0.1:9", "no answer", "refused"]);
    let cause = error.connect_error().expect("the cause is in the error");
    assert_eq!(cause.fault(), ConnectFault::Transient);
    let began = Instant::now();
    let error = pool.warmup_pool().await.map(drop).unwrap_err();
    assert!(began.elapsed() < timeout + Duration::from_millis(500));
    says(&error, &["0 of 1", "127.0.0.1:9", "refused"]);
    assert!(!pool.ready());
    let began = Instant::now();
    pool.close(Duration::from_secs(2)).await;
    assert!(
        began.elapsed() < Duration::from_millis(2_500),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password() {
    let Some(site) = Site::new("password").await else {
        return;
    };
    let pool = MongoPool::builder(with_password(&site.url, CANARY))
        .name(&site.name)
        .database("market")
        .limits(0, 4)
        .acquire_timeout(Duration::from_secs(20))
        .build()
        .await
        .unwrap();
    let began = Instant::now();
    let error = pool.acquire().await.map(drop).unwrap_err();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    let kind = error.acquire_error().map(pool_core::AcquireError::kind);
    assert_eq!(kind, Some(AcquireErrorKind::Connect));
    says(&error, &["authentication failed", "127.0.0.1:", "user `"]);
    let cause = error.connect_error().expect("the cause is in the error");
    assert_eq!(cause.fault(), ConnectFault::Permanent);
    assert!(matches!(
        cause.problem(),
        ConnectProblem::Authentication { .. }
    ));
    let began = Instant::now();
    let error = pool.warmup_pool().await.map(drop).unwrap_err();
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
    says(&error, &["authentication failed", "127.0.0.1:"]);
    assert!(!format!("{pool:?}").contains(CANARY));
    let metrics = serde_json::to_string(&pool.pool_metrics()).unwrap();
    assert!(!metrics.contains(CANARY), "{metrics}");
    let report = pool.close(Duration::from_secs(5)).await;
    assert!(report.shut_down, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_user_where_one_is_needed() {
    let Some(site) = Site::new("anonymous").await else {
        return;
    };
    let Some((_, hosts)) = site.url.split_once('@') else {
        eprintln!("SKIPPED: the server of MONGODB_URL needs no user");
        return;
    };
    let hosts = hosts.replace("authSource=admin", "");
    let uri = format!("mongodb://{}", hosts.trim_end_matches(['&', '?']));
    let pool = MongoPool::builder(uri)
        .database("market")
        .build()
        .await
        .unwrap();
    let error = pool.acquire().await.map(drop).unwrap_err();
    says(&error, &["not authorized", "authentication"]);
    assert_eq!(
        error.connect_error().map(|cause| cause.fault()),
        Some(ConnectFault::Permanent)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_database_where_one_is_required() {
    let Some(site) = Site::new("unknown").await else {
        return;
    };
    let pool = site.pool(|builder| builder.require_database(true)).await;
    let began = Instant::now();
    let error = pool.acquire().await.map(drop).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5));
    says(&error, &["no database", &site.name, "127.0.0.1:"]);
    let error = pool.warmup_pool().await.map(drop).unwrap_err();
    says(&error, &["no database", &site.name]);
    let known = site.builder().database("admin").require_database(true);
    known.build().await.unwrap().warmup_pool().await.unwrap();
}

#[tokio::test]
async fn a_malformed_uri() {
    for (uri, wanted) in [
        ("localhost:27017", "mongodb://"),
        ("mongodb://app:c4n4ry-p4ssw0rd@h:27o17/", "host `h`"),
        ("mongodb://app:c4n4ry-p4ssw0rd?@h/", "percent-encoded"),
        (
            "mongodb://app:c4n4ry-p4ssw0rd@h/?retryWrites=perhaps",
            "retrywrites",
        ),
        ("mongodb://app:c4n4ry-p4ssw0rd@h/?poolSize=5", "poolsize"),
    ] {
        says(&refused(uri).await, &["pool `default`", wanted]);
    }
}

#[tokio::test]
async fn settings_that_contradict_the_uri_or_each_other_are_told_together() {
    let error = MongoPool::builder(
        "mongodb://app:c4n4ry-p4ssw0rd@h/other?authSource=admin&maxPoolSize=50&minPoolSize=7\
         &maxIdleTimeMS=1000&waitQueueTimeoutMS=2000&maxConnecting=3&connectTimeoutMS=1\
         &serverSelectionTimeoutMS=45000",
    )
    .name("quotes")
    .database("market")
    .limits(9, 8)
    .ceiling(100)
    .idle_timeout(Duration::from_secs(60))
    .max_connecting(4)
    .connect_timeout(Duration::from_secs(5))
    .acquire_timeout(Duration::from_secs(40))
    .build()
    .await
    .map(drop)
    .unwrap_err();
    says(
        &error,
        &[
            "pool `quotes`",
            "min 9 is above max 8",
            "maxPoolSize=50",
            "ceiling=100",
            "minPoolSize=7",
            "min=9",
            "maxIdleTimeMS=1000",
            "idle_timeout=60000",
            "waitQueueTimeoutMS=2000",
            "acquire_timeout=40000",
            "maxConnecting=3",
            "max_connecting=4",
            "connectTimeoutMS=1",
            "connect_timeout=5000",
            "serverSelectionTimeoutMS=45000",
            "database=other",
            "database=market",
        ],
    );
}

/// What the pool does not say, the URI may; only what both say can contradict.
#[tokio::test]
async fn a_default_gives_way_to_the_uri() {
    let pool = MongoPool::builder("mongodb://127.0.0.1:9/market?maxPoolSize=5&minPoolSize=2")
        .build()
        .await
        .unwrap();
    assert_eq!(pool.ceiling(), 5);
    assert_eq!((pool.limits().min(), pool.limits().max()), (2, 5));
    // The same client fits itself when something else of it changes.
    let report = pool.reconfigure().ceiling(5).apply().await;
    let error = report.expect_err("nothing answers there").to_string();
    assert!(!error.contains("PoolSize"), "{error}");

    let pool = MongoPool::builder("mongodb://127.0.0.1:9/market?minPoolSize=12")
        .build()
        .await
        .unwrap();
    assert_eq!((pool.limits().min(), pool.limits().max()), (12, 12));

    let pool = MongoPool::builder("mongodb://127.0.0.1:9/market")
        .ceiling(4)
        .build()
        .await
        .unwrap();
    assert_eq!(pool.limits().max(), 4);

    let refused = MongoPool::builder("mongodb://127.0.0.1:9/market?maxPoolSize=5")
        .limits(0, 8)
        .build()
        .await;
    says(&refused.map(drop).unwrap_err(), &["maxPoolSize=5", "max=8"]);
}

#[tokio::test]
async fn the_same_value_twice_is_no_contradiction() {
    let uri = "mongodb://127.0.0.1:9/market?maxPoolSize=20&minPoolSize=1&maxIdleTimeMS=60000";
    let pool = MongoPool::builder(uri)
        .limits(1, 20)
        .ceiling(20)
        .build()
        .await
        .unwrap();
    assert_eq!((pool.ceiling(), pool.limits().min()), (20, 1));
    assert_eq!(pool.database_name(), "market");
}

#[tokio::test]
async fn no_database_and_impossible_ones() {
    let error = MongoPool::builder("mongodb://h/")
        .build()
        .await
        .map(drop)
        .unwrap_err();
    says(&error, &["no database"]);
    let error = MongoPool::builder("mongodb://h/")
        .database("a b")
        .build()
        .await;
    says(&error.map(drop).unwrap_err(), &["`a b`", "space"]);
}

#[tokio::test]
async fn an_unknown_option_in_the_configuration() {
    let text = r#"{ "uri": "mongodb://app:c4n4ry-p4ssw0rd@h/db", "maxPool": 5 }"#;
    let error = serde_json::from_str::<pool_mongo::MongoConfig>(text).unwrap_err();
    says(&error, &["maxPool"]);
}
