//! Pools to look at, and programs that look.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pool_core::Pool;
use pool_telemetry::{Listener, Registry};
use pool_testkit::{Script, ScriptedManager};
use serde_json::Value;

pub(crate) const TOKEN: &str = "a token that nobody guesses";

/// A pool of scripted connections.
pub(crate) fn pool(name: &str) -> (Pool<ScriptedManager>, Script) {
    let (manager, script) = ScriptedManager::new();
    let pool = Pool::builder(manager)
        .name(name)
        .limits(1, 4)
        .acquire_timeout(Duration::from_secs(60))
        .idle_timeout(None)
        .build()
        .unwrap();
    (pool, script)
}

pub(crate) async fn listen(registry: &Registry, address: &str) -> Listener {
    Listener::builder(registry.clone())
        .address(address)
        .token(TOKEN)
        .start()
        .await
        .unwrap()
}

pub(crate) fn get(url: &str) -> Result<String, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into();
    agent.get(url).call()?.body_mut().read_to_string()
}

pub(crate) fn json(url: &str) -> Value {
    serde_json::from_str(&get(url).unwrap()).unwrap()
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// A program's output; that of a program that says no is told.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Whether Prometheus gets the alert rules with their own times, which are minutes.
pub(crate) fn rules_as_they_are() -> bool {
    std::env::var_os("POOLS_RULES_AS_THEY_ARE").is_some()
}

/// Asks until there is an answer, for two minutes at most; for five with the rules' own times.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let patience = Duration::from_secs(if rules_as_they_are() { 300 } else { 120 });
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            began.elapsed() < patience,
            "not within {patience:?}: {what}"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A folder that goes with this value.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let name = format!("telemetry-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The machine's Prometheus, scraping one listener once a second.
pub(crate) struct Prometheus {
    process: Child,
    url: String,
    _folder: Folder,
}

impl Prometheus {
    pub(crate) fn start(program: &Path, scraped: std::net::SocketAddr, rules: &str) -> Self {
        let folder = Folder::new("prometheus");
        std::fs::write(folder.0.join("rules.yml"), rules).unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n\
             - job_name: pools\n  static_configs: [{{targets: ['{scraped}']}}]\n"
        );
        let file = folder.0.join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        // A port that was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let process = Command::new(program)
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.0.join("data").display()
            ))
            .arg(format!("--web.listen-address={port}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self {
            process,
            url: format!("http://{port}"),
            _folder: folder,
        };
        until("Prometheus is ready", || {
            get(&format!("{}/-/ready", started.url)).ok()
        });
        started
    }

    /// What its API answers.
    pub(crate) fn api(&self, path: &str) -> Value {
        let answer = json(&format!("{}/api/v1/{path}", self.url));
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }

    /// The value of an expression that has one.
    pub(crate) fn value(&self, expression: &str) -> Option<f64> {
        let query: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        let data = self.api(&format!("query?query={query}"));
        data["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
