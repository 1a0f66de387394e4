//! A MongoDB replica set of several members, for suites that want to see a failover.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::error::{ControlError, StartError};
use crate::mongo::{Settings, create_user, follows, initiate, new_secret, settled, url, writable};
use crate::node::{Deadline, Node, Probe};
use crate::server::{Found, Server};
use crate::{Environment, Kind, MongoOptions};

/// A primary that is silent for so long is replaced: a fifth of MongoDB's own time, so that a
/// suite sees an election in seconds.
const SETTINGS: Settings = Settings {
    heartbeat: Duration::from_millis(500),
    election: Duration::from_secs(2),
};

/// Several MongoDB servers that elect a primary among themselves. They end when this is dropped.
pub struct ReplicaSet {
    members: Vec<Server>,
    url: String,
}

impl MongoOptions {
    /// Starts a replica set of so many members, and waits until one is the primary and all others
    /// follow it and serve clients of the whole set. Elections take 2 s or a little more after a primary
    /// has fallen silent.
    ///
    /// `MONGODB_URL` plays no part: nobody is asked to have their servers killed.
    ///
    /// # Errors
    ///
    /// When no source has the program (a container will not do), or the start fails.
    ///
    /// # Panics
    ///
    /// When `members` is zero.
    pub fn start_replica_set(
        &self,
        members: usize,
        environment: &Environment,
    ) -> Result<ReplicaSet, StartError> {
        assert_ne!(members, 0, "a replica set has members");
        let environment = environment.clone().without_given_servers();
        Server::all_of(Kind::Mongo, &environment, |found| match found {
            Found::Programs(programs) => {
                let deadline = Deadline::after(self.start_within);
                let key = new_secret()?;
                let start = |_| self.start_node(&environment, programs, &key, deadline);
                let mut nodes = (0..members).map(start).collect::<Result<Vec<_>, _>>()?;
                let all: Vec<_> = nodes.iter().collect();
                initiate(&all, SETTINGS)?;
                let primary = first_primary(&mut nodes, deadline)?;
                let password = new_secret()?;
                create_user(&nodes[primary], &password)?;
                for node in &mut nodes {
                    node.wait_until("joining the replica set", deadline, settled)?;
                    node.probe_with(follows);
                }
                let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
                let backings = nodes.into_iter().map(Into::into).collect();
                Ok(Some((backings, url(&addresses, &password))))
            }
            Found::Docker(_) => Ok(None),
        })
        .map(|(members, url)| ReplicaSet { members, url })
    }
}

/// Waits until one of the members is the primary; which one.
fn first_primary(nodes: &mut [Node], deadline: Deadline) -> Result<usize, StartError> {
    let addresses: Vec<_> = nodes.iter().map(Node::address).collect();
    let found = || addresses.iter().position(|address| is_primary(*address));
    let (first, _) = nodes.split_first_mut().expect("a replica set has members");
    first.wait_until("the election", deadline, |_| match found() {
        Some(_) => Probe::Ready,
        None => Probe::NotYet("no member is the primary yet".to_owned()),
    })?;
    Ok(found().unwrap_or(0))
}

fn is_primary(address: SocketAddr) -> bool {
    matches!(writable(address), Probe::Ready)
}

impl ReplicaSet {
    /// The URL of all members, with the password in it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The addresses of the members, in the order of [`member`](Self::member).
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.members.iter().filter_map(Server::address).collect()
    }

    /// One member, to be killed, frozen or restarted.
    ///
    /// # Panics
    ///
    /// When there is no such member.
    pub fn member(&mut self, index: usize) -> &mut Server {
        &mut self.members[index]
    }

    /// Which member is the primary by its own account. Members that do not answer within 5 s are
    /// passed over; a frozen one does not.
    #[must_use]
    pub fn primary(&self) -> Option<usize> {
        self.primary_except(None)
    }

    /// The same without asking one of them: a frozen primary believes that it still is one, and
    /// would keep the question waiting.
    #[must_use]
    pub fn primary_except(&self, not_asked: Option<usize>) -> Option<usize> {
        self.addresses()
            .into_iter()
            .enumerate()
            .filter(|(index, _)| Some(*index) != not_asked)
            .find(|(_, address)| is_primary(*address))
            .map(|(index, _)| index)
    }

    /// Waits until one member is the primary and every other one that runs follows it and serves
    /// clients of the whole set.
    ///
    /// # Errors
    ///
    /// After 60 s, with what is not as it should be.
    pub fn settle(&mut self) -> Result<usize, ControlError> {
        let deadline = Deadline::after(Duration::from_secs(60));
        loop {
            let primary = self.primary();
            let strays: Vec<_> = self
                .addresses()
                .into_iter()
                .filter(|address| !matches!(settled(*address), Probe::Ready))
                .collect();
            match primary {
                Some(primary) if strays.is_empty() => return Ok(primary),
                _ if deadline.passed() => {
                    return Err(ControlError::Unsettled {
                        within: deadline.within,
                        primary: primary.is_some(),
                        strays,
                    });
                }
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
}

impl fmt::Debug for ReplicaSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaSet")
            .field("members", &self.members)
            .finish_non_exhaustive()
    }
}
