//! A real Prometheus, and what has to be so in it of every pool that it scrapes.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pool_telemetry::{BUCKETS, Kind, METRICS, artifacts};
use serde_json::Value;
use tempfile::TempDir;

use crate::program;

/// What a server answers to a GET.
///
/// # Errors
///
/// When there is no answer within 30 s, or another one than success.
pub fn get(url: &str) -> Result<String, ureq::Error> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(Duration::from_secs(30)))
        .build()
        .into();
    agent.get(url).call()?.body_mut().read_to_string()
}

/// The same as JSON.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn json(url: &str) -> Value {
    serde_json::from_str(&get(url).unwrap()).unwrap()
}

/// The root of the workspace.
///
/// # Panics
///
/// Never: this package is not the root.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// For how long pools are used and scraped: `POOLS_WATCHED_SECONDS`, or less than one would wait for in
/// a suite.
///
/// # Panics
///
/// When the variable is no number.
#[must_use]
pub fn watched() -> Duration {
    let seconds = std::env::var("POOLS_WATCHED_SECONDS").ok();
    Duration::from_secs(seconds.map_or(8, |seconds| seconds.parse().expect("seconds")))
}

/// Whether Prometheus gets the alert rules with their own times, which are minutes.
#[must_use]
pub fn rules_as_they_are() -> bool {
    std::env::var_os("POOLS_RULES_AS_THEY_ARE").is_some()
}

/// The rules: as committed where `POOLS_RULES_AS_THEY_ARE` is set, which takes minutes; else what the
/// same code makes of them at a twentieth of their times.
///
/// # Panics
///
/// When the file is not there.
#[must_use]
pub fn rules() -> String {
    if rules_as_they_are() {
        std::fs::read_to_string(root().join("alerts/pools.rules.yml")).unwrap()
    } else {
        artifacts::prometheus_rules(0.05)
    }
}

/// Asks until there is an answer, for two minutes at most; for ten with the rules' own times.
///
/// # Panics
///
/// When there is none until then.
#[track_caller]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let patience = Duration::from_secs(if rules_as_they_are() { 600 } else { 120 });
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

/// The machine's Prometheus, scraping one listener once a second. It ends with this value.
#[derive(Debug)]
pub struct Prometheus {
    process: Child,
    url: String,
    _folder: TempDir,
}

impl Prometheus {
    /// Starts it, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it does not start.
    #[must_use]
    pub fn start(program: &Path, scraped: SocketAddr, rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
        let config = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n\
             - job_name: pools\n  static_configs: [{{targets: ['{scraped}']}}]\n"
        );
        let file = folder.path().join("prometheus.yml");
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
                folder.path().join("data").display()
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
    ///
    /// # Panics
    ///
    /// When it does not.
    #[must_use]
    pub fn api(&self, path: &str) -> Value {
        let answer = json(&format!("{}/api/v1/{path}", self.url));
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"].clone()
    }

    /// The value of an expression that has one.
    ///
    /// # Panics
    ///
    /// When it is no expression.
    #[must_use]
    pub fn value(&self, expression: &str) -> Option<f64> {
        self.value_at(expression, None)
    }

    /// The value that an expression has, or had at a time in seconds since 1970.
    fn value_at(&self, expression: &str, time: Option<f64>) -> Option<f64> {
        let query: String = expression
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        let time = time.map_or_else(String::new, |time| format!("&time={time}"));
        // A server that is busy may drop a question; whoever waits for the value asks again.
        let answer = get(&format!("{}/api/v1/query?query={query}{time}", self.url)).ok()?;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["status"], "success", "{answer}");
        answer["data"]["result"][0]["value"][1]
            .as_str()?
            .parse()
            .ok()
    }
}

/// Asks it about pools.
impl Prometheus {
    /// The labels of each alert that fires, by its name.
    ///
    /// # Panics
    ///
    /// When it does not answer.
    #[must_use]
    pub fn firing(&self) -> BTreeMap<String, Value> {
        let alerts = self.api("alerts");
        let alerts = alerts["alerts"].as_array().unwrap().iter();
        alerts
            .filter(|alert| alert["state"] == "firing")
            .map(|alert| {
                let labels = alert["labels"].clone();
                (labels["alertname"].as_str().unwrap().to_owned(), labels)
            })
            .collect()
    }

    /// How often it has scraped, and was answered in time: on a busy machine not each time.
    ///
    /// # Panics
    ///
    /// When it has not within two minutes.
    #[must_use]
    #[track_caller]
    pub fn scrapes(&self) -> f64 {
        self.soon("sum_over_time(up{job=\"pools\"}[1d])")
    }

    /// The value of an expression, as soon as it has one: it has none after a scrape that was not answered
    /// in time.
    #[track_caller]
    fn soon(&self, expression: &str) -> f64 {
        until(expression, || self.value(expression))
    }

    /// Waits for a scrape that begins after now, and has ended.
    ///
    /// # Panics
    ///
    /// When there is none.
    #[track_caller]
    pub fn scrape_anew(&self) {
        let last = self.scrapes();
        until("two more scrapes", || {
            (self.scrapes() >= last + 2.0).then_some(())
        });
    }

