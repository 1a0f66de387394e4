//! A MongoDB server of our own: a replica set of one member.

use std::ffi::OsString;
use std::fs::DirBuilder;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::time::Duration;

use bson::{Document, doc};

use crate::error::{IoContext as _, StartError};
use crate::machine::Programs;
use crate::node::{Deadline, Home, Launch, Node, Probe};
use crate::runs::write_private;
use crate::server::{Found, Server};
use crate::wire::mongo::{Connection, accepted, hello};
use crate::{Environment, Kind, container, secret};

pub(crate) const REPLICA_SET: &str = "rs0";
pub(crate) const USER: &str = "admin";
const PATIENCE: Duration = Duration::from_secs(5);

/// How a MongoDB server is to be started.
#[derive(Debug, Clone)]
pub struct MongoOptions {
    pub(crate) parameters: Vec<(String, String)>,
    pub(crate) max_connections: Option<u16>,
    pub(crate) start_within: Duration,
}

impl Default for MongoOptions {
    fn default() -> Self {
        Self {
            parameters: Vec::new(),
            max_connections: None,
            start_within: Duration::from_secs(60),
        }
    }
}

impl MongoOptions {
    /// Sets a server parameter (`--setParameter`). Defaults to none.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parameters.push((name.into(), value.into()));
        self
    }

    /// Most connections that the server takes at once (`--maxConns`), its own to itself included.
    /// Defaults to the server's own limit.
    #[must_use]
    pub fn max_connections(mut self, limit: u16) -> Self {
        self.max_connections = Some(limit);
        self
    }

    /// What options of the program's the settings are.
    pub(crate) fn own_arguments(&self) -> Vec<String> {
        let parameters = self
            .parameters
            .iter()
            .flat_map(|(name, value)| ["--setParameter".to_owned(), format!("{name}={value}")]);
        let limit = self
            .max_connections
            .into_iter()
            .flat_map(|limit| ["--maxConns".to_owned(), limit.to_string()]);
        parameters.chain(limit).collect()
    }

    /// The time a start may take once the program is there. Defaults to 60 s.
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
        Server::first_of(Kind::Mongo, environment, |found| match found {
            Found::Programs(programs) => {
                let deadline = Deadline::after(self.start_within);
                let (node, url) = self.start_process(environment, programs, deadline)?;
                Ok((node.into(), url))
            }
            Found::Docker(engine) => {
                let (server, url) = container::mongo(self, environment, engine)?;
                Ok((server.into(), url))
            }
        })
    }

    /// Starts a server that speaks to nobody without TLS. `certificate_key_file` has its
    /// certificate and its key, `authority_file` the certificate of the authority that signed it,
    /// which the server's URL names; both as PEM. Clients need no certificate.
    ///
    /// The server reads its certificate again when it is told `rotateCertificates`.
    ///
    /// `MONGODB_URL` plays no part: a given server has its own certificate.
    ///
    /// # Errors
    ///
    /// When no source has the program (a container will not do), or the start fails: also where the
    /// server does not take the certificate.
    pub fn start_with_tls(
        &self,
        certificate_key_file: &Path,
        authority_file: &Path,
        environment: &Environment,
    ) -> Result<Server, StartError> {
        let environment = environment.clone().without_given_servers();
        let (mut servers, _) = Server::all_of(Kind::Mongo, &environment, |found| match found {
            Found::Programs(programs) => {
                let deadline = Deadline::after(self.start_within);
                let (mut node, url) = self.start_process(&environment, programs, deadline)?;
                // The first user was created by the localhost exception, which is asked without
                // TLS. From here on, and at every restart, nobody is.
                let files = [certificate_key_file, authority_file];
                node.change_launch(tls_arguments(files), turns_away_without_tls);
                node.relaunch(deadline)?;
                let url = format!("{url}&tls=true&tlsCAFile={}", authority_file.display());
                Ok(Some((vec![node.into()], url)))
            }
            Found::Docker(_) => Ok(None),
        })?;
        Ok(servers.pop().expect("one was started"))
    }

    fn start_process(
        &self,
        environment: &Environment,
        programs: &Programs,
        deadline: Deadline,
    ) -> Result<(Node, String), StartError> {
        let key = new_secret()?;
        let mut node = self.start_node(environment, programs, &key, deadline)?;
        initiate(&[&node], SETTINGS_OF_ONE)?;
        node.wait_until("the election", deadline, writable)?;
        let password = new_secret()?;
        create_user(&node, &password)?;
        node.probe_with(writable);
        let url = url(&[node.address()], &password);
        Ok((node, url))
    }

    /// Starts one member-to-be, which belongs to no replica set yet.
    pub(crate) fn start_node(
        &self,
        environment: &Environment,
        programs: &Programs,
        key: &str,
        deadline: Deadline,
    ) -> Result<Node, StartError> {
        let home = Home::new(Kind::Mongo, environment)?;
        let (data, key_file) = (home.folder.join("data"), home.folder.join("key"));
        DirBuilder::new()
            .mode(0o700)
            .create(&data)
            .context("create", &data)?;
        // With a key file members trust each other and everybody else has to authenticate.
        write_private(&key_file, key.as_bytes(), 0o400)?;
        let launch = Launch {
            program: programs.folder.join("mongod"),
            arguments: self.arguments(&data, &key_file),
            user: None,
            port_argument: |port| vec!["--port".into(), port.to_string().into()],
            probe: answers,
        };
        Node::start(home, launch, deadline)
    }

    fn arguments(&self, data: &Path, key_file: &Path) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["--dbpath".into(), data.into()];
        arguments.extend(["--keyFile".into(), key_file.into()]);
        arguments.extend(
            [
                "--bind_ip",
                "127.0.0.1",
                "--nounixsocket",
                "--replSet",
                REPLICA_SET,
            ]
            .map(Into::into),
        );
        // Small: a test has little data, and machines that test have little memory to spare.
        arguments.extend(["--wiredTigerCacheSizeGB", "0.25", "--oplogSize", "256"].map(Into::into));
        let fixed = [
            ("diagnosticDataCollectionEnabled", "false"),
            // A primary that is told to end waits 15 s for others to take over; there are none.
            ("shutdownTimeoutMillisForSignaledShutdown", "100"),
        ];
        for (name, value) in fixed {
            arguments.extend([
                "--setParameter".into(),
                OsString::from(format!("{name}={value}")),
            ]);
        }
        arguments.extend(self.own_arguments().into_iter().map(OsString::from));
        arguments
    }
}

