//! Servers in containers, from the official images.
//!
//! Each container has a name and a label, publishes one port on the loopback address and is removed
//! with its volumes. Passwords travel as variables of the client, not on its command line.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::docker::{Container, Engine};
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

    fn container(&self) -> Container {
        self.home.record.container.clone().unwrap_or_default()
    }

    fn wait_until_ready(
        &self,
        address: SocketAddr,
        deadline: Deadline,
        probe: fn(SocketAddr) -> Probe,
    ) -> Result<(), StartError> {
        let container = self.container();
        loop {
            let Probe::NotYet(last) = probe(address) else {
                return Ok(());
            };
            let running = container.is_running();
            if running && !deadline.passed() {
                thread::sleep(POLL * 10);
                continue;
            }
            let log = self.folder().join("container.log");
            let _ = fs::write(&log, container.log_tail());
            let (program, step, log) = (container.name, "start", LogEnd::of(log));
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
    }

    pub(crate) fn remember(&mut self, url: &str, origin: &str) -> Result<(), IoError> {
        self.home.remember(url, origin)
    }
}

pub(crate) fn postgres(
    options: &PostgresOptions,
    environment: &Environment,
    engine: &Engine,
) -> Result<(ContainerServer, String), StartError> {
    let password = new_secret()?;
    let limit = format!("max_connections={}", options.max_connections);
    let recipe = Recipe {
        kind: Kind::Postgres,
        inside: Some(5432),
        variables: &[("POSTGRES_PASSWORD", &password)],
        client: &[],
        server: &|_| {
            let fixed = [
                limit.clone(),
                "fsync=off".to_owned(),
                "synchronous_commit=off".to_owned(),
            ];
            let own = options
                .settings
                .iter()
                .map(|(name, value)| format!("{name}={value}"));
            fixed
                .into_iter()
                .chain(own)
                .flat_map(|one| ["-c".to_owned(), one])
                .collect()
        },
        within: options.start_within,
        probe: postgres::probe,
    };
    let (server, address) = recipe.start(environment, engine)?;
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
    engine: &Engine,
) -> Result<(ContainerServer, String), StartError> {
    let (password, key) = (new_secret()?, new_secret()?);
    let recipe = Recipe {
        kind: Kind::Mongo,
        inside: None,
        variables: &[
            ("MONGO_INITDB_ROOT_USERNAME", mongo::USER),
            ("MONGO_INITDB_ROOT_PASSWORD", &password),
            ("MONGO_KEY", &key),
        ],
        client: &["--entrypoint", "bash"],
        server: &|port| {
            let script = "umask 077; printf %s \"$MONGO_KEY\" > /tmp/key; \
                          chown mongodb /tmp/key; exec docker-entrypoint.sh mongod \"$@\"";
            let port = port.to_string();
            let fixed = ["-c", script, "mongod", "--bind_ip_all", "--port", &port];
            let more = ["--keyFile", "/tmp/key", "--replSet", mongo::REPLICA_SET];
            let small = ["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256"];
            [&fixed[..], &more, &small]
                .concat()
                .into_iter()
                .map(str::to_owned)
                .chain(options.own_arguments())
                .collect()
        },
        within: options.start_within,
        probe: mongo::answers,
    };
    let (server, address) = recipe.start(environment, engine)?;
    let initiate = format!(
        "db.getSiblingDB('admin').auth('{user}', process.env.MONGO_INITDB_ROOT_PASSWORD); \
         rs.initiate({{_id: '{set}', members: [{{_id: 0, host: '{address}'}}]}})",
        user = mongo::USER,
        set = mongo::REPLICA_SET,
    );
    let port = address.port().to_string();
    let name = server.container().name;
    let arguments = [
        "exec", &name, "mongosh", "--quiet", "--port", &port, "--eval", &initiate,
    ];
    let refused = |answer| StartError::Refused {
        kind: Kind::Mongo,
        step: "the replica set",
        answer,
    };
    engine
        .ask(&arguments, Duration::from_secs(30))
        .map_err(refused)?;
    server.wait_until_ready(
        address,
        Deadline::after(options.start_within),
        mongo::writable,
    )?;
    Ok((server, mongo::url(&[address], &password)))
}

fn new_secret() -> Result<String, IoError> {
    secret::password().context("read", Path::new("/dev/urandom"))
}

/// How to run an image.
struct Recipe<'a> {
    kind: Kind,
    /// The server's port in the container; none when it is the published port's number.
    inside: Option<u16>,
    variables: &'a [(&'a str, &'a str)],
    /// What is added to the client's arguments.
    client: &'a [&'a str],
    /// The server's arguments, given the published port.
    server: &'a dyn Fn(u16) -> Vec<String>,
    within: Duration,
    probe: fn(SocketAddr) -> Probe,
}

