//! The service as its clients and its operator meet it: HTTP, signals, exit codes, and what the
//! servers count.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use integration_tests::{mongodb_url, postgres_url};
use mongodb::bson::doc;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tempfile::NamedTempFile;
use ureq::Agent;

/// The longest that anything here may take; a test that hits it has found a hang.
const PATIENCE: Duration = Duration::from_secs(60);

struct Service {
    child: Child,
    output: BufReader<ChildStdout>,
    /// What it has written to its standard error so far.
    log: Arc<Mutex<String>>,
    address: String,
    /// What the servers call its connections.
    name: String,
    postgres: String,
    mongodb: String,
}

impl Service {
    fn start(name: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Option<Self> {
        let (postgres, mongodb) = (postgres_url()?, mongodb_url()?);
        let name = format!("axum_{name}_{}", std::process::id());
        let mut child = Command::new(env!("CARGO_BIN_EXE_axum-service"))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("POSTGRES_URL", &postgres)
            .env("MONGODB_URL", &mongodb)
            .env("POOLS_SERVICES__PRICES__POSTGRES__NAME", &name)
            .env("POOLS_SERVICES__PRICES__MONGODB__NAME", &name)
            .env("POOLS_SERVICES__PRICES__MONGODB__DATABASE", &name)
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built");
        let log = Arc::<Mutex<String>>::default();
        let errors = BufReader::new(child.stderr.take().expect("it is piped"));
        std::thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in errors.lines().map_while(Result::ok) {
                    eprintln!("{line}");
                    *log.lock().unwrap() += &(line + "\n");
                }
            }
        });
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it says where it is");
        let address = line.trim().strip_prefix("listening on ");
        let address = format!("http://{}", address.unwrap_or_else(|| panic!("{line}")));
        Some(Self {
            child,
            output,
            log,
            address,
            name,
            postgres,
            mongodb,
        })
    }

    fn signal(&self, signal: &str) {
        let kill = Command::new("kill")
            .args([format!("-{signal}"), self.child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
    }

    /// Its exit code and what it has said, once it has ended by itself.
    fn ended(&mut self) -> (Option<i32>, String) {
        let mut output = String::new();
        self.output.read_to_string(&mut output).unwrap();
        (self.child.wait().unwrap().code(), output)
    }

    fn until_it_logs(&self, part: &str) {
        let began = Instant::now();
        while !self.log.lock().unwrap().contains(part) {
            assert!(began.elapsed() < PATIENCE, "`{part}` is not logged");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn get(&self, agent: &Agent, path: &str) -> Result<(u16, String), ureq::Error> {
        let mut answer = agent.get(format!("{}{path}", self.address)).call()?;
        let status = answer.status().as_u16();
        Ok((status, answer.body_mut().read_to_string()?))
    }

    /// The numbers of its PostgreSQL pool. The pools are made at once, so either may be first.
    fn postgres_pool(&self, agent: &Agent) -> Value {
        let pools = self.get(agent, "/pools").unwrap().1;
        let pools: Value = serde_json::from_str(&pools).unwrap();
        let mut pools = pools["pools"].as_array().unwrap().iter();
        let found = pools.find(|pool| pool["database"] == "postgresql");
        found.unwrap()["metrics"].clone()
    }

    /// How many connections called by its name the servers count: PostgreSQL, and MongoDB.
    async fn counted(&self) -> (i64, i32) {
        let mut postgres = sqlx::PgConnection::connect(&self.postgres).await.unwrap();
        let counted: i64 =
            sqlx::query_scalar("select count(*) from pg_stat_activity where application_name = $1")
                .bind(&self.name)
                .fetch_one(&mut postgres)
                .await
                .unwrap();
        let mongodb = mongodb::Client::with_uri_str(&self.mongodb).await.unwrap();
        let pipeline = [
            doc! { "$currentOp": { "allUsers": true, "idleConnections": true } },
            doc! { "$match": { "appName": &self.name, "connectionId": { "$exists": true } } },
            doc! { "$group": { "_id": "$connectionId" } },
            doc! { "$count": "connections" },
        ];
        let mut answer = mongodb.database("admin").aggregate(pipeline).await.unwrap();
        let answer = answer.try_next().await.unwrap();
        (
            counted,
            answer.map_or(0, |answer| answer.get_i32("connections").unwrap()),
        )
    }

    /// Waits until the servers count none: a server ends its side a moment after its client.
    fn assert_gone(&self) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let began = Instant::now();
            loop {
                let left = self.counted().await;
                if left == (0, 0) {
                    break;
                }
                assert!(began.elapsed() < PATIENCE, "still counted: {left:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            let mongodb = mongodb::Client::with_uri_str(&self.mongodb).await.unwrap();
            mongodb.database(&self.name).drop().await.unwrap();
        });
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // A test that has failed leaves no program behind; one that has ended cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Statuses are answers.
fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(PATIENCE))
        .build()
        .new_agent()
}

#[test]
fn requests_use_both_databases_each_in_an_operation_of_its_own() {
    let Some(mut service) = Service::start("requests", &[], &[]) else {
        return;
    };
    let agent = agent();
    let symbol = &service.name;
    let missing = service.get(&agent, &format!("/prices/{symbol}")).unwrap();
    assert_eq!(missing.0, 404);
    for price in [223.5, 224.25] {
        let set = agent
            .post(format!("{}/prices", service.address))
            .send_json(json!({ "symbol": symbol, "price": price }))
            .unwrap();
        assert_eq!(set.status(), 204);
    }
    let (status, price) = service.get(&agent, &format!("/prices/{symbol}")).unwrap();
    let price: Value = serde_json::from_str(&price).unwrap();
    assert_eq!((status, price["price"].as_f64()), (200, Some(224.25)));
    let changes = service.get(&agent, &format!("/prices/{symbol}/changes"));
    assert_eq!(changes.unwrap(), (200, "2".to_owned()));
    let bad = agent
        .post(format!("{}/prices", service.address))
        .send_json(json!({ "symbol": 5 }))
        .unwrap();
    assert_eq!(bad.status(), 422);

    let (status, health) = service.get(&agent, "/health").unwrap();
    assert_eq!(status, 200, "{health}");
    let pool = service.postgres_pool(&agent);
    assert_eq!(pool["activeConnections"], 0, "{pool}");
    assert!(pool["counters"]["returned"].as_u64() > Some(4), "{pool}");

    service.signal("TERM");
    let (code, output) = service.ended();
    assert_eq!(code, Some(0), "{output}");
    service.assert_gone();
}

#[test]
fn a_signal_under_load_loses_no_answer_and_lets_nobody_in() {
    const CLIENTS: u32 = 8;
    let Some(service) = Service::start("signal", &[], &[]) else {
        return;
    };
    let service = Arc::new(Mutex::new(service));
    let address = service.lock().unwrap().address.clone();
    let answered = Arc::new(AtomicU32::new(0));
    let signalled = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (address, answered) = (address.clone(), Arc::clone(&answered));
            let signalled = Arc::clone(&signalled);
            std::thread::spawn(move || {
                let agent = agent();
                let began = Instant::now();
                // Comes back for more until it is not let in any more.
                loop {
                    assert!(began.elapsed() < PATIENCE, "it still lets clients in");
                    match agent.get(format!("{address}/report?millis=700")).call() {
                        Ok(answer) => {
                            assert_eq!(answer.status(), 200);
                            answered.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(refused) => {
                            assert!(signalled.load(Ordering::SeqCst), "{refused}");
                            return refused;
                        }
                    }
                }
            })
        })
        .collect();

    // All have been answered before, and all are under way again.
    let agent = agent();
    let began = Instant::now();
    let before = loop {
        // Counted before the pool is looked at: whoever is under way then has not been counted.
        let before = answered.load(Ordering::SeqCst);
        let pool = service.lock().unwrap().postgres_pool(&agent);
        if before >= CLIENTS && pool["activeConnections"] == CLIENTS {
            break before;
        }
        assert!(began.elapsed() < PATIENCE, "{pool}");
        std::thread::sleep(Duration::from_millis(5));
    };
    signalled.store(true, Ordering::SeqCst);
    service.lock().unwrap().signal("TERM");
    let refusals: Vec<_> = clients
        .into_iter()
        .map(|client| client.join().expect("no answer was lost"))
        .collect();
    let after = answered.load(Ordering::SeqCst);
    assert!(
        after >= before + CLIENTS,
        "those under way were answered: {before}, {after}"
    );
    for refused in &refusals {
        assert!(!matches!(refused, ureq::Error::Timeout(_)), "{refused}");
    }

    let mut service = service.lock().unwrap();
    let (code, output) = service.ended();
    assert_eq!(code, Some(0), "{output}");
    service.assert_gone();
    assert!(service.get(&agent, "/health").is_err(), "nobody listens");
}

#[test]
fn a_request_that_does_not_end_is_named_and_the_service_ends_all_the_same() {
    let variables = [("POOLS_DRAIN_TIMEOUT_MS", "2000")];
    let arguments = ["--grace", "0.3"];
    let Some(mut service) = Service::start("stuck", &arguments, &variables) else {
        return;
    };
    let address = service.address.clone();
    let stuck = std::thread::spawn(move || {
        let url = format!("{address}/report?millis=30000");
        agent().get(url).call().map(|answer| answer.status())
    });
    let agent = agent();
    let began = Instant::now();
    while service.postgres_pool(&agent)["activeConnections"] != 1 {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(5));
    }
    service.signal("TERM");
    let (code, output) = service.ended();
    assert_eq!(code, Some(1), "{output}");
    assert!(
        output.contains("PostgresPool"),
        "the stuck one is named: {output}"
    );
    assert!(
        output.contains("routes.rs"),
        "and who holds its connection: {output}"
    );
    assert!(
        !output.contains("MongoPool"),
        "the rest is disposed of: {output}"
    );
    assert!(stuck.join().unwrap().is_err(), "its client is told");
    service.assert_gone();
}