fn tls_arguments([certificate_key, authority]: [&Path; 2]) -> Vec<OsString> {
    vec![
        "--tlsMode".into(),
        "requireTLS".into(),
        "--tlsCertificateKeyFile".into(),
        certificate_key.into(),
        "--tlsCAFile".into(),
        authority.into(),
        "--tlsAllowConnectionsWithoutCertificates".into(),
    ]
}

pub(crate) fn new_secret() -> Result<String, StartError> {
    Ok(secret::password().context("read", Path::new("/dev/urandom"))?)
}

pub(crate) fn url(addresses: &[SocketAddr], password: &str) -> String {
    let hosts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    let hosts = hosts.join(",");
    format!("mongodb://{USER}:{password}@{hosts}/?replicaSet={REPLICA_SET}&authSource=admin")
}

/// How members watch each other.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) heartbeat: Duration,
    /// How long a primary may be silent before another is elected.
    pub(crate) election: Duration,
}

/// MongoDB's own; a set of one has nobody to watch.
const SETTINGS_OF_ONE: Settings = Settings {
    heartbeat: Duration::from_secs(2),
    election: Duration::from_secs(10),
};

/// Forms the replica set. Allowed without a password from this machine until a user exists.
pub(crate) fn initiate(nodes: &[&Node], settings: Settings) -> Result<(), StartError> {
    let members: Vec<_> = (0_i32..)
        .zip(nodes)
        .map(|(id, node)| doc! { "_id": id, "host": node.address().to_string() })
        .collect();
    let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let settings = doc! {
        "heartbeatIntervalMillis": millis(settings.heartbeat),
        "electionTimeoutMillis": millis(settings.election),
    };
    let configuration = doc! { "_id": REPLICA_SET, "members": members, "settings": settings };
    command(
        nodes[0],
        "the replica set",
        doc! { "replSetInitiate": configuration },
    )
}