impl Recipe<'_> {
    fn start(
        &self,
        environment: &Environment,
        engine: &Engine,
    ) -> Result<(ContainerServer, SocketAddr), StartError> {
        let mut home = Home::new(self.kind, environment)?;
        let container = Container::new(engine.clone(), self.kind.slug(), &home.folder);
        home.record.container = Some(container.clone());
        home.save()?;
        home.ward.adopt_container(container.clone());
        let server = ContainerServer { home };
        let mut last = String::new();
        for _ in 0..port::ATTEMPTS {
            let port = port::free().context("find a free port on", Path::new("127.0.0.1"))?;
            match self.run(&server, &container, port) {
                Ok(_) => {
                    let address = (Ipv4Addr::LOCALHOST, port).into();
                    server.wait_until_ready(address, Deadline::after(self.within), self.probe)?;
                    return Ok((server, address));
                }
                Err(said) => {
                    let port_was_taken = said.contains("already");
                    last = said;
                    if !port_was_taken {
                        break;
                    }
                    container.remove();
                }
            }
        }
        Err(StartError::Refused {
            kind: self.kind,
            step: "the container",
            answer: last,
        })
    }

    fn run(
        &self,
        server: &ContainerServer,
        container: &Container,
        port: u16,
    ) -> Result<String, String> {
        let publish = format!("127.0.0.1:{port}:{}", self.inside.unwrap_or(port));
        let mut arguments = vec!["run", "--detach", "--name", &container.name];
        arguments.extend([
            "--label",
            "elastic-pools=test-server",
            "--publish",
            &publish,
        ]);
        arguments.extend(self.variables.iter().flat_map(|(name, _)| ["--env", name]));
        arguments.extend(self.client);
        arguments.push(image(self.kind));
        let own = (self.server)(port);
        arguments.extend(own.iter().map(String::as_str));
        container
            .engine
            .work(&server.home.ward, &arguments, self.variables, PULL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::os::unix::fs::PermissionsExt as _;

    use tempfile::TempDir;

    /// A folder with a `docker` that writes down what it is asked and says what an engine says.
    struct FakeDocker(TempDir);

    impl FakeDocker {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let script = "#!/bin/sh\n\
                cd \"$(dirname \"$0\")\"\n\
                echo \"$@\" >> asked\n\
                case $1 in\n\
                info) echo 28.0 ;;\n\
                run) [ -e taken ] && rm taken && echo 'port is already allocated' >&2 && exit 125\n\
                     echo \"password is $POSTGRES_PASSWORD\" >> asked; echo id ;;\n\
                inspect) cat running ;;\n\
                logs) echo 'last words' ;;\n\
                esac\n";
            let client = folder.path().join("docker");
            fs::write(&client, script).unwrap();
            fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).unwrap();
            fs::write(folder.path().join("running"), "true").unwrap();
            Self(folder)
        }

        fn environment(&self) -> Environment {
            Environment::for_tests(self.0.path()).only_from(crate::Source::Docker)
        }

        fn asked(&self) -> Vec<String> {
            let asked = fs::read_to_string(self.0.path().join("asked")).unwrap_or_default();
            asked.lines().map(str::to_owned).collect()
        }

        /// Answers one start-up message on the port that `run` was told to publish.
        fn serve(&self) -> thread::JoinHandle<()> {
            let asked = self.0.path().join("asked");
            thread::spawn(move || {
                let port: u16 = loop {
                    let text = fs::read_to_string(&asked).unwrap_or_default();
                    let run = text.lines().find(|line| line.starts_with("run"));
                    match run.and_then(|run| run.split("127.0.0.1:").nth(1)?.split(':').next()) {
                        Some(port) => break port.parse().unwrap(),
                        None => thread::sleep(POLL),
                    }
                };
                let (mut stream, _) = TcpListener::bind(("127.0.0.1", port))
                    .unwrap()
                    .accept()
                    .unwrap();
                let _ = stream.read(&mut [0; 512]).unwrap();
                stream.write_all(b"R\0\0\0\x08\0\0\0\0").unwrap();
            })
        }
    }

    #[test]
    fn a_container_publishes_one_loopback_port_and_is_removed_with_its_volumes() {
        let docker = FakeDocker::new();
        let answering = docker.serve();
        let server = PostgresOptions::default()
            .start(&docker.environment())
            .unwrap();
        answering.join().unwrap();
        let password = server.url().split([':', '@']).nth(2).unwrap().to_owned();
        drop(server);

        let asked = docker.asked();
        let run = asked.iter().find(|line| line.starts_with("run ")).unwrap();
        let expected = "--label elastic-pools=test-server --publish 127.0.0.1:";
        assert!(run.contains(expected), "{run}");
        assert!(run.contains(":5432 --env POSTGRES_PASSWORD postgres:16 -c max_connections=200"));
        assert!(
            !run.contains(&password),
            "a command line is no place for a password"
        );
        assert!(asked.contains(&format!("password is {password}")));
        let removed = asked.last().unwrap();
        assert!(
            removed.starts_with("rm --force --volumes elastic-pools-postgres-run-"),
            "{removed}"
        );
    }

    #[test]
    fn a_container_that_ended_is_reported_with_its_last_words() {
        let docker = FakeDocker::new();
        fs::write(docker.0.path().join("taken"), "").unwrap();
        fs::write(docker.0.path().join("running"), "false").unwrap();
        let error = PostgresOptions::default()
            .start(&docker.environment())
            .unwrap_err();
        assert!(error.to_string().contains("last words"), "{error}");
        let runs = docker
            .asked()
            .iter()
            .filter(|line| line.starts_with("run "))
            .count();
        assert_eq!(runs, 2, "a taken port is tried again with another one");
    }
}
