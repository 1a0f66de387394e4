//! Servers in containers, from the official images.
//!
//! Each container has a name and a label, publishes one port on the loopback address and is removed
//! with its volumes. Passwords travel as variables of the client, not on its command line.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::docker::{Container, docker};
use crate::error::{IoContext as _, IoError, StartError};
use crate::log::LogEnd;
use crate::node::{Deadline, Home, Probe};
use crate::process::POLL;
use crate::{Environment, Kind, MongoOptions, PostgresOptions, mongo, port, postgres, secret};

/// The first start pulls the image.
const PULL: Duration = Duration::from_secs(600);

pub(crate) fn image(kind: Kind) -> &'static str {
    match kind {
        Kind::Postgres => "postgres:16",
        Kind::Mongo => "mongo:7",
    }
}

/// A server in a container, with the run folder that remembers it.
#[derive(Debug)]
pub(crate) struct ContainerServer {
    home: Home,
}

impl ContainerServer {
    pub(crate) fn detach(mut self) -> Result<PathBuf, IoError> {
        self.home.record.owner = None;
        self.home.save()?;
        self.home.ward.disown();
        Ok(self.home.folder.clone())
    }

    pub(crate) fn is_running(&self) -> bool {
        self.home.record.server_is_alive()
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.home.folder
    }

    pub(crate) fn remember(&mut self, url: &str, origin: &str) -> Result<(), IoError> {
        self.home.remember(url, origin)
    }
}

pub(crate) fn postgres(
    options: &PostgresOptions,
    environment: &Environment,
) -> Result<(ContainerServer, String), StartError> {
    let password = new_secret()?;
    let limit = format!("max_connections={}", options.max_connections);
    let (server, address) = start(
        Kind::Postgres,
        environment,
        5432,
        &[("POSTGRES_PASSWORD", &password)],
        |_| {
            let fixed = [
                limit.clone(),
                "fsync=off".to_owned(),
                "synchronous_commit=off".to_owned(),
            ];
            let own = options
                .settings
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            let settings = fixed
                .into_iter()
                .chain(own)
                .flat_map(|one| ["-c".to_owned(), one]);
            (Vec::new(), settings.collect())
        },
        options.start_within,
        postgres::probe,
    )?;
    let name = postgres::NAME;
    Ok((
        server,
        format!("postgres://{name}:{password}@{address}/{name}"),
    ))
}