/// Creates the first user, which ends what is allowed without a password.
pub(crate) fn create_user(node: &Node, password: &str) -> Result<(), StartError> {
    let command_document = doc! { "createUser": USER, "pwd": password, "roles": ["root"] };
    command(node, "the first user", command_document)
}

fn command(node: &Node, step: &'static str, command: Document) -> Result<(), StartError> {
    let answer = Connection::open(node.address(), PATIENCE)
        .and_then(|mut connection| connection.run("admin", command))
        .map_err(|error| error.to_string())
        .and_then(|answer| accepted(&answer));
    answer.map_err(|answer| StartError::Refused {
        kind: Kind::Mongo,
        step,
        answer,
    })
}

/// Ready for its first commands: it answers, and it is not some other server's member already.
pub(crate) fn answers(address: SocketAddr) -> Probe {
    match hello(address, PATIENCE) {
        Ok(answer) if answer.contains_key("setName") => {
            Probe::NotYet("another replica set member answers on its port".to_owned())
        }
        Ok(answer) => match accepted(&answer) {
            Ok(()) => Probe::Ready,
            Err(refusal) => Probe::NotYet(refusal),
        },
        Err(error) => Probe::NotYet(error.to_string()),
    }
}

/// Ready for clients: it is the primary.
pub(crate) fn writable(address: SocketAddr) -> Probe {
    match hello(address, PATIENCE) {
        Ok(answer) if answer.get_bool("isWritablePrimary") == Ok(true) => Probe::Ready,
        Ok(_) => Probe::NotYet("it is not the primary yet".to_owned()),
        Err(error) => Probe::NotYet(error.to_string()),
    }
}

/// Ready as a member: it is the primary or follows one.
pub(crate) fn follows(address: SocketAddr) -> Probe {
    member(address).map_or_else(|probe| probe, |_| Probe::Ready)
}

/// Ready for clients of the whole set: it is a member, and it has the key that members sign times
/// with. One that follows has it a moment later, and only while there is a primary; until then it
/// turns away a client that has heard another member's time (code 211, `KeyNotFound`).
pub(crate) fn settled(address: SocketAddr) -> Probe {
    match member(address) {
        Ok(hello) if signs(&hello) => Probe::Ready,
        Ok(_) => {
            Probe::NotYet("it does not have the key yet that times are signed with".to_owned())
        }
        Err(probe) => probe,
    }
}

/// What a member says of itself, or why it is none yet.
fn member(address: SocketAddr) -> Result<Document, Probe> {
    let answer = hello(address, PATIENCE).map_err(|error| Probe::NotYet(error.to_string()))?;
    let is = |role| answer.get_bool(role) == Ok(true);
    if is("isWritablePrimary") || is("secondary") {
        return Ok(answer);
    }
    let neither = "it neither is the primary nor follows one yet";
    Err(Probe::NotYet(neither.to_owned()))
}

/// Without the key a member names no time, or signs it with key 0.
fn signs(hello: &Document) -> bool {
    let key = hello
        .get_document("$clusterTime")
        .and_then(|time| time.get_document("signature"))
        .and_then(|signature| signature.get_i64("keyId"));
    key.is_ok_and(|key| key != 0)
}

/// Ready for clients with TLS: it takes the connection and ends it at the first plain word.
fn turns_away_without_tls(address: SocketAddr) -> Probe {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    match hello(address, PATIENCE) {
        Ok(_) => Probe::NotYet("it answers without TLS".to_owned()),
        Err(error) if matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof) => {
            Probe::Ready
        }
        Err(error) => Probe::NotYet(error.to_string()),
    }
}
