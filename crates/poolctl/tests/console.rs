//! The console as its user meets it: arguments, output, exit code.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

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
        self.run_into(Stdio::piped(), token, arguments).await
    }

    async fn run_into(
        &self,
        output: impl Into<Stdio>,
        token: Option<&'static str>,
        arguments: &[&'static str],
    ) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_poolctl"));
        command
            .args(arguments)
            .stdout(output)
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
async fn a_reader_that_has_gone_away_is_no_error() {
    let stage = stage().await;
    let commands: [&[&str]; 4] = [
        &["list"],
        &["list", "--json"],
        &["explain", "shop/orders"],
        &["resize", "shop/orders", "2", "9"],
    ];
    for arguments in commands {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = stage.run_into(writer, Some(TOKEN), arguments).await;
        assert!(ended.good && ended.errors.is_empty(), "{ended:?}");
    }
    assert_eq!(stage.pool.limits().max(), 9);
    // Of one that failed it is still told.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = stage.run_into(writer, None, &["explain", "nobody"]).await;
    ended.says(false, "no pool has the name `nobody`");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_that_is_away_is_named() {
    let stage = stage().await;
    let ended = stage
        .run(None, &["list", "--url", "http://127.0.0.1:1"])
        .await;
    ended.says(false, "no answer from http://127.0.0.1:1");
}

/// `poolctl top` at work, line by line.
struct Top {
    process: Child,
    lines: Receiver<String>,
}

impl Top {
    fn start(url: &str) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_poolctl"))
            .args(["top", "--url", url])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (tell, lines) = mpsc::channel();
        // It ends with the output, or when nobody wants to know.
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    break;
                }
            }
        });
        Self { process, lines }
    }

    /// Reads on until a line has all the parts.
    #[track_caller]
    fn until(&self, parts: &[&str]) {
        let began = Instant::now();
        let mut last = String::new();
        while began.elapsed() < Duration::from_secs(30) {
            let Ok(line) = self.lines.recv_timeout(Duration::from_secs(10)) else {
                break;
            };
            if parts.iter().all(|part| line.contains(part)) {
                return;
            }
            last = line;
        }
        panic!("no line with {parts:?}; the last one: {last}");
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_follows_the_pools_and_waits_for_a_listener_that_restarts() {
    let Stage { pool, listener } = stage().await;
    let address = listener.address();
    let top = Top::start(&format!("http://{address}"));
    top.until(&["pool", "min..target..max", "waiting"]);
    top.until(&["shop/orders", "open", "1..1..4"]);
    pool.set_limits(2, 3).unwrap();
    top.until(&["shop/orders", "2..2..3"]);
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(pool.acquire_owned().await.unwrap());
    }
    let patient = pool.clone();
    let waiting = tokio::spawn(async move {
        patient
            .acquire_timeout(Duration::from_secs(600))
            .await
            .map(drop)
    });
    top.until(&["shop/orders", "exhausted"]);

    listener.stop().await;
    top.until(&["no answer from"]);
    let registry = Registry::new();
    registry.register(pool.clone()).unwrap();
    let again = Listener::builder(registry)
        .address(address.to_string())
        .start()
        .await
        .unwrap();
    top.until(&["shop/orders", "exhausted"]);
    drop(held);
    waiting.await.unwrap().unwrap();
    top.until(&["shop/orders", "open"]);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_ends_when_nobody_looks_any_more() {
    let stage = stage().await;
    let mut process = Command::new(env!("CARGO_BIN_EXE_poolctl"))
        .args([
            "top",
            "--url",
            &format!("http://{}", stage.listener.address()),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    output.read_line(&mut first).unwrap();
    drop(output);
    let ended = tokio::task::spawn_blocking(move || process.wait_with_output().unwrap());
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
    let ended = ended.expect("it goes on for nobody").unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && errors.is_empty(), "{errors}");
}

#[test]
fn top_says_when_there_has_never_been_a_listener() {
    let ended = Command::new(env!("CARGO_BIN_EXE_poolctl"))
        .args(["top", "--url", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{errors}");
    assert!(
        errors.contains("no answer from http://127.0.0.1:1"),
        "{errors}"
    );
}