    /// Every metric of the table is here, with its type, its unit, its help, and at least a series for
    /// each combination of its attributes, from each pool; those of servers from the pools `with_servers`,
    /// whose driver has sockets of its own below them.
    ///
    /// # Panics
    ///
    /// When one is not.
    #[track_caller]
    pub fn has_every_metric_of(&self, pools: &[&str], with_servers: &[&str]) {
        let known = until("the last metric", || {
            let known = self.api("metadata");
            let last = METRICS.last()?.family();
            known.get(&last).is_some().then_some(known)
        });
        for metric in METRICS {
            let family = metric.family();
            let told = &known[&family][0];
            assert_eq!(told["type"], metric.kind.prometheus(), "{family}");
            let unit = metric.unit.prometheus().unwrap_or("");
            assert_eq!(told["unit"], unit, "{family}");
            assert_eq!(told["help"], metric.help, "{family}");
            let series = match metric.kind {
                Kind::Histogram => format!("{}_bucket", metric.prometheus_name()),
                _ => metric.prometheus_name(),
            };
            let least: usize = metric
                .attributes
                .iter()
                .map(|one| one.values.len())
                .product();
            let by_server = metric.attributes.iter().any(|one| one.name == "server");
            for pool in if by_server { with_servers } else { pools } {
                let of = format!("{{db_client_connection_pool_name=\"{pool}\"}}");
                let count = self.soon(&format!("count({series}{of})"));
                assert!(count >= least as f64, "{series}{of}: {count}");
            }
        }
    }

    /// The quantiles of its histograms are those of the pool, to within a bucket: `answer` gives the
    /// pool's `wait`, `hold` and `connect` as the listener's API does. A pool at work moves on, and a
    /// quantile may go up and down again within a second; so it is asked a hundred times a second while
    /// Prometheus scrapes, and each scrape is held against the two answers that its own count of
    /// times lies between.
    ///
    /// # Panics
    ///
    /// When one is not.
    #[track_caller]
    pub fn has_the_quantiles_of(&self, pool: &str, answer: impl Fn() -> Value) {
        let of = format!("{{db_client_connection_pool_name=\"{pool}\"}}");
        let mut answers = vec![answer()];
        let at = std::thread::scope(|scope| {
            let scraped = scope.spawn(|| {
                self.scrape_anew();
                // One time for all questions, so that all are about one scrape.
                self.soon(&format!(
                    "timestamp(db_client_connection_use_time_seconds_count{of})"
                ))
            });
            while !scraped.is_finished() {
                std::thread::sleep(Duration::from_millis(10));
                answers.push(answer());
            }
            scraped.join().unwrap()
        });
        answers.push(answer());
        for (metric, own) in [
            ("db_client_connection_use_time_seconds", "hold"),
            ("db_client_connection_create_time_seconds", "connect"),
            ("db_client_connection_wait_time_seconds", "wait"),
        ] {
            let of = format!("{{db_client_connection_pool_name=\"{pool}\"}}");
            let soon =
                |expression: String| until(&expression, || self.value_at(&expression, Some(at)));
            let scraped = soon(format!("{metric}_count{of}"));
            assert!(scraped > 0.0, "{pool}: {own}");
            #[allow(clippy::cast_precision_loss, reason = "a count of some thousands")]
            let count = |answer: &Value| answer[own]["count"].as_u64().unwrap() as f64;
            let before = answers.iter().rfind(|one| count(one) <= scraped);
            let after = answers.iter().find(|one| count(one) >= scraped);
            let (Some(before), Some(after)) = (before, after) else {
                let counts: Vec<_> = answers.iter().map(count).collect();
                panic!("{pool}: {own}: {scraped} scraped, {counts:?} counted");
            };
            for (q, field) in [(0.5, "p50"), (0.9, "p90"), (0.99, "p99")] {
                let seconds = soon(format!("histogram_quantile({q}, {metric}_bucket{of})"));
                let at = |answer: &Value| bucket(answer[own][field].as_f64().unwrap() / 1e3);
                let (one, other) = (at(before), at(after));
                let (least, most) = (one.min(other), one.max(other));
                assert!(
                    (least.saturating_sub(1)..=most + 1).contains(&bucket(seconds)),
                    "{pool}: {own} {field}: {seconds} s of {scraped}, {} before, {} after",
                    before[own],
                    after[own]
                );
            }
        }
    }
}

/// The number of the bucket that a time falls into.
fn bucket(seconds: f64) -> usize {
    BUCKETS
        .iter()
        .take_while(|bound| bound.as_secs_f64() < seconds)
        .count()
}

/// What promtool says of a scrape: nothing.
///
/// # Panics
///
/// When it says something.
#[track_caller]
pub fn check_metrics(text: &str) {
    let Some(promtool) = program("promtool", "prometheus") else {
        return;
    };
    assert!(text.contains("pool_ready"), "{text}");
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = check.stdin.take().unwrap();
    told.write_all(text.as_bytes()).unwrap();
    drop(told);
    let output = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
