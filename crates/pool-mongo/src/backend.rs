//! One official client, what it tells of itself, and the proof that its server can be used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mongodb::bson::{Document, doc};
use mongodb::error::{Error as DriverError, ErrorKind};
use mongodb::event::EventHandler;
use mongodb::event::cmap::CmapEvent;
use mongodb::event::sdam::SdamEvent;
use mongodb::options::ClientOptions;
use mongodb::{Client, Database, ServerType};
use parking_lot::Mutex;
use tokio::sync::{Notify, OnceCell, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Settings;
use crate::error::{ConnectProblem, MongoConnectError, MongoPoolError};
use crate::sockets::Sockets;

/// The time between heartbeats, unless the URI sets another. The driver's own is 10 s: for so long
/// a server that has turned a user down, or that has frozen, goes unnoticed.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(1);

/// What the driver's event handlers write and the pool reads.
#[derive(Debug)]
pub(crate) struct Watch {
    pub(crate) sockets: Sockets,
    /// Moves whenever the driver loses its trust in a server. A proof older than that is none.
    doubts: AtomicU64,
    /// Moves whenever the driver finds a server that it can use, a new primary for instance.
    finds: AtomicU64,
    /// Wakes the pool's keeper after a doubt, and when a server can be used.
    pub(crate) changed: Notify,
    /// The latest failed heartbeat since the latest that succeeded.
    heartbeat: Mutex<Option<DriverError>>,
    heartbeat_failed: Notify,
}

/// How many leases of a client exist.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    count: AtomicU32,
    fewer: Notify,
}

impl Leases {
    pub(crate) fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    pub(crate) fn begin(&self) {
        self.count.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn end(&self) {
        self.count.fetch_sub(1, Ordering::AcqRel);
        self.fewer.notify_waiters();
    }
}

/// One official client.
#[derive(Debug)]
pub(crate) struct Backend {
    pub(crate) client: Client,
    pub(crate) database: Database,
    pub(crate) watch: Arc<Watch>,
    pub(crate) ceiling: u32,
    pub(crate) leases: Leases,
    hosts: String,
    /// Name and authentication database, when the URI names a user.
    user: Option<(Option<String>, Option<String>)>,
    anonymous: bool,
    require_database: bool,
    pub(crate) proof_timeout: Duration,
    proof: Mutex<Arc<Proof>>,
    /// Set while the last attempt ended with the server turning the user down, and when it did.
    refusal: Mutex<Option<(Instant, MongoConnectError)>>,
    /// For how long that answer stands: the time between heartbeats.
    refusal_stands: Duration,
    /// One warm-up or refresh at a time, so that two of them do not open twice as many sockets.
    pub(crate) holding: Semaphore,
    /// Cancelled when another client has taken over.
    pub(crate) replaced: CancellationToken,
    /// Warm-ups that look at the leases now, having just asked the server themselves.
    pub(crate) warming: AtomicU32,
}

/// One attempt to use the server, shared by all that need its outcome.
#[derive(Debug)]
struct Proof {
    doubts: u64,
    outcome: OnceCell<Result<(), MongoConnectError>>,
}

impl Backend {
    /// Creates the client, which connects to nothing until it is asked.
    pub(crate) fn connect(
        mut options: ClientOptions,
        settings: &Settings,
    ) -> Result<Arc<Self>, MongoPoolError> {
        let ceiling = settings.ceiling();
        let watch = Arc::new(Watch {
            sockets: Sockets::new(ceiling),
            doubts: AtomicU64::new(0),
            finds: AtomicU64::new(0),
            changed: Notify::new(),
            heartbeat: Mutex::new(None),
            heartbeat_failed: Notify::new(),
        });
        let (pools, servers) = (Arc::clone(&watch), Arc::clone(&watch));
        options.cmap_event_handler = Some(EventHandler::callback(move |event| pools.cmap(&event)));
        options.sdam_event_handler = Some(EventHandler::callback(move |event| servers.sdam(event)));
        let hosts: Vec<_> = options.hosts.iter().map(ToString::to_string).collect();
        let user = options
            .credential
            .as_ref()
            .map(|credential| (credential.username.clone(), credential.source.clone()));
        let refusal_stands = options.heartbeat_freq.unwrap_or(HEARTBEAT);
        let client = Client::with_options(options).map_err(|error| MongoPoolError::Driver {
            pool: settings.name.to_string(),
            message: error.kind.to_string(),
        })?;
        let database = client.database(settings.database.as_deref().unwrap_or("test"));
        Ok(Arc::new(Self {
            database,
            client,
            watch,
            ceiling,
            leases: Leases::default(),
            hosts: hosts.join(","),
            anonymous: user.is_none(),
            user,
            require_database: settings.require_database,
            proof_timeout: settings.proof_timeout(),
            proof: Mutex::new(Arc::new(Proof::after(0))),
            refusal: Mutex::new(None),
            refusal_stands,
            holding: Semaphore::new(1),
            replaced: CancellationToken::new(),
            warming: AtomicU32::new(0),
        }))
    }

