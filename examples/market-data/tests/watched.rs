//! The demonstration under the eyes of a real Prometheus: the program that `cargo xtask demo` runs,
//! with both databases.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use integration_tests::prometheus::{
    Prometheus, check_metrics, get, json, rules, rules_as_they_are, until, watched,
};
use integration_tests::{mongodb_url, postgres_url, program};

const POOLS: [&str; 2] = ["market-data/postgresql", "market-data/mongodb"];

/// A run of the program. It is told to end with this value, and waited for.
struct Demo {
    child: Child,
    page: SocketAddr,
    output: mpsc::Receiver<String>,
}

impl Demo {
    /// Starts it, and waits until it shows its page; `None` without both databases.
    fn start(load: Duration, arguments: &[&str]) -> Option<Self> {
        let (postgres, mongodb) = (postgres_url()?, mongodb_url()?);
        let mut child = Command::new(env!("CARGO_BIN_EXE_market-data"))
            .args(["--headless", "--seconds", &load.as_secs().to_string()])
            .args(arguments)
            .env("POSTGRES_URL", postgres)
            .env("MONGODB_URL", mongodb)
            // Meant for these tests: the program takes what begins so for its own settings.
            .env_remove("POOLS_WATCHED_SECONDS")
            .env_remove("POOLS_RULES_AS_THEY_ARE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, output) = mpsc::channel();
        // Somebody has to read it, or it stops when the pipe is full.
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let address = |line: String| {
            let address = line.strip_prefix("live page: http://")?;
            address.strip_suffix('/')?.parse().ok()
        };
        let page = loop {
            let line = output.recv().expect("it says where its page is");
            if let Some(page) = address(line) {
                break page;
            }
        };
        Some(Self {
            child,
            page,
            output,
        })
    }

    /// Tells it to end, and wants it to have seen nothing wrong until then.
    fn end(mut self) {
        self.tell_to_end();
        let code = self.child.wait().unwrap().code();
        let output: Vec<_> = self.output.iter().collect();
        // What a run says that was told to end early and has seen nothing wrong.
        assert_eq!(code, Some(130), "{}", output.join("\n"));
    }

    fn tell_to_end(&self) {
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.tell_to_end();
            let _ = self.child.wait();
        }
    }
}

/// While the load goes on: every metric with its type and unit, nothing that promtool objects to, and
/// the quantiles that the program itself tells.
#[test]
fn every_metric_of_the_demonstration_is_in_a_real_prometheus() {
    let Some(prometheus) = program("prometheus", "prometheus") else {
        return;
    };
    let load = watched() * 2 + Duration::from_secs(60);
    let Some(demo) = Demo::start(load, &[]) else {
        return;
    };
    let prometheus = Prometheus::start(&prometheus, demo.page, &rules());
    thread::sleep(watched());
    check_metrics(&get(&format!("http://{}/metrics", demo.page)).unwrap());
    prometheus.has_every_metric_of(&POOLS, &POOLS[1..]);
    for pool in POOLS {
        let path = pool.replace('/', "%2F");
        let url = format!("http://{}/api/pools/{path}", demo.page);
        prometheus.has_the_quantiles_of(pool, || json(&url));
    }
    let used = "sum(db_client_connection_use_time_seconds_count)";
    eprintln!(
        "{} scrapes, {} checkouts",
        prometheus.scrapes(),
        prometheus.value(used).unwrap()
    );
    demo.end();
}

/// One connection to MongoDB for the load of a usual day: callers wait for that, and the pool may not
/// grow. They wait as long as it takes, so that the run has no errors.
const TOO_SMALL: &str = "
[services.market-data.mongodb]
acquire_timeout_ms = 120_000

[services.market-data.mongodb.dynamic]
minSize = 1
maxSize = 1
";

/// The load rises above what the pool can do: the alert fires. It falls: the alert resolves, with the
/// program still at work.
#[test]
fn an_overload_of_the_demonstration_fires_the_alert_and_it_resolves() {
    let Some(prometheus) = program("prometheus", "prometheus") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("too-small.toml");
    std::fs::write(&config, TOO_SMALL).unwrap();
    // The load is high from a tenth of the time to six tenths of it: longer than the alert needs.
    let load = Duration::from_secs(if rules_as_they_are() { 420 } else { 60 });
    let Some(demo) = Demo::start(load, &["--config", config.to_str().unwrap()]) else {
        return;
    };
    let prometheus = Prometheus::start(&prometheus, demo.page, &rules());
    let began = Instant::now();
    let mut fired = until("PoolExhausted fires", || {
        prometheus.firing().remove("PoolExhausted")
    });
    eprintln!("PoolExhausted fires after {:?}: {fired}", began.elapsed());
    let mut label = |name: &str| fired[name].take();
    assert_eq!(label("db_client_connection_pool_name"), POOLS[1]);
    assert_eq!(label("severity"), "page");
    until("PoolExhausted resolves", || {
        (!prometheus.firing().contains_key("PoolExhausted")).then_some(())
    });
    eprintln!("PoolExhausted resolves after {:?}", began.elapsed());
    let page = json(&format!("http://{}/api/pools", demo.page));
    assert!(
        page["pools"][0]["counters"]["acquired"].as_u64() > Some(0),
        "{page}"
    );
    demo.end();
}
