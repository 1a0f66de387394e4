//! A password that nobody may ever see.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use integration_tests::prometheus::get;
use mongodb::bson::doc;
use pool_mongo::MongoPool;
use pool_postgres::PostgresPool;
use pool_telemetry::{OtlpExporter, Registry};
use tokio::time::timeout;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

use crate::support::{TOKEN, listen};

const CANARY: &str = "canary-9f3b";

/// Users of the real servers whose password it is; they go with [`Users::remove`].
struct Users {
    name: String,
    postgres: Option<String>,
    mongodb: Option<String>,
}

impl Users {
    /// Makes them. Nothing is logged yet: whoever makes a user writes its password down.
    async fn make() -> Self {
        use sqlx::Connection as _;

        let name = format!("canary_{}", std::process::id());
        let mut postgres = None;
        if let Some(url) = integration_tests::postgres_url() {
            let mut server = sqlx::PgConnection::connect(&url).await.unwrap();
            let user = format!("create role {name} login password '{CANARY}'");
            let user = sqlx::raw_sql(sqlx::AssertSqlSafe(user));
            user.execute(&mut server).await.unwrap();
            let (_, host) = url.split_once("://").unwrap();
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            postgres = Some(format!("postgres://{name}:{CANARY}@{host}"));
        }
        let mut mongodb = None;
        if let Some(url) = integration_tests::mongodb_url() {
            let server = mongodb::Client::with_uri_str(&url).await.unwrap();
            let user =
                doc! { "createUser": &name, "pwd": CANARY, "roles": ["readWriteAnyDatabase"] };
            server.database("admin").run_command(user).await.unwrap();
            let host = real("MONGODB_URL").unwrap();
            let only = "?authSource=admin&directConnection=true";
            mongodb = Some(format!("mongodb://{name}:{CANARY}@{host}/{only}"));
        }
        Self {
            name,
            postgres,
            mongodb,
        }
    }

    async fn remove(self) {
        use sqlx::Connection as _;

        let Self { name, .. } = &self;
        if let Some(url) = integration_tests::postgres_url() {
            let mut server = sqlx::PgConnection::connect(&url).await.unwrap();
            let user = sqlx::raw_sql(sqlx::AssertSqlSafe(format!("drop role {name}")));
            user.execute(&mut server).await.unwrap();
        }
        if let Some(url) = integration_tests::mongodb_url() {
            let server = mongodb::Client::with_uri_str(&url).await.unwrap();
            let user = doc! { "dropUser": name };
            server.database("admin").run_command(user).await.unwrap();
        }
    }
}

/// Everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Servers that do not answer and, where there is a real one, a password that is wrong there and one
/// that is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_password_is_on_no_surface() {
    let users = Users::make().await;
    let log = Log::default();
    let writer = log.clone();
    // All that is logged, but for the programs that only these tests use.
    let filter = Targets::new()
        .with_default(LevelFilter::TRACE)
        .with_targets(["ureq", "ureq_proto", "tungstenite"].map(|name| (name, LevelFilter::OFF)));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .with_filter(filter);
    tracing_subscriber::registry().with(lines).init();

    let registry = Registry::new();
    let mut surfaces = Vec::new();
    let mut events = Vec::new();
    let mut postgres = vec!["127.0.0.1:1".to_owned()];
    let mut mongodb = vec!["127.0.0.1:1".to_owned()];
    postgres.extend(real("POSTGRES_URL"));
    mongodb.extend(real("MONGODB_URL"));
    for (number, host) in postgres.iter().enumerate() {
        let url = format!("postgres://canary:{CANARY}@{host}/nowhere");
        let pool = PostgresPool::builder(&url)
            .unwrap()
            .name(format!("postgres-{number}"))
            .limits(1, 2)
            .acquire_timeout(Duration::from_secs(1))
            .build()
            .unwrap();
        registry.register(pool.clone()).unwrap();
        events.push(pool.subscribe());
        let error = pool.acquire().await.unwrap_err();
        surfaces.push(format!("{error} {error:?} {pool:?}"));
    }
    for (number, host) in mongodb.iter().enumerate() {
        let url = format!("mongodb://canary:{CANARY}@{host}/?serverSelectionTimeoutMS=500");
        let pool = MongoPool::builder(url)
            .name(format!("mongodb-{number}"))
            .database("nowhere")
            .limits(1, 2)
            .acquire_timeout(Duration::from_secs(1))
            .build()
            .await
            .unwrap();
        registry.register(pool.clone()).unwrap();
        events.push(pool.subscribe());
        let error = pool.acquire().await.unwrap_err();
        surfaces.push(format!("{error} {error:?} {pool:?}"));
    }
    // Let in: what works has more to tell.
    let (mut postgres_in, mut mongodb_in) = (None, None);
    if let Some(url) = &users.postgres {
        let builder = PostgresPool::builder(url).unwrap().name("postgres-in");
        surfaces.push(format!("{builder:?}"));
        let pool = builder.limits(1, 2).build().unwrap();
        registry.register(pool.clone()).unwrap();
        events.push(pool.subscribe());
        let mut guard = pool.acquire().await.unwrap();
        let wrong = sqlx::query("select no_such_column").execute(&mut guard);
        let error = wrong.await.unwrap_err();
        surfaces.push(format!("{error} {error:?} {guard:?} {pool:?}"));
        drop(guard);
        postgres_in = Some(pool);
    }
    if let Some(url) = &users.mongodb {
        let builder = MongoPool::builder(url.as_str()).name("mongodb-in");
        let builder = builder.database("nowhere").limits(1, 2);
        surfaces.push(format!("{builder:?}"));
        let pool = builder.build().await.unwrap();
        registry.register(pool.clone()).unwrap();
        events.push(pool.subscribe());
        let lease = pool.acquire().await.unwrap();
        lease.run_command(doc! { "ping": 1 }).await.unwrap();
        let wrong = lease.run_command(doc! { "noSuchCommand": 1 });
        let error = wrong.await.unwrap_err();
        surfaces.push(format!("{error} {error:?} {lease:?} {pool:?}"));
        drop(lease);
        mongodb_in = Some(pool);
    }
    let listener = listen(&registry, "127.0.0.1:0").await;
    surfaces.push(format!("{registry:?} {listener:?}"));
    for pool in registry.pools() {
        let snapshot = pool.snapshot();
        surfaces.push(format!("{snapshot:?} {} {pool:?}", pool.explain()));
        let counters = snapshot.metrics.counters;
        let let_in = pool.name().ends_with("-in");
        let (failed, opened) = (counters.connect_failures > 0, counters.opened > 0);
        assert_eq!((failed, opened), (!let_in, let_in), "{}", pool.name());
        assert!(!let_in || snapshot.metrics.errors == 0, "{}", pool.name());
    }
    let address = listener.address();
    let exported_from = registry.clone();
    // Long enough for events to be heard, shown and sent.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    let pages = tokio::task::spawn_blocking(move || {
        let mut paths = vec![
            "/".to_owned(),
            "/metrics".to_owned(),
            "/api/pools".to_owned(),
        ];
        for pool in exported_from.pools() {
            let pool = pool.name();
            paths.push(format!("/api/pools/{pool}"));
            paths.push(format!("/api/pools/{pool}/explain"));
        }
        let mut pages: Vec<_> = paths
            .iter()
            .map(|path| get(&format!("http://{address}{path}")).unwrap())
            .collect();
        pages.push(operate(address, TOKEN, "{\"min\": 1, \"max\": 3}"));
        pages.push(operate(address, TOKEN, "{\"min\": 9, \"max\": 3}"));
        pages.push(operate(address, CANARY, "{\"min\": 1, \"max\": 3}"));
        // Others know the token by its beginning, and no more.
        pages.push(operate(address, &TOKEN[..TOKEN.len() - 1], "{}"));
        pages.push(exported(&exported_from));
        pages.push(first_of_stream(&format!("http://{address}/api/stream")));
        pages
    })
    .await
    .unwrap();
    let history = pages.last().unwrap();
    assert!(
        history.contains("connect failed"),
        "no error in the stream: {history}"
    );
    surfaces.extend(pages);
    for mut of_one in events {
        let mut heard = String::new();
        while let Ok(Some(event)) = timeout(Duration::from_millis(50), of_one.next()).await {
            heard.push_str(&format!("{event:?}\n"));
        }
        assert!(!heard.is_empty(), "a pool of which nothing was heard");
        surfaces.push(heard);
    }
    let logged = String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned();
    assert!(logged.contains("postgres-0"), "nothing was logged");
    surfaces.push(logged);
    for surface in surfaces {
        for secret in [CANARY, TOKEN] {
            let line = surface.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret} is told");
        }
    }
    if let Some(pool) = postgres_in {
        pool.close(Duration::from_secs(10)).await;
    }
    if let Some(pool) = mongodb_in {
        pool.close(Duration::from_secs(10)).await;
    }
    listener.stop().await;
    users.remove().await;
}