/// The image's own set-up creates the first user: from outside the container the server would not
/// see a local client, whom alone it allows to do so. A member's address must mean the same inside
/// and outside, so the server listens on the published port's number.
pub(crate) fn mongo(
    options: &MongoOptions,
    environment: &Environment,
) -> Result<(ContainerServer, String), StartError> {
    let (password, key) = (new_secret()?, new_secret()?);
    let variables = [
        ("MONGO_INITDB_ROOT_USERNAME", mongo::USER),
        ("MONGO_INITDB_ROOT_PASSWORD", password.as_str()),
        ("MONGO_KEY", key.as_str()),
    ];
    let (server, address) = start(
        Kind::Mongo,
        environment,
        0,
        &variables,
        |port| {
            let script = "umask 077; printf %s \"$MONGO_KEY\" > /tmp/key; chown mongodb /tmp/key; \
                          exec docker-entrypoint.sh mongod \"$@\"";
            let port = port.to_string();
            let mut arguments: Vec<String> =
                ["-c", script, "mongod", "--bind_ip_all", "--port", &port]
                    .into_iter()
                    .chain(["--keyFile", "/tmp/key", "--replSet", mongo::REPLICA_SET])
                    .chain(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256"])
                    .map(str::to_owned)
                    .collect();
            for (name, value) in &options.parameters {
                arguments.extend(["--setParameter".to_owned(), format!("{name}={value}")]);
            }
            (
                vec!["--entrypoint".to_owned(), "bash".to_owned()],
                arguments,
            )
        },
        options.start_within,
        mongo::answers,
    )?;
    let initiate = format!(
        "db.getSiblingDB('admin').auth('{user}', process.env.MONGO_INITDB_ROOT_PASSWORD); \
         rs.initiate({{_id: '{set}', members: [{{_id: 0, host: '{address}'}}]}})",
        user = mongo::USER,
        set = mongo::REPLICA_SET,
    );
    let container = server
        .home
        .record
        .container
        .as_ref()
        .map_or("", |one| one.name.as_str());
    let port = address.port().to_string();
    let arguments = [
        "exec", container, "mongosh", "--quiet", "--port", &port, "--eval", &initiate,
    ];
    docker(&arguments, &[], Duration::from_secs(30)).map_err(|answer| StartError::Refused {
        kind: Kind::Mongo,
        step: "the replica set",
        answer,
    })?;
    wait_until_ready(
        &server,
        address,
        Deadline::after(options.start_within),
        mongo::writable,
    )?;
    Ok((server, mongo::url(address, &password)))
}

fn new_secret() -> Result<String, IoError> {
    secret::password().context("read", Path::new("/dev/urandom"))
}

/// Runs the image with its port published. `inside` is the port in the container, 0 for the same
/// number as outside; `extra` gives, for that number, the client's and the image's arguments.
fn start(
    kind: Kind,
    environment: &Environment,
    inside: u16,
    variables: &[(&str, &str)],
    extra: impl Fn(u16) -> (Vec<String>, Vec<String>),
    within: Duration,
    probe: fn(SocketAddr) -> Probe,
) -> Result<(ContainerServer, SocketAddr), StartError> {
    let mut home = Home::new(kind, environment)?;
    let run = home
        .folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let container = Container {
        name: format!("elastic-pools-{}-{run}", kind.slug()),
    };
    home.record.container = Some(container.clone());
    home.save()?;
    home.ward.adopt_container(container.clone());
    eprintln!("starting {kind} from the Docker image {}", image(kind));
    let server = ContainerServer { home };
    let mut last = String::new();
    for _ in 0..port::ATTEMPTS {
        let port = port::free().context("find a free port on", Path::new("127.0.0.1"))?;
        let (client, server_arguments) = extra(port);
        let publish = format!(
            "127.0.0.1:{port}:{}",
            if inside == 0 { port } else { inside }
        );
        let mut arguments = vec![
            "run",
            "--detach",
            "--name",
            &container.name,
            "--label",
            "elastic-pools=test-server",
        ];
        arguments.extend(["--publish", &publish]);
        arguments.extend(variables.iter().flat_map(|(name, _)| ["--env", name]));
        arguments.extend(client.iter().map(String::as_str));
        arguments.push(image(kind));
        arguments.extend(server_arguments.iter().map(String::as_str));
        match docker(&arguments, variables, PULL) {
            Ok(_) => {
                let address = (Ipv4Addr::LOCALHOST, port).into();
                wait_until_ready(&server, address, Deadline::after(within), probe)?;
                return Ok((server, address));
            }
            Err(said) if said.contains("already") => {
                container.remove();
                last = said;
            }
            Err(answer) => {
                return Err(StartError::Refused {
                    kind,
                    step: "the container",
                    answer,
                });
            }
        }
    }
    Err(StartError::Refused {
        kind,
        step: "the container",
        answer: last,
    })
}

fn wait_until_ready(
    server: &ContainerServer,
    address: SocketAddr,
    deadline: Deadline,
    probe: fn(SocketAddr) -> Probe,
) -> Result<(), StartError> {
    loop {
        let Probe::NotYet(last) = probe(address) else {
            return Ok(());
        };
        let container = server.home.record.container.clone().unwrap_or_default();
        let running = container.is_running();
        if !running || deadline.passed() {
            let log = server.home.folder.join("container.log");
            let _ = fs::write(&log, container.log_tail());
            let log = LogEnd::of(log);
            let (program, step) = (container.name, "start");
            let status = "the container is not running".to_owned();
            return Err(if running {
                StartError::Deadline {
                    program,
                    step,
                    within: deadline.within,
                    last,
                    log,
                }
            } else {
                StartError::Ended {
                    program,
                    step,
                    status,
                    log,
                }
            });
        }
        thread::sleep(POLL * 10);
    }
}
