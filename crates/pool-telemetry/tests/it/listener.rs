//! What anybody may read.

use pool_core::{ConnectFault, ServerState};
use pool_telemetry::{Listener, Registry, StartError};
use pool_testkit::Answer as Script;
use serde_json::Value;

use crate::support::{POOL, stage};

#[tokio::test]
async fn pools_are_told_as_json_with_the_nine_names() {
    let stage = stage().await;
    let held = stage.pool.acquire().await.unwrap();
    let answer = stage.get("/api/pools").await;
    assert_eq!(answer.status, 200);
    let all = answer.json();
    let pool = &all["pools"][0];
    assert_eq!(pool["name"], "shop/orders");
    assert_eq!(
        (&pool["activeConnections"], &pool["totalConnections"]),
        (&1.into(), &1.into())
    );
    for nine in [
        "totalConnections",
        "activeConnections",
        "idleConnections",
        "waitingRequests",
        "errors",
        "lastError",
        "avgResponseTime",
        "created",
        "lastUsed",
    ] {
        assert!(pool.get(nine).is_some(), "{nine}");
    }
    assert_eq!(all["operations"], true);
    assert!(all["at"].as_u64().unwrap() > 1_600_000_000_000);
    assert_eq!(stage.get(POOL).await.json()["max"], 4);
    drop(held);
}

/// `docs/api.md` names every field of the answer, with its place in it, and no other.
#[tokio::test]
async fn the_schema_is_documented_field_by_field() {
    fn fields(at: &str, value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(map) if at.ends_with("connectFailureCodes") => assert!(map.is_empty()),
            Value::Object(map) => {
                for (name, value) in map {
                    let path = if at.is_empty() {
                        name.clone()
                    } else {
                        format!("{at}.{name}")
                    };
                    found.push(path.clone());
                    fields(&path, value, found);
                }
            }
            Value::Array(all) => {
                for value in all {
                    fields(&format!("{at}[]"), value, found);
                }
            }
            _ => {}
        }
    }
    let stage = stage().await;
    stage
        .script
        .set_servers(vec![ServerState::new("db.example:27017")]);
    let sizing =
        r#"{"sizing": {"enabled": true, "minSize": 1, "maxSize": 4, "evaluationInterval": 10}}"#;
    assert_eq!(stage.post("policy", sizing).await.status, 200);
    let answer = until(async || {
        let answer = stage.get("/api/pools").await.json();
        let pool = &answer["pools"][0];
        let whole = pool["lastSecond"].is_object() && pool["decisions"][0].is_object();
        whole.then_some(answer)
    })
    .await;
    let mut found = Vec::new();
    fields("", &answer, &mut found);
    found.sort();
    found.dedup();
    let text = include_str!("../../../../docs/api.md");
    let section = text.split("## `GET /api/pools`").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let mut documented: Vec<_> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .collect();
    documented.sort();
    assert_eq!(found, documented);
}

/// Asks until there is an answer, for half a minute at most.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..600 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("no answer within half a minute");
}

