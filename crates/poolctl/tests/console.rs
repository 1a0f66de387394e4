//! The console as its user meets it: arguments, output, exit code.

use std::process::{Command, Output};

use pool_core::Pool;
use pool_core::sizing::{DynamicSizing as _, SizingMode};
use pool_telemetry::{Listener, Registry};
use pool_testkit::ScriptedManager;

const TOKEN: &str = "a token that nobody guesses";

struct Stage {
    pool: Pool<ScriptedManager>,
    listener: Listener,
}

async fn stage() -> Stage {
    let (manager, _script) = ScriptedManager::new();
    let pool = Pool::builder(manager)
        .name("shop/orders")
        .limits(1, 4)
        .build()
        .unwrap();
    pool.warmup_pool().await.unwrap();
    let registry = Registry::new();
    registry.register(pool.clone()).unwrap();
    let listener = Listener::builder(registry)
        .address("127.0.0.1:0")
        .token(TOKEN)
        .start()
        .await
        .unwrap();
    Stage { pool, listener }
}

impl Stage {
    async fn run(&self, token: Option<&'static str>, arguments: &[&'static str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_poolctl"));
        command
            .args(arguments)
            .env("POOLCTL_URL", format!("http://{}", self.listener.address()))
            .env_remove("POOLCTL_TOKEN");
        if let Some(token) = token {
            command.env("POOLCTL_TOKEN", token);
        }
        let Output {
            status,
            stdout,
            stderr,
        } = tokio::task::spawn_blocking(move || command.output().unwrap())
            .await
            .unwrap();
        Ended {
            good: status.success(),
            output: String::from_utf8(stdout).unwrap(),
            errors: String::from_utf8(stderr).unwrap(),
        }
    }
}

#[derive(Debug)]
struct Ended {
    good: bool,
    output: String,
    errors: String,
}

impl Ended {
    #[track_caller]
    fn says(&self, good: bool, part: &str) {
        assert_eq!(self.good, good, "{self:?}");
        let told = if good { &self.output } else { &self.errors };
        assert!(told.contains(part), "{part}: {self:?}");
        assert!(
            !self.output.contains(TOKEN) && !self.errors.contains(TOKEN),
            "{self:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anybody_can_look() {
    let stage = stage().await;
    stage.run(None, &["list"]).await.says(true, "shop/orders");
    stage
        .run(None, &["list", "--json"])
        .await
        .says(true, "\"operations\": true");
    let explained = stage.run(None, &["explain", "shop/orders"]).await;
    explained.says(true, "has 1 connections (0 active, 1 idle)");
    stage
        .run(None, &["explain", "nobody"])
        .await
        .says(false, "no pool has the name `nobody`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_token_changes_anything() {
    let stage = stage().await;
    let resize = &["resize", "shop/orders", "2", "9"];
    stage.run(None, resize).await.says(false, "POOLCTL_TOKEN");
    stage
        .run(Some("another one"), resize)
        .await
        .says(false, "this changes a pool");
    assert_eq!(stage.pool.limits().max(), 4);
    stage.run(Some(TOKEN), resize).await.says(true, "2..2..9");
    assert_eq!(stage.pool.limits().max(), 9);
    stage
        .run(Some(TOKEN), &["pause", "shop/orders", "60"])
        .await
        .says(true, "paused");
    stage
        .run(Some(TOKEN), &["resume", "shop/orders"])
        .await
        .says(true, "open");
    stage
        .run(Some(TOKEN), &["evict", "shop/orders", "--all"])
        .await
        .says(true, "shop/orders");
    assert!(stage.pool.pool_metrics().counters.closed.evicted >= 1);
    stage
        .run(Some(TOKEN), &["policy", "shop/orders", "freeze"])
        .await
        .says(true, "shop/orders");
    assert_eq!(stage.pool.sizing_mode(), SizingMode::Freeze);
    let refused = stage
        .run(Some(TOKEN), &["resize", "shop/orders", "9", "3"])
        .await;
    refused.says(false, "min 9 is above max 3");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_away_is_named() {
    let stage = stage().await;
    let ended = stage
        .run(None, &["list", "--url", "http://127.0.0.1:1"])
        .await;
    ended.says(false, "no answer from http://127.0.0.1:1");
}
