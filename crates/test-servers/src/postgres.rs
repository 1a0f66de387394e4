//! A PostgreSQL server of our own.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::error::{IoContext as _, StartError};
use crate::machine::{Programs, everyone_can_reach};
use crate::node::{Deadline, Home, Launch, Node, Probe, clean_environment};
use crate::runs::write_private;
use crate::server::{Found, Server};
use crate::user::Unprivileged;
use crate::wire::postgres::{Answer, ask};
use crate::{Environment, Kind, Source, container, secret};

/// The administrator, and the database that exists from the start.
pub(crate) const NAME: &str = "postgres";

/// How a PostgreSQL server is to be started.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    pub(crate) max_connections: u16,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) start_within: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            max_connections: 200,
            settings: Vec::new(),
            start_within: Duration::from_secs(60),
        }
    }
}

impl PostgresOptions {
    /// The server's own limit on connections. Defaults to 200.
    #[must_use]
    pub fn max_connections(mut self, limit: u16) -> Self {
        self.max_connections = limit;
        self
    }

    /// Sets a server parameter, after and so above the ones set here. Defaults to none.
    #[must_use]
    pub fn setting(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.push((name.into(), value.into()));
        self
    }

    /// The time a start may take once the programs are there. Defaults to 60 s.
    #[must_use]
    pub fn start_within(mut self, within: Duration) -> Self {
        self.start_within = within;
        self
    }

    /// Gives the server the environment names, or starts one.
    ///
    /// # Errors
    ///
    /// When the given server does not answer, no source has one, or the start fails; the end of the
    /// server's log is in the error.
    pub fn start(&self, environment: &Environment) -> Result<Server, StartError> {
        Server::first_of(Kind::Postgres, environment, |found| match found {
            Found::Programs(programs) => {
                let (node, url) = self.start_process(environment, programs, None)?;
                Ok((node.into(), url))
            }
            Found::Docker(engine) => {
                let (server, url) = container::postgres(self, environment, engine)?;
                Ok((server.into(), url))
            }
        })
    }

    /// Starts a streaming replica of `primary`, with the same programs and these options. What the
    /// primary's URL opens opens the replica as well.
    ///
    /// # Errors
    ///
    /// When the primary is not a process of ours, or the copy or the start fails; the end of the log
    /// is in the error.
    pub fn start_replica(
        &self,
        primary: &Server,
        environment: &Environment,
    ) -> Result<Server, StartError> {
        Server::first_of(Kind::Postgres, environment, |found| match found {
            Found::Programs(programs) => {
                let (node, url) = self.start_process(environment, programs, Some(primary))?;
                Ok((node.into(), url))
            }
            // A container could not reach the primary's loopback address.
            Found::Docker(_) => Err(StartError::NoSource {
                kind: Kind::Postgres,
                tried: vec![(
                    Source::Docker,
                    "a replica runs beside its primary".to_owned(),
                )],
            }),
        })
    }

    fn start_process(
        &self,
        environment: &Environment,
        programs: &Programs,
        primary: Option<&Server>,
    ) -> Result<(Node, String), StartError> {
        let user = Unprivileged::if_root()?;
        let deadline = Deadline::after(self.start_within);
        let mut home = Home::new(Kind::Postgres, environment)?;
        if let Some(user) = &user
            && !everyone_can_reach(&home.folder)
        {
            let (user, path) = (user.name.clone(), home.folder.clone());
            return Err(StartError::Unreachable { user, path });
        }
        let password = match primary {
            Some(primary) => {
                copy(&mut home, programs, user.as_ref(), primary.url(), deadline)?;
                parts(primary.url()).password.to_owned()
            }
            None => {
                let password = secret::password().context("read", Path::new("/dev/urandom"))?;
                initialise(&mut home, programs, user.as_ref(), &password, deadline)?;
                password
            }
        };
        let launch = Launch {
            program: programs.folder.join("postgres"),
            arguments: self.arguments(&home.folder.join("data")),
            user,
            port_argument: |port| vec!["-p".into(), port.to_string().into()],
            probe,
        };
        let node = Node::start(home, launch, deadline)?;
        let url = format!("postgres://{NAME}:{password}@{}/{NAME}", node.address());
        Ok((node, url))
    }