#[tokio::test]
async fn metrics_come_in_the_format_that_is_asked_for() {
    let stage = stage().await;
    let classic = stage.get("/metrics").await;
    assert_eq!(
        classic.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    assert!(classic.text.contains("db_client_connection_max{"));
    let accept = [("accept", "application/openmetrics-text;version=1.0.0")];
    let open = stage.get_with("/metrics", &accept).await;
    assert!(
        open.header("content-type")
            .starts_with("application/openmetrics-text")
    );
    assert!(open.text.ends_with("# EOF\n"));
}

#[tokio::test]
async fn explain_says_why_in_words() {
    let stage = stage().await;
    drop(stage.pool.acquire().await.unwrap());
    let quiet = stage.get(&format!("{POOL}/explain")).await.json();
    let text = quiet["why"].to_string();
    assert!(
        text.contains("has 1 connections (0 active, 1 idle)"),
        "{text}"
    );
    assert!(text.contains("not sized by load"), "{text}");

    // A full pool and a server without room.
    stage
        .script
        .connect()
        .always(Script::Fails(ConnectFault::Saturated));
    let held = stage.pool.acquire().await.unwrap();
    drop(stage.pool.acquire().await.unwrap_err());
    let pool = stage.pool.clone();
    let patience = std::time::Duration::from_secs(60);
    let waiting = tokio::spawn(async move { pool.acquire_timeout(patience).await.map(drop) });
    let busy = until(async || {
        let answer = stage.get(&format!("{POOL}/explain")).await.json();
        let text = answer["why"].to_string();
        text.contains("growth is held back").then_some(text)
    })
    .await;
    assert!(busy.contains("Demand may open 1 at the most"), "{busy}");
    assert!(
        busy.contains("too many connections, says the script"),
        "{busy}"
    );
    drop(held);
    waiting.abort();
}

#[tokio::test]
async fn an_unknown_pool_is_not_found() {
    let stage = stage().await;
    let answer = stage.get("/api/pools/nobody").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.json()["error"], "no pool has the name `nobody`");
}

/// The page and its parts, none of which names another host.
#[tokio::test]
async fn the_page_is_whole_and_loads_nothing_from_elsewhere() {
    let stage = stage().await;
    let page = stage.get("/").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(
        page.header("content-security-policy")
            .starts_with("default-src 'none'")
    );
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let parts: Vec<_> = page
        .text
        .split(['"', '\''])
        .filter(|part| part.ends_with(".js") || part.ends_with(".css"))
        .collect();
    assert_eq!(parts.len(), 5, "{parts:?}");
    for part in parts {
        let answer = stage.get(&format!("/{part}")).await;
        assert_eq!(
            (answer.status, answer.text.is_empty()),
            (200, false),
            "{part}"
        );
        let away = answer.text.matches("http").count();
        // uPlot's own name in a comment.
        assert!(away <= usize::from(part == "uplot.js"), "{part}: {away}");
    }
}

/// One client that has said half of what it wants must not hold up the end of a service.
#[tokio::test]
async fn half_a_request_does_not_hold_up_the_end() {
    use std::io::Write as _;

    let stage = stage().await;
    let mut client = std::net::TcpStream::connect(stage.listener.address()).unwrap();
    client.write_all(b"GET /metrics HT").unwrap();
    // It has been read: another request is answered after it.
    assert_eq!(stage.get("/api/pools").await.status, 200);
    let patience = std::time::Duration::from_secs(30);
    let stopped = tokio::time::timeout(patience, stage.listener.stop()).await;
    assert!(stopped.is_ok(), "it still waits for the other half");
}

#[tokio::test]
async fn a_listener_says_why_it_cannot_start() {
    let stage = stage().await;
    let taken = stage.listener.address().to_string();
    let error = Listener::builder(Registry::new())
        .address(&taken)
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&taken), "{error}");
    let error = Listener::builder(Registry::new())
        .token("short")
        .start()
        .await
        .unwrap_err();
    assert!(matches!(error, StartError::WeakToken), "{error}");
    stage.listener.stop().await;
    // The address is free again.
    let again = Listener::builder(Registry::new())
        .address(&taken)
        .start()
        .await
        .unwrap();
    assert_eq!(again.address().to_string(), taken);
}

#[tokio::test]
async fn a_name_is_watched_once_until_its_pool_is_closed() {
    let stage = stage().await;
    let taken = stage.registry.register(stage.pool.clone()).unwrap_err();
    assert_eq!(taken.name, "shop/orders");
    stage.pool.close(std::time::Duration::from_secs(5)).await;
    assert_eq!(stage.get(POOL).await.json()["state"], "closed");
    stage.registry.register(stage.pool.clone()).unwrap();
    assert!(stage.registry.unregister("shop/orders"));
    assert!(!stage.registry.unregister("shop/orders"));
    assert_eq!(stage.get(POOL).await.status, 404);
    assert_eq!(stage.get("/metrics").await.text, "");
}