#[test]
fn a_hang_up_reloads_the_file_and_a_bad_file_changes_nothing() {
    let file = settings("[services.prices.postgres]\nmax_connections = 4\n");
    let arguments = ["--config", file.path().to_str().unwrap()];
    let Some(mut service) = Service::start("reload", &arguments, &[]) else {
        return;
    };
    let agent = agent();
    let max = |service: &Service| service.postgres_pool(&agent)["max"].clone();
    assert_eq!(max(&service), 4);
    std::fs::write(&file, "[services.prices.postgres]\nmax_conections = 9\n").unwrap();
    service.signal("HUP");
    service.until_it_logs("not reloaded");
    assert_eq!(max(&service), 4);
    std::fs::write(&file, "[services.prices.postgres]\nmax_connections = 7\n").unwrap();
    let began = Instant::now();
    while max(&service) != 7 {
        // A signal that comes while one is being followed may count as the same.
        service.signal("HUP");
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(50));
    }
    service.signal("TERM");
    let (code, output) = service.ended();
    assert_eq!(code, Some(0), "{output}");
    service.assert_gone();
}

#[test]
fn a_signal_does_not_wait_for_a_reload_that_a_server_holds_up() {
    // Accepts connections and never says a word.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let configuration =
        |url: &str| format!("[services.prices.postgres]\nconnect_timeout_ms = 60000\n{url}");
    let file = settings(&configuration(""));
    let arguments = ["--config", file.path().to_str().unwrap()];
    let Some(mut service) = Service::start("held_up", &arguments, &[]) else {
        return;
    };
    let url = format!(
        "url = 'postgres://app@{}/x'\n",
        silent.local_addr().unwrap()
    );
    std::fs::write(&file, configuration(&url)).unwrap();
    service.signal("HUP");
    let (held, _) = silent.accept().expect("the reload tries the new server");
    assert_eq!(service.get(&agent(), "/health").unwrap().0, 200);
    let signalled = Instant::now();
    service.signal("TERM");
    let (code, output) = service.ended();
    let took = signalled.elapsed();
    assert_eq!(code, Some(0), "{output}");
    assert!(took < Duration::from_secs(30), "{took:?}: {output}");
    drop(held);
    service.assert_gone();
}

/// A file of settings, removed at the end.
fn settings(text: &str) -> NamedTempFile {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(&file, text).unwrap();
    file
}