    fn arguments(&self, data: &Path) -> Vec<OsString> {
        let limit = self.max_connections.to_string();
        let fixed = [
            ("listen_addresses", "127.0.0.1"),
            // No socket files: what is not made need not be removed.
            ("unix_socket_directories", ""),
            ("max_connections", limit.as_str()),
            // The data is thrown away, so nothing waits for the disk.
            ("fsync", "off"),
            ("synchronous_commit", "off"),
            ("full_page_writes", "off"),
            // Shared memory of parallel queries goes into the data folder and away with it, where
            // /dev/shm would keep it after kill -9.
            ("dynamic_shared_memory_type", "mmap"),
            ("logging_collector", "off"),
            ("log_destination", "stderr"),
        ];
        let own = self
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()));
        let mut arguments = vec!["-D".into(), data.into()];
        for (name, value) in fixed.into_iter().chain(own) {
            arguments.extend(["-c".into(), OsString::from(format!("{name}={value}"))]);
        }
        arguments
    }
}

fn initialise(
    home: &mut Home,
    programs: &Programs,
    user: Option<&Unprivileged>,
    password: &str,
    deadline: Deadline,
) -> Result<(), StartError> {
    let (data, password_file) = (home.folder.join("data"), home.folder.join("password"));
    DirBuilder::new()
        .mode(0o700)
        .create(&data)
        .context("create", &data)?;
    write_private(&password_file, password.as_bytes(), 0o600)?;
    let mut command = Command::new(programs.folder.join("initdb"));
    command
        .arg("--pgdata")
        .arg(&data)
        .arg("--pwfile")
        .arg(&password_file)
        .args([
            "--username",
            NAME,
            "--auth",
            "scram-sha-256",
            "--encoding",
            "UTF8",
        ])
        .args(["--locale", "C", "--no-sync", "--no-instructions"]);
    clean_environment(&mut command);
    if let Some(user) = user {
        user.own(&data)?;
        user.own(&password_file)?;
        user.run(&mut command);
    }
    home.run(&mut command, "initdb", deadline)?;
    std::fs::remove_file(&password_file).context("remove", &password_file)?;
    Ok(())
}

/// Copies the data of a running primary, with what makes the copy follow it.
fn copy(
    home: &mut Home,
    programs: &Programs,
    user: Option<&Unprivileged>,
    primary: &str,
    deadline: Deadline,
) -> Result<(), StartError> {
    let data = home.folder.join("data");
    DirBuilder::new()
        .mode(0o700)
        .create(&data)
        .context("create", &data)?;
    let Parts {
        host,
        port,
        password,
    } = parts(primary);
    let mut command = Command::new(programs.folder.join("pg_basebackup"));
    command.arg("--pgdata").arg(&data);
    command.args(["--host", host, "--port", port, "--username", NAME]);
    command.args(["--write-recovery-conf", "--checkpoint", "fast", "--no-sync"]);
    clean_environment(&mut command);
    // Not on the command line, which others can read; it is written into the copy's own settings.
    command.env("PGPASSWORD", password);
    if let Some(user) = user {
        user.own(&data)?;
        user.run(&mut command);
    }
    home.run(&mut command, "pg_basebackup", deadline)
}

/// What of a URL that this crate has made leads to a server.
pub(crate) struct Parts<'u> {
    pub(crate) host: &'u str,
    pub(crate) port: &'u str,
    pub(crate) password: &'u str,
}

pub(crate) fn parts(url: &str) -> Parts<'_> {
    let authority = url.split('/').nth(2).unwrap_or_default();
    let (user, place) = authority.rsplit_once('@').unwrap_or_default();
    let (host, port) = place.rsplit_once(':').unwrap_or_default();
    let (_, password) = user.split_once(':').unwrap_or_default();
    Parts {
        host,
        port,
        password,
    }
}

pub(crate) fn probe(address: SocketAddr) -> Probe {
    match ask(address, NAME, NAME, Duration::from_secs(2)) {
        Ok(Answer::Accepting) => Probe::Ready,
        Ok(Answer::NotYet(message)) => Probe::NotYet(message),
        Ok(Answer::Refused { code, message }) => Probe::NotYet(format!("{code}: {message}")),
        Err(error) => Probe::NotYet(error.to_string()),
    }
}