    /// The servers as the URI names them.
    pub(crate) fn hosts(&self) -> &str {
        &self.hosts
    }

    /// Ends when no lease of this client is left.
    pub(crate) async fn unused(&self) {
        loop {
            let mut fewer = std::pin::pin!(self.leases.fewer.notified());
            fewer.as_mut().enable();
            if self.leases.count() == 0 {
                return;
            }
            fewer.await;
        }
    }

    /// Makes sure that the server could be used a moment ago: at once when it has been proven and
    /// the driver has had no doubt since, otherwise by an authenticated round trip that all who
    /// ask meanwhile share.
    ///
    /// Cancel safe: somebody else who waits takes over.
    pub(crate) async fn prove(&self) -> Result<(), MongoConnectError> {
        let proof = self.current();
        let outcome = proof.outcome.get_or_init(|| self.attempt()).await.clone();
        if outcome.is_err() {
            // Those who wait for this attempt share its error; the next one tries again.
            let mut current = self.proof.lock();
            if Arc::ptr_eq(&current, &proof) {
                *current = Arc::new(Proof::after(proof.doubts));
            }
        }
        outcome
    }

    fn current(&self) -> Arc<Proof> {
        let doubts = self.watch.doubts.load(Ordering::Acquire);
        let mut current = self.proof.lock();
        if current.doubts != doubts {
            *current = Arc::new(Proof::after(doubts));
        }
        Arc::clone(&current)
    }

    async fn attempt(&self) -> Result<(), MongoConnectError> {
        if let Some(refusal) = self.standing_refusal() {
            return Err(refusal);
        }
        let after = self.proof_timeout;
        let outcome = tokio::select! {
            outcome = self.ask() => outcome,
            error = self.hopeless() => Err(error),
            () = tokio::time::sleep(after) => Err(self.no_answer(after)),
        };
        let refusal = outcome.as_ref().err().filter(|error| error.is_refusal());
        *self.refusal.lock() = refusal.map(|error| (Instant::now(), error.clone()));
        outcome
    }

    /// The server's last word, as long as the driver would not even ask again.
    ///
    /// When a user is turned down the driver takes the server out of its service until the next
    /// heartbeat has succeeded, and meanwhile looks for a server that it does not have. The
    /// answer is known, and asking more often would only lock the user out where servers do that.
    fn standing_refusal(&self) -> Option<MongoConnectError> {
        if self.watch.sockets.any_ready() {
            return None;
        }
        let refusal = self.refusal.lock();
        let (at, error) = refusal.as_ref()?;
        (at.elapsed() < self.refusal_stands).then(|| error.clone())
    }

    /// One round trip over an authenticated socket.
    async fn ask(&self) -> Result<(), MongoConnectError> {
        self.command(&self.database, doc! { "ping": 1 }).await?;
        if self.anonymous {
            // Anybody may ping. Whether the server wants a user shows in a command that needs one.
            let listing = doc! {
                "listCollections": 1,
                "nameOnly": true,
                "authorizedCollections": true,
                "filter": { "name": "" },
            };
            self.command(&self.database, listing).await?;
        }
        if self.require_database {
            let name = self.database.name();
            let names = self
                .client
                .list_database_names()
                .filter(doc! { "name": name })
                .authorized_databases(true)
                .await
                .map_err(|error| self.driver_error(error))?;
            if !names.iter().any(|found| found == name) {
                let name = name.to_owned();
                return Err(self.error(ConnectProblem::UnknownDatabase { name }, None));
            }
        }
        Ok(())
    }

    /// Runs a command where the pool's operations run: on the primary, or as the URI's read
    /// preference says.
    pub(crate) async fn command(
        &self,
        database: &Database,
        command: Document,
    ) -> Result<Document, MongoConnectError> {
        let run = database.run_command(command);
        let run = match self.client.selection_criteria() {
            Some(criteria) => run.selection_criteria(criteria.clone()),
            None => run,
        };
        run.await.map_err(|error| self.driver_error(error))
    }

