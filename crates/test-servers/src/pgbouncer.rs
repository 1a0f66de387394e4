//! PgBouncer in front of a PostgreSQL server, for suites that go through a pooler.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{IoContext as _, StartError};
use crate::machine::{everyone_can_reach, version};
use crate::node::{Deadline, Home, Launch, Node};
use crate::postgres::{NAME, Parts, parts, probe};
use crate::runs::write_private;
use crate::user::Unprivileged;
use crate::{Environment, Kind, Server, port};

/// How long PgBouncer may take to start.
const START_WITHIN: Duration = Duration::from_secs(30);

/// A PgBouncer program of this machine.
#[derive(Debug, Clone)]
pub struct PgBouncerProgram {
    path: PathBuf,
    version: String,
}

impl PgBouncerProgram {
    /// Every program there is: the one that the variable `POOL_PGBOUNCER` names, then `pgbouncer` in
    /// `PATH` and in `/usr/sbin`.
    #[must_use]
    pub fn all(environment: &Environment) -> Vec<Self> {
        let given = std::env::var_os("POOL_PGBOUNCER").map(PathBuf::from);
        let folders = environment.search_path().into_iter();
        let found = folders
            .chain(["/usr/sbin".into()])
            .map(|folder| folder.join("pgbouncer"));
        let mut programs: Vec<Self> = Vec::new();
        for path in given.into_iter().chain(found) {
            let known = |path: &Path| programs.iter().any(|program| program.path == path);
            if let Ok(path) = path.canonicalize()
                && !known(&path)
                && let Ok(version) = version(&path)
            {
                programs.push(Self { path, version });
            }
        }
        programs
    }

    /// Its version, such as `1.18.0`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Whether it can keep track of prepared statements in transaction mode: since 1.21.
    #[must_use]
    pub fn tracks_statements(&self) -> bool {
        let mut numbers = self
            .version
            .split('.')
            .map(|part| part.parse().unwrap_or(0));
        let (major, minor) = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        (major, minor) >= (1_u32, 21_u32)
    }

    /// Starts it in front of `server`, to whose administrator every client is logged in, on a port
    /// of its own. `settings` are lines of its `[pgbouncer]` section.
    ///
    /// # Errors
    ///
    /// When it does not start; the end of its log is in the error.
    pub fn start(
        &self,
        server: &Server,
        environment: &Environment,
        settings: &[(&str, &str)],
    ) -> Result<PgBouncer, StartError> {
        let user = Unprivileged::if_root()?;
        let home = Home::new(Kind::Postgres, environment)?;
        if let Some(user) = &user
            && !(everyone_can_reach(&home.folder) && everyone_can_reach(&self.path))
        {
            let (user, path) = (user.name.clone(), self.path.clone());
            return Err(StartError::Unreachable { user, path });
        }
        let port = port::free().context("find a free port on", Path::new("127.0.0.1"))?;
        let file = home.folder.join("pgbouncer.ini");
        write_private(
            &file,
            configuration(server, port, settings).as_bytes(),
            0o600,
        )?;
        if let Some(user) = &user {
            user.own(&file)?;
        }
        let launch = Launch {
            program: self.path.clone(),
            arguments: vec![file.into()],
            user,
            // Its port stands in its file.
            port_argument: |_| Vec::new(),
            probe,
        };
        let node = Node::start_on(home, launch, Deadline::after(START_WITHIN), || Ok(port))?;
        let url = format!("postgres://{NAME}@{}/{NAME}", node.address());
        Ok(PgBouncer { url, _node: node })
    }
}

fn configuration(server: &Server, port: u16, settings: &[(&str, &str)]) -> String {
    let Parts {
        host,
        port: server_port,
        password,
    } = parts(server.url());
    let mut file = format!(
        "[databases]\n* = host={host} port={server_port} user={NAME} password={password}\n\
         [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = any\n"
    );
    for (name, value) in settings {
        file.push_str(&format!("{name} = {value}\n"));
    }
    file
}

/// A PgBouncer that runs. It ends when this is dropped.
pub struct PgBouncer {
    url: String,
    _node: Node,
}

impl PgBouncer {
    /// The URL that leads through it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl fmt::Debug for PgBouncer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgBouncer")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_and_versions_are_compared_by_number() {
        let url = "postgres://postgres:s3cret@127.0.0.1:5433/postgres";
        let parts = parts(url);
        let parts = (parts.host, parts.port, parts.password);
        assert_eq!(parts, ("127.0.0.1", "5433", "s3cret"));
        let tracks = |version: &str| {
            let (path, version) = (PathBuf::new(), version.to_owned());
            PgBouncerProgram { path, version }.tracks_statements()
        };
        assert!(tracks("1.21.0") && tracks("1.100.1") && tracks("2.0"));
        assert!(!tracks("1.18.0") && !tracks("1.3"));
    }
}
