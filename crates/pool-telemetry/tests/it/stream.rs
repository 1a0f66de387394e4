//! The stream of what happens.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use pool_core::ConnectFault;
use pool_testkit::{Answer, in_time};
use serde_json::Value;
use tokio::sync::mpsc;

use crate::support::{Stage, stage};

/// Name and content of each event of a stream, until it ends.
fn follow(stage: &Stage) -> mpsc::UnboundedReceiver<(String, Value)> {
    let url = stage.url("/api/stream");
    let (sender, receiver) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let answer = agent.get(&url).call().unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut name = String::new();
        for line in BufReader::new(answer.into_body().into_reader()).lines() {
            let Ok(line) = line else { return };
            if let Some(event) = line.strip_prefix("event: ") {
                name = event.to_owned();
            } else if let Some(data) = line.strip_prefix("data: ") {
                let value = serde_json::from_str(data).unwrap();
                if sender.send((name.clone(), value)).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

/// The next event of this name for which `wanted` holds.
async fn next(
    events: &mut mpsc::UnboundedReceiver<(String, Value)>,
    name: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    in_time("an event", async {
        loop {
            let (found, value) = events.recv().await.expect("the stream goes on");
            if found == name && wanted(&value) {
                return value;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_stream_begins_with_history_and_goes_on_with_what_happens() {
    let stage = stage().await;
    let mut first = follow(&stage);
    next(&mut first, "history", |_| true).await;
    next(&mut first, "pools", |view| view["pools"][0]["max"] == 4).await;

    stage.post("resize", r#"{"min": 0, "max": 7}"#).await;
    let told = next(&mut first, "event", |event| event["kind"] == "operator").await;
    assert_eq!(
        (&told["pool"], &told["text"]),
        (&"shop/orders".into(), &"resized to 0..=7".into())
    );
    next(&mut first, "pools", |view| view["pools"][0]["max"] == 7).await;
    next(&mut first, "pools", |view| {
        view["pools"][0]["lastSecond"]["max"] == 7
    })
    .await;

    // Somebody who comes later learns what has been.
    let mut second = follow(&stage);
    let history = next(&mut second, "history", |_| true).await;
    let events = history["events"].as_array().unwrap();
    let limits = |event: &Value| event["text"].as_str().unwrap().contains("0..=4 → 0..=7");
    assert!(events.iter().any(limits), "{events:?}");
    assert!(
        !history["samples"]["shop/orders"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

/// What happens again and again is one line with a count.
#[tokio::test]
async fn the_same_event_in_a_row_is_counted() {
    let stage = stage().await;
    let mut events = follow(&stage);
    next(&mut events, "pools", |_| true).await;
    stage
        .script
        .connect()
        .always(Answer::Fails(ConnectFault::Transient));
    let pool = stage.pool.clone();
    let waiting = tokio::spawn(async move {
        pool.acquire_timeout(Duration::from_secs(60))
            .await
            .map(drop)
    });
    let told = next(&mut events, "event", |event| event["count"] == 3).await;
    assert_eq!(told["kind"], "error");
    assert_eq!(
        told["text"],
        "connect failed: connection refused, says the script"
    );
    waiting.abort();
}

#[tokio::test]
async fn a_stream_ends_with_its_listener() {
    let stage = stage().await;
    let mut events = follow(&stage);
    next(&mut events, "history", |_| true).await;
    in_time("the end of the listener", stage.listener.stop()).await;
    in_time("the end of the stream", async {
        while events.recv().await.is_some() {}
    })
    .await;
}
