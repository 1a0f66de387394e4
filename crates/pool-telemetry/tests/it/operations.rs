//! What only the bearer of the token can do.

use pool_core::sizing::SizingMode;
use pool_core::{DynamicSizing as _, PoolState};
use pool_telemetry::{Listener, Registry};

use crate::support::{POOL, TOKEN, stage};

/// Each operation with a body that would change something.
const OPERATIONS: [(&str, &str); 5] = [
    ("resize", r#"{"min": 1, "max": 9}"#),
    ("pause", r#"{"seconds": 60}"#),
    ("resume", ""),
    ("evict", r#"{"which": "all"}"#),
    (
        "policy",
        r#"{"sizing": {"enabled": true, "minSize": 1, "maxSize": 9}, "mode": "freeze"}"#,
    ),
];

#[tokio::test]
async fn without_the_token_nothing_changes() {
    let stage = stage().await;
    drop(stage.pool.acquire().await.unwrap());
    let before = stage.pool.pool_metrics();
    for (operation, body) in OPERATIONS {
        for header in [
            None,
            Some("Bearer a token that somebody guesses"),
            Some("Bearer a token that nobody guesse"),
            Some("Basic a token that nobody guesses"),
            Some("Bearer"),
        ] {
            let headers: Vec<_> = header
                .map(|value| ("authorization", value))
                .into_iter()
                .collect();
            let answer = stage.post_with(operation, body, &headers).await;
            assert_eq!(answer.status, 401, "{operation} {header:?}");
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
    let after = stage.pool.pool_metrics();
    assert_eq!((after.min, after.max, after.state), (0, 4, PoolState::Open));
    assert_eq!(after.counters, before.counters);
    assert_eq!(stage.pool.dynamic_pool_config(), None);
    assert_eq!(stage.pool.sizing_mode(), SizingMode::Apply);
}

/// A body is not read and a name is not looked up for those without the token.
#[tokio::test]
async fn without_the_token_nobody_learns_anything() {
    let stage = stage().await;
    assert_eq!(stage.post_with("resize", "not json", &[]).await.status, 401);
    let nobody = "/api/pools/nobody/resize";
    assert_eq!(stage.send(nobody, Some(""), &[]).await.status, 401);
    let bearer = format!("Bearer {TOKEN}");
    let body = Some(r#"{"min": 1, "max": 2}"#);
    let answer = stage
        .send(nobody, body, &[("authorization", &bearer)])
        .await;
    assert_eq!(answer.status, 404);
    // Nor by another method.
    assert_eq!(stage.get(nobody).await.status, 401);
    let headers = [("authorization", &*bearer)];
    assert_eq!(stage.get_with(nobody, &headers).await.status, 405);
}

#[tokio::test]
async fn a_listener_without_a_token_changes_nothing_for_anybody() {
    let mut stage = stage().await;
    let registry = Registry::new();
    registry.register(stage.pool.clone()).unwrap();
    let plain = Listener::builder(registry)
        .address("127.0.0.1:0")
        .start()
        .await
        .unwrap();
    std::mem::replace(&mut stage.listener, plain).stop().await;
    for (operation, body) in OPERATIONS {
        assert_eq!(stage.post(operation, body).await.status, 401, "{operation}");
    }
    assert_eq!(stage.get("/api/pools").await.json()["operations"], false);
    assert_eq!(stage.pool.limits().max(), 4);
}

#[tokio::test]
async fn with_the_token_each_operation_reaches_the_pool() {
    let stage = stage().await;
    let answer = stage.post("resize", r#"{"min": 1, "max": 9}"#).await;
    assert_eq!((answer.status, &answer.json()["max"]), (200, &9.into()));
    assert_eq!(
        (stage.pool.limits().min(), stage.pool.limits().max()),
        (1, 9)
    );

    assert_eq!(
        stage.post("pause", r#"{"seconds": 60}"#).await.json()["state"],
        "paused"
    );
    assert_eq!(stage.post("resume", "").await.json()["state"], "open");
    drop(stage.pool.acquire().await.unwrap());
    stage.post("evict", r#"{"which": "idle"}"#).await;
    stage.post("evict", r#"{"which": "all"}"#).await;
    assert!(stage.pool.pool_metrics().counters.closed.evicted >= 1);

    let before = stage.pool.limits();
    let wrong = r#"{"sizing": {"enabled": true, "minSize": 9, "maxSize": 6}, "mode": "advise"}"#;
    assert_eq!(stage.post("policy", wrong).await.status, 422);
    assert_eq!(stage.pool.sizing_mode(), SizingMode::Apply);
    let sizing = r#"{"sizing": {"enabled": true, "minSize": 2, "maxSize": 6}, "mode": "advise"}"#;
    assert_eq!(
        stage.post("policy", sizing).await.json()["sizing"]["maxSize"],
        6
    );
    assert!(stage.pool.dynamic_pool_config().unwrap().enabled);
    assert_eq!(stage.pool.sizing_mode(), SizingMode::Advise);
    assert_eq!(stage.pool.limits(), before, "advice moves nothing");
    // An operator's word counts also where the policy only advises.
    let answer = stage.post("resize", r#"{"min": 1, "max": 8}"#).await;
    assert_eq!((answer.status, &answer.json()["max"]), (200, &8.into()));
    let limits = stage.pool.limits();
    assert_eq!((limits.min(), limits.max()), (1, 8));
    let applied = stage.post("policy", r#"{"mode": "apply"}"#).await.json();
    assert_eq!(applied["mode"], "apply");
    stage.post("resize", r#"{"min": 3, "max": 5}"#).await;
    let config = stage.pool.dynamic_pool_config().unwrap();
    assert_eq!(
        (config.min_size, config.max_size, config.enabled),
        (3, 5, true)
    );
}

#[track_caller]
fn says(text: &str, part: &str) {
    assert!(text.contains(part), "{text}");
}

#[tokio::test]
async fn a_bad_request_says_what_is_wrong_and_changes_nothing() {
    let stage = stage().await;
    for (operation, body, status, part) in [
        (
            "resize",
            r#"{"min": 9, "max": 3}"#,
            422,
            "min 9 is above max 3",
        ),
        ("resize", r#"{"min": 1}"#, 422, "missing field `max`"),
        (
            "resize",
            r#"{"min": 1, "max": 2, "mx": 3}"#,
            422,
            "unknown field `mx`",
        ),
        ("resize", "{", 400, "EOF"),
        ("pause", r#"{"seconds": 0}"#, 422, "more than 0"),
        ("pause", r#"{"seconds": 1e9}"#, 422, "at most 3600"),
        ("policy", "{}", 422, "want `mode`"),
        ("evict", r#"{"which": "some"}"#, 422, "unknown variant"),
        (
            "policy",
            r#"{"sizing": {"enabled": true, "minSize": 9, "maxSize": 3}}"#,
            422,
            "minSize 9",
        ),
    ] {
        let answer = stage.post(operation, body).await;
        assert_eq!(answer.status, status, "{operation} {body}: {}", answer.text);
        says(answer.json()["error"].as_str().unwrap(), part);
    }
    assert_eq!(
        (stage.pool.limits().min(), stage.pool.limits().max()),
        (0, 4)
    );
    assert_eq!(stage.get(POOL).await.json()["state"], "open");
}
