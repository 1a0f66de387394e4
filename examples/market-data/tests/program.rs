//! The program as its user meets it: arguments, output, exit code, signals, and what is left.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use integration_tests::{mongodb_url, postgres_url};
use serde_json::Value;
use tempfile::TempPath;

/// What a run came to.
struct Ended {
    code: Option<i32>,
    output: String,
    errors: String,
    took: Duration,
}

struct Servers {
    postgres: String,
    mongodb: String,
}

fn servers() -> Option<Servers> {
    Some(Servers {
        postgres: postgres_url()?,
        mongodb: mongodb_url()?,
    })
}

impl Servers {
    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .spawn()
            .expect("the program was built")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_market-data"));
        command
            .args(arguments)
            .arg("--headless")
            .env("POSTGRES_URL", &self.postgres)
            .env("MONGODB_URL", &self.mongodb)
            // Meant for these tests: the program takes what begins so for its own settings.
            .env_remove("POOLS_WATCHED_SECONDS")
            .env_remove("POOLS_RULES_AS_THEY_ARE")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let began = Instant::now();
        let ended = self.start(arguments).wait_with_output().expect("it ends");
        Ended {
            code: ended.status.code(),
            output: String::from_utf8_lossy(&ended.stdout).into_owned(),
            errors: String::from_utf8_lossy(&ended.stderr).into_owned(),
            took: began.elapsed(),
        }
    }

    /// Whether the schema and the database that a run has announced are still there.
    fn left_behind(&self, output: &str) -> (bool, bool) {
        use sqlx::Connection as _;

        let name = output
            .lines()
            .find_map(|line| line.strip_prefix("schema and database: "))
            .expect("the names are told");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        runtime.block_on(async {
            let mut postgres = sqlx::PgConnection::connect(&self.postgres).await.unwrap();
            let schema: bool =
                sqlx::query_scalar("select exists (select from pg_namespace where nspname = $1)")
                    .bind(name)
                    .fetch_one(&mut postgres)
                    .await
                    .unwrap();
            let mongodb = mongodb::Client::with_uri_str(&self.mongodb).await.unwrap();
            let databases = mongodb.list_database_names().await.unwrap();
            (schema, databases.iter().any(|database| database == name))
        })
    }
}

/// A file of settings in the format that `ending` says, removed at the end.
fn settings(ending: &str, text: &str) -> TempPath {
    let file = tempfile::Builder::new().suffix(ending).tempfile().unwrap();
    std::fs::write(&file, text).unwrap();
    file.into_temp_path()
}

#[test]
fn a_run_verifies_every_row_grows_shrinks_and_leaves_nothing() {
    let Some(servers) = servers() else { return };
    // As the program ships it, with evaluations that fit a short run.
    let quick = settings(
        ".json",
        r#"{"services": {"marketData": {
            "postgres": {"dynamic": {"evaluationInterval": 200}},
            "mongodb": {"dynamic": {"evaluationInterval": 200}}
        }}}"#,
    );
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results.json");
    let arguments = [
        "--seconds",
        "8",
        "--config",
        quick.to_str().unwrap(),
        "--json",
        results.to_str().unwrap(),
    ];
    let ended = servers.run(&arguments);
    assert_eq!(ended.code, Some(0), "{}{}", ended.output, ended.errors);
    assert_eq!(servers.left_behind(&ended.output), (false, false));

    let written = std::fs::read_to_string(&results).unwrap();
    let written: Value = serde_json::from_str(&written).unwrap();
    let metric = |subject: &str, metric: &str| {
        let results = written["results"].as_array().unwrap();
        let found = results.iter().find(|result| {
            result["benchmark"] == "demo"
                && result["subject"] == subject
                && result["metric"] == metric
        });
        let found = found.unwrap_or_else(|| panic!("{subject} has no {metric}: {written}"));
        found["value"].as_f64().unwrap()
    };
    for (subject, rows, monitors) in [("postgresql", 5_105.0, 0.0), ("mongodb", 560.0, 2.0)] {
        assert_eq!(metric(subject, "rows_verified"), rows);
        assert_eq!(metric(subject, "errors"), 0.0);
        assert!(metric(subject, "operations") > 100.0);
        let peak = metric(subject, "connections_peak");
        assert!(metric(subject, "connections_after_peak") < peak);
        let maximum = metric(subject, "connections_maximum");
        assert!(peak <= maximum);
        let at_server = metric(subject, "server_connections_peak");
        assert!(
            (1.0..=maximum + monitors).contains(&at_server),
            "{at_server}"
        );
        assert_eq!(metric(subject, "server_connections_left"), 0.0);
        assert!(metric(subject, "wait_p99_ms") >= 0.0);
    }
}