/// What an operation is answered, with its headers.
fn operate(address: std::net::SocketAddr, token: &str, body: &str) -> String {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .build()
        .into();
    let answer = agent
        .post(format!("http://{address}/api/pools/postgres-0/resize"))
        .header("authorization", format!("Bearer {token}"))
        .content_type("application/json")
        .send(body);
    let mut answer = answer.unwrap();
    let told = format!("{} {:?}", answer.status(), answer.headers());
    told + &answer.body_mut().read_to_string().unwrap()
}

/// Whether a request is there with all of its body.
fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") else {
        return false;
    };
    let head = String::from_utf8_lossy(&request[..end]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map(|length| length.trim().parse::<usize>().unwrap());
    length.is_some_and(|length| request.len() >= end + 4 + length)
}

/// What an exporter sends, and what it says of itself; its own credentials go to the collector, and
/// nowhere else.
fn exported(registry: &Registry) -> String {
    use std::io::Read as _;

    let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let builder = OtlpExporter::builder(registry.clone())
        .url(format!("http://{}/", collector.local_addr().unwrap()))
        .header("authorization", format!("Bearer {TOKEN} {CANARY}"))
        .timeout(Duration::from_secs(5));
    let mut told = format!("{builder:?}");
    let exporter = builder.start().unwrap();
    let (mut taken, _) = collector.accept().unwrap();
    taken
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut sent = Vec::new();
    // Nobody answers, so nothing ends it.
    while !is_whole(&sent) {
        let mut more = [0; 4096];
        match taken.read(&mut more).unwrap() {
            0 => break,
            read => sent.extend_from_slice(&more[..read]),
        }
    }
    let sent = String::from_utf8_lossy(&sent).into_owned();
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert!(
        head.contains(CANARY) && body.contains("postgres-0"),
        "{sent}"
    );
    drop(taken);
    while exporter.status().failed == 0 {
        std::thread::sleep(Duration::from_millis(20));
    }
    told += &format!("{exporter:?} {:?}", exporter.status());
    told + body
}

/// Host and port of a server that the suite was given.
fn real(variable: &str) -> Option<String> {
    let url = std::env::var(variable).ok()?;
    let rest = url.split_once("://")?.1;
    let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    let host = host.split(['/', '?', ',']).next()?;
    Some(host.to_owned())
}

/// The history with which a stream begins.
fn first_of_stream(url: &str) -> String {
    use std::io::BufRead as _;

    let answer = ureq::get(url).call().unwrap();
    let lines = std::io::BufReader::new(answer.into_body().into_reader()).lines();
    let mut data = lines
        .map_while(Result::ok)
        .filter(|line| line.starts_with("data: "));
    data.next().unwrap()
}