    /// Why nothing could be used for `after`, before any attempt of ours has come to its end: what
    /// the last heartbeat met, or that the driver lends sockets to no server.
    pub(crate) fn out_of_reach(&self, after: Duration) -> Option<MongoConnectError> {
        let failure = self.watch.heartbeat.lock().clone();
        let out_of_reach = failure.is_some() || !self.watch.sockets.any_ready();
        out_of_reach.then(|| self.error(ConnectProblem::NoAnswer { after }, failure))
    }

    /// Ends when a heartbeat fails for a reason that waiting does not mend. Looking for a server
    /// makes the driver send one at least every 500 ms.
    async fn hopeless(&self) -> MongoConnectError {
        loop {
            self.watch.heartbeat_failed.notified().await;
            let failure = self.watch.heartbeat.lock().clone();
            if let Some(error) = failure.filter(is_certificate) {
                return self.error(ConnectProblem::Tls, Some(error));
            }
        }
    }

    /// An attempt of ours has come to no end for `after`.
    pub(crate) fn no_answer(&self, after: Duration) -> MongoConnectError {
        let cause = self.watch.heartbeat.lock().clone();
        self.error(ConnectProblem::NoAnswer { after }, cause)
    }

    /// The driver has distrusted a server since it was last proven.
    pub(crate) fn distrusted(&self) -> MongoConnectError {
        let heartbeat = self.watch.heartbeat.lock().clone();
        self.error(ConnectProblem::Other, heartbeat)
    }

    pub(crate) fn driver_error(&self, error: DriverError) -> MongoConnectError {
        let problem = match &*error.kind {
            ErrorKind::Authentication { .. } => self.not_authenticated(),
            ErrorKind::Command(command) => match command.code {
                // AuthenticationFailed, and Atlas' own.
                18 | 8000 => self.not_authenticated(),
                13 => ConnectProblem::Unauthorized,
                _ => ConnectProblem::Other,
            },
            _ if is_certificate(&error) => ConnectProblem::Tls,
            _ => ConnectProblem::Other,
        };
        self.error(problem, Some(error))
    }

    fn not_authenticated(&self) -> ConnectProblem {
        let (user, source) = self.user.clone().unwrap_or_default();
        ConnectProblem::Authentication { user, source }
    }

    fn error(&self, problem: ConnectProblem, driver: Option<DriverError>) -> MongoConnectError {
        MongoConnectError::new(&self.hosts, problem, driver)
    }
}

impl Proof {
    fn after(doubts: u64) -> Self {
        Self {
            doubts,
            outcome: OnceCell::new(),
        }
    }
}

impl Watch {
    /// Runs on the task that serves a server's sockets: atomics only.
    fn cmap(&self, event: &CmapEvent) {
        self.sockets.record(event);
        match event {
            CmapEvent::PoolCleared(_) => {
                self.doubts.fetch_add(1, Ordering::Release);
                self.changed.notify_one();
            }
            CmapEvent::PoolReady(_) => self.found(),
            _ => {}
        }
    }

    fn found(&self) {
        self.finds.fetch_add(1, Ordering::Release);
        self.changed.notify_one();
    }

    fn sdam(&self, event: SdamEvent) {
        match event {
            SdamEvent::ServerHeartbeatFailed(event) => {
                self.sockets
                    .note_error(&event.server_address, &event.failure);
                *self.heartbeat.lock() = Some(event.failure);
                self.heartbeat_failed.notify_waiters();
            }
            SdamEvent::ServerHeartbeatSucceeded(_) => *self.heartbeat.lock() = None,
            SdamEvent::ServerDescriptionChanged(event) => {
                let (before, now) = (&event.previous_description, &event.new_description);
                if let Some(error) = now.error() {
                    self.sockets.note_error(&event.address, error);
                }
                if now.server_type() != before.server_type()
                    && now.server_type() != ServerType::Unknown
                {
                    self.found();
                }
            }
            _ => {}
        }
    }

    /// How often the driver has found a server that it can use.
    pub(crate) fn finds(&self) -> u64 {
        self.finds.load(Ordering::Acquire)
    }

    /// How often the driver has lost its trust in a server.
    pub(crate) fn doubts(&self) -> u64 {
        self.doubts.load(Ordering::Acquire)
    }
}

/// Whether a connection failed because of a certificate: ours, theirs, or its issuer.
fn is_certificate(error: &DriverError) -> bool {
    let ErrorKind::Io(error) = &*error.kind else {
        return false;
    };
    error.kind() == std::io::ErrorKind::InvalidData && error.to_string().contains("certificate")
}
