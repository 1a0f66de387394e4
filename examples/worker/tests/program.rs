//! The worker as its operator meets it: no job is lost and none is done twice.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::TryStreamExt as _;
use integration_tests::{mongodb_url, postgres_url};
use mongodb::bson::{Document, doc};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

const PATIENCE: Duration = Duration::from_secs(60);
const JOBS: i64 = 300;

/// A queue and a place for results of this test's own.
struct Place {
    name: String,
    postgres: String,
    mongodb: String,
}

impl Place {
    fn start(&self, arguments: &[&str]) -> Child {
        // The table is found, and made, in a schema of the test's own.
        let separator = if self.postgres.contains('?') {
            '&'
        } else {
            '?'
        };
        let postgres = format!(
            "{}{separator}options[search_path]={}",
            self.postgres, self.name
        );
        Command::new(env!("CARGO_BIN_EXE_worker"))
            .args(arguments)
            .env("POSTGRES_URL", postgres)
            .env("MONGODB_URL", &self.mongodb)
            .env("POOLS_SERVICES__WORKER__POSTGRES__NAME", &self.name)
            .env("POOLS_SERVICES__WORKER__MONGODB__DATABASE", &self.name)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program was built")
    }

    async fn connect(&self) -> (PgConnection, mongodb::Database) {
        let postgres = PgConnection::connect(&self.postgres).await.unwrap();
        let mongodb = mongodb::Client::with_uri_str(&self.mongodb).await.unwrap();
        (postgres, mongodb.database(&self.name))
    }

    /// How many of the worker's connections the server counts.
    async fn connections(&self, postgres: &mut PgConnection) -> i64 {
        sqlx::query_scalar("select count(*) from pg_stat_activity where application_name = $1")
            .bind(&self.name)
            .fetch_one(postgres)
            .await
            .unwrap()
    }

    async fn waiting(&self, postgres: &mut PgConnection) -> i64 {
        let count = format!("select count(*) from {}.jobs", self.name);
        sqlx::query_scalar(AssertSqlSafe(count))
            .fetch_one(postgres)
            .await
            .unwrap()
    }
}

async fn run(postgres: &mut PgConnection, statement: String) {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(postgres)
        .await
        .unwrap();
}

/// How many results there are, and how many were made more than once.
async fn results(mongodb: &mongodb::Database) -> (i64, usize) {
    let results = mongodb.collection::<Document>("results");
    let results = results.find(doc! {}).await.unwrap();
    let results: Vec<_> = results.try_collect().await.unwrap();
    for result in &results {
        let id = result.get_i64("_id").unwrap();
        assert_eq!(result.get_i64("output"), Ok(id * id));
    }
    let again = |result: &&Document| result.get_i32("times") != Ok(1);
    let twice = results.iter().filter(again).count();
    (i64::try_from(results.len()).unwrap(), twice)
}

/// A queue in a schema of the test's own.
async fn queue(postgres: &mut PgConnection, name: &str, jobs: i64) {
    let queue = format!(
        "drop schema if exists {name} cascade; create schema {name}; \
         create table {name}.jobs (id bigint primary key, input bigint not null); \
         insert into {name}.jobs select n, n from generate_series(1, {jobs}) n"
    );
    run(postgres, queue).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_that_outlast_their_grace_are_given_up_and_are_back_in_the_queue() {
    const AT_ONCE: i64 = 3;
    let (Some(postgres), Some(mongodb)) = (postgres_url(), mongodb_url()) else {
        return;
    };
    let place = Place {
        name: format!("worker_grace_{}", std::process::id()),
        postgres,
        mongodb,
    };
    let (mut postgres, mongodb) = place.connect().await;
    let name = &place.name;
    queue(&mut postgres, name, 2 * AT_ONCE).await;
    // An hour for each job, and a moment of grace.
    let arguments = ["--at-once", "3", "--effort", "3600000", "--grace", "0.3"];
    let mut child = place.start(&arguments);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "working\n");
    // Each has taken its job: that is as far as a transaction gets before it is committed.
    let began = Instant::now();
    let taken = "select count(*) from pg_stat_activity \
                 where application_name = $1 and state = 'idle in transaction'";
    loop {
        let taken: i64 = sqlx::query_scalar(taken)
            .bind(name)
            .fetch_one(&mut postgres)
            .await
            .unwrap();
        if taken == AT_ONCE {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{taken} jobs are in hand");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let signalled = Instant::now();
    let kill = Command::new("kill")
        .args(["-TERM".to_owned(), child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1), "{rest}");
    // Nobody waits for tasks that were given up, or for connections that they held.
    let took = signalled.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}: {rest}");
    assert!(rest.starts_with("0 jobs done"), "{rest}");
    assert!(rest.contains("back in the queue"), "{rest}");
    assert_eq!(place.waiting(&mut postgres).await, 2 * AT_ONCE);
    let began = Instant::now();
    while place.connections(&mut postgres).await > 0 {
        assert!(began.elapsed() < PATIENCE, "connections are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    run(&mut postgres, format!("drop schema {name} cascade")).await;
    mongodb.drop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_between_jobs_loses_none_and_repeats_none() {
    let (Some(postgres), Some(mongodb)) = (postgres_url(), mongodb_url()) else {
        return;
    };
    let place = Place {
        name: format!("worker_{}", std::process::id()),
        postgres,
        mongodb,
    };
    let (mut postgres, mongodb) = place.connect().await;
    let name = &place.name;
    queue(&mut postgres, name, JOBS).await;

    let mut child = place.start(&["--at-once", "6"]);
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, "working\n");
    let began = Instant::now();
    while place.waiting(&mut postgres).await > JOBS * 2 / 3 {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let kill = Command::new("kill")
        .args(["-TERM".to_owned(), child.id().to_string()])
        .status();
    assert!(kill.unwrap().success());
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest}");

    let waiting = place.waiting(&mut postgres).await;
    let (done, twice) = results(&mongodb).await;
    assert!(waiting > 0, "it was interrupted: {rest}");
    assert_eq!((done + waiting, twice), (JOBS, 0), "{rest}");
    assert!(rest.starts_with(&format!("{done} jobs done")), "{rest}");
    let began = Instant::now();
    while place.connections(&mut postgres).await > 0 {
        assert!(began.elapsed() < PATIENCE, "connections are left");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }

    // The next one does the rest, and ends by itself.
    let ended = place.start(&["--until-empty"]).wait_with_output().unwrap();
    let output = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(0), "{output}");
    assert_eq!(place.waiting(&mut postgres).await, 0);
    assert_eq!(results(&mongodb).await, (JOBS, 0), "{output}");

    run(&mut postgres, format!("drop schema {name} cascade")).await;
    mongodb.drop().await.unwrap();
}
