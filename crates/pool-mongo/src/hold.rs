//! Having a given number of sockets open: the only way that the driver offers from outside.
//!
//! A server answers `hello` with a `topologyVersion` only after `maxAwaitTimeMS`, unless its state
//! changes ("Server Discovery and Monitoring" specification, streaming protocol). Each such
//! command keeps its socket for that long, so as many of them at once need as many sockets: the
//! driver opens exactly those that are missing. Commands that are answered at once would share
//! the first few.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::try_join_all;
use mongodb::Database;
use mongodb::bson::{Document, doc};

use crate::backend::Backend;
use crate::error::MongoConnectError;

/// Long enough for the driver to open a few sockets to a server nearby.
const FIRST_HOLD: Duration = Duration::from_millis(15);

/// Long enough for a slow handshake.
const LONGEST_HOLD: Duration = Duration::from_secs(1);

/// How often a refresh tries to have all sockets in use at once.
const ROUNDS: u32 = 4;

/// How often the number of sockets in use is looked at before it is believed.
const LOOKS: u32 = 5;

/// Sockets that are open only have to be taken all at once.
const REFRESH: Duration = Duration::from_millis(10);

impl Backend {
    /// Opens sockets until `wanted` are open, and not one more.
    ///
    /// Takes as long as it takes, but no longer than an attempt may without another socket.
    pub(crate) async fn open_sockets(&self, wanted: u32) -> Result<(), MongoConnectError> {
        self.unless_silent(self.open(wanted)).await
    }

    /// Opens what is missing of `wanted` and uses what is there, leaving out as many sockets as
    /// there are callers with a lease, `busy`, who may use one any moment.
    ///
    /// Ends after a few rounds even where callers came in between; whether all are open then. With an
    /// error as [`open_sockets`](Self::open_sockets) does.
    pub(crate) async fn keep_sockets(
        &self,
        wanted: u32,
        busy: u32,
    ) -> Result<bool, MongoConnectError> {
        self.unless_silent(self.keep(wanted, busy)).await
    }

    /// Gives `work` up where it goes on without opening a socket for longer than an attempt may take, or
    /// another client has taken over.
    ///
    /// Slow is not silent: the driver closes sockets that wait for an answer when their command is
    /// dropped, so with a limit for the whole a large minimum would be closed and begun anew for ever.
    async fn unless_silent<T>(
        &self,
        work: impl Future<Output = Result<T, MongoConnectError>>,
    ) -> Result<T, MongoConnectError> {
        // After the last socket is open, a round may still hold all of them.
        let limit = self.proof_timeout + LONGEST_HOLD;
        let mut open = self.open_now();
        let mut work = pin!(work);
        loop {
            let outcome = tokio::select! {
                outcome = tokio::time::timeout(limit, &mut work) => outcome,
                () = self.replaced.cancelled() => return Err(self.distrusted()),
            };
            match outcome {
                Ok(outcome) => return outcome,
                Err(_elapsed) if self.open_now() > open => open = self.open_now(),
                Err(_elapsed) => return Err(self.no_answer(limit)),
            }
        }
    }

    /// In rounds: where opening takes longer than the sockets that are open already are held, the
    /// next round holds them longer.
    async fn open(&self, wanted: u32) -> Result<(), MongoConnectError> {
        let _turn = self.holding.acquire().await;
        let mut time = FIRST_HOLD;
        loop {
            let hello = Hello::ask(self).await?;
            if self.watch.sockets.open(hello.me.as_deref()) >= wanted {
                return Ok(());
            }
            // What others use now is open already.
            let missing = wanted.saturating_sub(self.in_use_by_others().await);
            self.hold(&hello, missing, time).await?;
            time = (time * 2).min(LONGEST_HOLD);
        }
    }

    async fn keep(&self, wanted: u32, busy: u32) -> Result<bool, MongoConnectError> {
        let _turn = self.holding.acquire().await;
        let sockets = &self.watch.sockets;
        let hello = Hello::ask(self).await?;
        let mut time = REFRESH;
        for _ in 0..ROUNDS {
            if sockets.open(hello.me.as_deref()) < wanted {
                time = time.max(FIRST_HOLD);
            }
            sockets.begin_peak();
            let busy = busy.max(self.in_use_by_others().await);
            self.hold(&hello, wanted.saturating_sub(busy), time).await?;
            // On a machine under load the first sockets may be free before the last is taken.
            if sockets.peak_in_use() >= wanted {
                break;
            }
            time *= 2;
        }
        Ok(sockets.open(hello.me.as_deref()) >= wanted.saturating_sub(busy))
    }

    /// How many sockets are in use, now that no command of ours runs.
    ///
    /// The driver takes a socket back a moment after its command has ended, so our own last ones
    /// may still count; what is in use for a few milliseconds is somebody else's.
    async fn in_use_by_others(&self) -> u32 {
        let mut least = self.watch.sockets.in_use();
        for _ in 0..LOOKS {
            if least == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            least = least.min(self.watch.sockets.in_use());
        }
        least
    }

    /// How many sockets are open, to all servers together.
    pub(crate) fn open_now(&self) -> u32 {
        self.watch.sockets.open(None)
    }

    /// Uses `sockets` sockets at once, for about `time`.
    async fn hold(
        &self,
        hello: &Hello,
        sockets: u32,
        time: Duration,
    ) -> Result<(), MongoConnectError> {
        let holds = (0..sockets).map(|_| self.command(&hello.admin, hello.awaited(time)));
        try_join_all(holds).await.map(drop)
    }
}

/// A server's answer to a first `hello`.
struct Hello {
    admin: Database,
    topology_version: Option<Document>,
    /// The server's own address, where that is the one the driver knows it by and all operations
    /// go to it.
    me: Option<String>,
}

impl Hello {
    async fn ask(backend: &Backend) -> Result<Self, MongoConnectError> {
        let admin = backend.client.database("admin");
        let answer = backend.command(&admin, doc! { "hello": 1 }).await?;
        let me = answer
            .get_str("me")
            .ok()
            .filter(|_| backend.client.selection_criteria().is_none())
            .filter(|me| backend.watch.sockets.knows(me))
            .map(str::to_owned);
        Ok(Self {
            topology_version: answer.get_document("topologyVersion").ok().cloned(),
            admin,
            me,
        })
    }

    /// A `hello` that the server answers after `time`, or at once if it is older than 4.4.
    fn awaited(&self, time: Duration) -> Document {
        let mut command = doc! { "hello": 1 };
        if let Some(version) = &self.topology_version {
            command.insert("topologyVersion", version);
            let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
            command.insert("maxAwaitTimeMS", millis);
        }
        command
    }
}
