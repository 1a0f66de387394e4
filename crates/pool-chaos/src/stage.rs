//! A server of the scenario's own, behind a proxy.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use pool_testkit::FaultProxy;
use test_servers::{ReplicaSet, Server};
use tokio::sync::Mutex;

use crate::subject::Witness;

/// What holds the stage up.
#[derive(Debug)]
#[allow(clippy::exhaustive_enums, reason = "there is no third case")]
pub enum Place {
    /// One server.
    Server(Server),
    /// Several that elect a primary. The proxy leads nowhere that matters: the driver goes to the
    /// members' own addresses.
    ReplicaSet(ReplicaSet),
    /// A primary and the replica that is to follow it in office; the proxy leads to whoever is.
    Pair {
        /// The primary at the beginning.
        primary: Server,
        /// Its replica.
        replica: Server,
    },
}

/// A server that may be killed, the proxy before it, and somebody who knows what is true.
#[derive(Debug)]
pub struct Stage<W> {
    /// `None` only while a thread that may block has it.
    place: Mutex<Option<Place>>,
    /// The network before the server.
    pub proxy: FaultProxy,
    /// Who is asked for the truth.
    pub witness: W,
}

impl<W: Witness> Stage<W> {
    /// Sets the stage up on a server that runs.
    ///
    /// # Panics
    ///
    /// The server is no process of ours, or the machine has no port left.
    pub async fn new(place: Place, witness: W) -> Self {
        let upstream = address_of(&place);
        let proxy = FaultProxy::start(upstream)
            .await
            .expect("loopback has a port");
        witness.prepare().await;
        Self {
            place: Mutex::new(Some(place)),
            proxy,
            witness,
        }
    }

    /// Does something to the server that may block.
    pub(crate) async fn with<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Place) -> T + Send + 'static,
    ) -> T {
        let mut place = self.place.lock().await;
        let mut taken = place.take().expect("it is put back");
        let changed = tokio::task::spawn_blocking(move || {
            let outcome = change(&mut taken);
            (taken, outcome)
        });
        let (taken, outcome) = changed.await.expect("the server does as it is told");
        *place = Some(taken);
        outcome
    }

    /// Does something to the one server there is.
    pub(crate) async fn with_server(&self, change: impl FnOnce(&mut Server) + Send + 'static) {
        self.with(|place| match place {
            Place::Server(server) => change(server),
            Place::ReplicaSet(_) | Place::Pair { .. } => {
                unreachable!("scenarios for one server run on one")
            }
        })
        .await;
    }

    /// Puts another server in the primary's place; when that one took writes.
    pub(crate) async fn fail_over(&self, away: Duration) -> Instant {
        let replica = self.with(|place| match place {
            Place::Pair { replica, .. } => replica.address(),
            Place::Server(_) | Place::ReplicaSet(_) => None,
        });
        match replica.await {
            Some(replica) => self.switch_over(replica, away).await,
            None => self.lose_the_primary(away).await,
        }
    }

    /// The primary refuses writes for as long as `away`, then its replica takes them. The address
    /// moves; connections that exist stay where they are.
    async fn switch_over(&self, replica: SocketAddr, away: Duration) -> Instant {
        self.witness.switch_over(away).await;
        self.proxy.redirect(replica).await;
        self.witness.accepting().await;
        Instant::now()
    }

    /// Kills the primary, restarts it `away` after another was elected.
    async fn lose_the_primary(&self, away: Duration) -> Instant {
        let lost = self.with(|place| {
            let Place::ReplicaSet(set) = place else {
                unreachable!("a failover needs several servers");
            };
            let lost = set.primary().expect("there is a primary");
            set.member(lost).kill().expect("it is ours to kill");
            lost
        });
        let lost = lost.await;
        self.witness.accepting().await;
        let accepting = Instant::now();
        tokio::time::sleep(away).await;
        self.with(move |place| {
            if let Place::ReplicaSet(set) = place {
                set.member(lost).restart().expect("it comes back");
                set.settle().expect("it joins the others");
            }
        })
        .await;
        accepting
    }
}

fn address_of(place: &Place) -> SocketAddr {
    let address = match place {
        Place::Server(server) => server.address(),
        Place::Pair { primary, .. } => primary.address(),
        Place::ReplicaSet(set) => set.addresses().first().copied(),
    };
    address.expect("the server is a process of ours")
}