#[test]
fn a_signal_ends_a_run_early_with_its_report_and_nothing_left() {
    let Some(servers) = servers() else { return };
    for signal in ["INT", "TERM", "HUP"] {
        let mut child = servers.start(&["--seconds", "600"]);
        let mut output = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while !output.contains(" operations at once") {
            let read = lines.read_line(&mut output).unwrap();
            assert!(read > 0, "it ended before the signal: {output}");
        }
        let kill = Command::new("kill")
            .args([format!("-{signal}"), child.id().to_string()])
            .status();
        assert!(kill.unwrap().success());
        let sent = Instant::now();
        lines.read_to_string(&mut output).unwrap();
        let status = child.wait().unwrap();
        assert!(
            sent.elapsed() < Duration::from_secs(30),
            "{signal}: {output}"
        );
        assert_eq!(status.code(), Some(130), "{signal}: {output}");
        assert!(output.contains("rows verified"), "{signal}: {output}");
        assert_eq!(servers.left_behind(&output), (false, false), "{signal}");
    }
}

#[test]
fn a_reader_that_goes_away_ends_a_run_early_with_nothing_left() {
    let Some(servers) = servers() else { return };
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results.json");
    let arguments = ["--seconds", "600", "--json", results.to_str().unwrap()];
    for last in ["schema and database: ", " operations at once"] {
        let mut child = servers.start(&arguments);
        let mut output = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while !output.contains(last) {
            let read = lines.read_line(&mut output).unwrap();
            assert!(read > 0, "it ended before its reader: {output}");
        }
        drop(lines);
        let gone = Instant::now();
        let ended = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(130), "{last}: {errors}");
        assert!(!errors.contains("panicked"), "{last}: {errors}");
        assert!(gone.elapsed() < Duration::from_secs(30), "{last}: {errors}");
        assert_eq!(servers.left_behind(&output), (false, false), "{last}");
    }

    // Nobody has ever read.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = servers.command(&arguments).stdout(writer).output().unwrap();
    let errors = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(130), "{errors}");
    assert_eq!(errors, "");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A run with bad input ends in one line that has all of `wanted`, and no secret.
#[track_caller]
fn check(servers: &Servers, arguments: &[&str], wanted: &[&str]) {
    let ended = servers.run(arguments);
    let Ended { errors, took, .. } = &ended;
    assert_eq!(ended.code, Some(1), "{errors}");
    let lines: Vec<_> = errors
        .lines()
        .filter(|line| line.starts_with("error:"))
        .collect();
    assert_eq!(lines.len(), 1, "{errors}");
    for wanted in wanted {
        assert!(lines[0].contains(wanted), "want `{wanted}`: {errors}");
    }
    assert!(!errors.contains("canary"), "a secret shows: {errors}");
    assert!(*took < Duration::from_secs(20), "{took:?}: {errors}");
}

#[test]
fn bad_input_ends_in_one_error_that_says_what_and_where() {
    let Some(right) = servers() else { return };
    let with = |postgres: &str| Servers {
        postgres: postgres.to_owned(),
        mongodb: right.mongodb.clone(),
    };
    let place = "`POSTGRES_URL` in the environment";
    let unreachable = with("postgres://app:canary@127.0.0.1:1/market");
    let hurry = settings(
        ".toml",
        "[services.market-data.postgres]\nacquire_timeout_ms = 1000",
    );
    check(
        &unreachable,
        &["--config", hurry.to_str().unwrap()],
        &[place, "127.0.0.1:1", "refused"],
    );
    check(
        &with("postgres://u:canary@h:x/d"),
        &[],
        &[place, "invalid port number"],
    );
    let (server, _database) = right.postgres.rsplit_once('/').unwrap();
    check(
        &with(&format!("{server}/no_such")),
        &[],
        &[place, "no_such", "3D000"],
    );
    let (scheme, rest) = right.postgres.split_once("://").unwrap();
    let (user, host) = rest.split_once('@').unwrap();
    let (user, _password) = user.split_once(':').unwrap_or((user, ""));
    let wrong = with(&format!("{scheme}://{user}:canary@{host}"));
    check(&wrong, &[], &[place, "password authentication failed"]);

    let sizes = settings(
        ".json",
        r#"{"services": {"market-data": {"postgres": {"dynamic": {"minSize": 90}}}}}"#,
    );
    check(
        &right,
        &["--config", sizes.to_str().unwrap()],
        &[sizes.to_str().unwrap(), "minSize 90 and maxSize 16"],
    );
    let unknown = settings(".yaml", "services: {market-data: {postgres: {siez: 3}}}");
    check(
        &right,
        &["--config", unknown.to_str().unwrap()],
        &[
            unknown.to_str().unwrap(),
            "`services.market-data.postgres.siez`",
            "is not a known key",
        ],
    );
    check(
        &right,
        &["--config", "/no/such.toml"],
        &["/no/such.toml", "could not be read"],
    );
    check(
        &right,
        &["--json", "/no/such/folder.json"],
        &["/no/such/folder.json"],
    );
}
