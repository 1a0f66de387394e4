//! What is tried again: the driver's rules of transactions, and a warm-up. Proven by a server that
//! fails commands when it is told to, and that counts them.

use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use mongodb::Client;
use mongodb::bson::{Document, doc};
use mongodb::error::{Error, ErrorKind, UNKNOWN_TRANSACTION_COMMIT_RESULT};
use mongodb::options::WriteConcern;
use pool_mongo::{MongoPool, RunError};
use test_servers::{Environment, MongoOptions, Server};

use crate::support::eventually;

const TRANSIENT: &str = "TransientTransactionError";

/// `WriteConflict`, `HostUnreachable`, `MaxTimeMSExpired` and `KeyNotFound`.
const CONFLICT: i32 = 112;
const UNREACHABLE: i32 = 6;
const TIME_IS_OVER: i32 = 50;
const KEY_NOT_FOUND: i32 = 211;

/// A server with failpoints, and a pool of one lease.
struct Stage {
    pool: MongoPool,
    observer: Client,
    /// How many commands had been failed when somebody last asked.
    failed: AtomicI64,
    server: Server,
}

impl Stage {
    /// `None`, after saying so, when the tests run without servers.
    async fn set() -> Option<Self> {
        integration_tests::mongodb_url()?;
        let started = tokio::task::spawn_blocking(|| {
            let environment = Environment::from_env()
                .expect("a valid environment")
                .without_given_servers();
            MongoOptions::default()
                .parameter("enableTestCommands", "1")
                .start(&environment)
        });
        let server = started.await.unwrap().expect("a server starts");
        let observer = Client::with_uri_str(server.url()).await.unwrap();
        let pool = MongoPool::builder(server.url())
            .name("retries")
            .database("retries")
            .limits(0, 1)
            .build()
            .await
            .unwrap();
        let lease = pool.acquire().await.unwrap();
        let rows = lease.collection::<Document>("rows");
        let first = rows.insert_one(doc! { "_id": "first" });
        first.write_concern(WriteConcern::majority()).await.unwrap();
        drop(lease);
        Some(Self {
            pool,
            observer,
            failed: AtomicI64::new(0),
            server,
        })
    }

    /// A pool beside this one, under the same name, that nobody has used yet.
    async fn another(&self, min: u32, acquire_timeout: Duration) -> MongoPool {
        MongoPool::builder(self.server.url())
            .name("retries")
            .database("retries")
            .limits(min, 4)
            .acquire_timeout(acquire_timeout)
            .build()
            .await
            .unwrap()
    }

    /// Has the server fail this pool's `command` so many times with a code and a label.
    async fn fail(&self, command: &str, times: i32, code: i32, label: &str) {
        let order = doc! {
            "configureFailPoint": "failCommand",
            "mode": { "times": times },
            "data": {
                "failCommands": [command],
                "errorCode": code,
                "errorLabels": [label],
                "appName": "retries",
            },
        };
        let admin = self.observer.database("admin");
        admin.run_command(order).await.unwrap();
    }

    /// Ends what [`fail`](Self::fail) began; how many commands it has failed.
    async fn heal(&self) -> i64 {
        let order = doc! { "configureFailPoint": "failCommand", "mode": "off" };
        let admin = self.observer.database("admin");
        let answer = admin.run_command(order).await.unwrap();
        // Counted from the server's start.
        let all = number(&answer, "count");
        all - self.failed.swap(all, Ordering::Relaxed)
    }

    /// What the server has carried out, without what it was told to fail.
    async fn asked(&self) -> Asked {
        let admin = self.observer.database("admin");
        let status = admin.run_command(doc! { "serverStatus": 1 }).await.unwrap();
        let transactions = status.get_document("transactions").unwrap();
        let commands = status.get_document("metrics").unwrap();
        let commands = commands.get_document("commands").unwrap();
        let total = |name: &str| number(commands.get_document(name).unwrap(), "total");
        Asked {
            inserts: total("insert"),
            commits: total("commitTransaction"),
            aborts: total("abortTransaction"),
            committed: number(transactions, "totalCommitted"),
        }
    }

    /// Runs an insert in a transaction; what came of it, how often the work ran, and what the
    /// server was asked meanwhile.
    async fn transact(&self, id: &str) -> (Result<(), RunError<Error>>, u32, Asked) {
        let before = self.asked().await;
        let runs = AtomicU32::new(0);
        let outcome = self.pool.with_transaction(async |db, session| {
            runs.fetch_add(1, Ordering::Relaxed);
            let rows = db.collection::<Document>("rows");
            let insert = rows.insert_one(doc! { "_id": id }).session(session);
            insert.await.map(drop)
        });
        let outcome = outcome.await;
        eventually(Duration::from_secs(5), "the lease is back", || {
            self.pool.counts().active == 0
        })
        .await;
        let after = self.asked().await;
        (outcome, runs.into_inner(), after.since(&before))
    }

    async fn has(&self, id: &str) -> bool {
        let rows = self
            .observer
            .database("retries")
            .collection::<Document>("rows");
        rows.find_one(doc! { "_id": id }).await.unwrap().is_some()
    }
}

/// The server counts in whole numbers of either size.
fn number(document: &Document, name: &str) -> i64 {
    let number = document
        .get(name)
        .unwrap_or_else(|| panic!("no {name}: {document}"));
    let small = number.as_i32().map(i64::from);
    number
        .as_i64()
        .or(small)
        .unwrap_or_else(|| panic!("{name}: {number}"))
}

#[derive(Debug, PartialEq, Eq)]
struct Asked {
    inserts: i64,
    commits: i64,
    aborts: i64,
    committed: i64,
}

impl Asked {
    fn since(&self, before: &Self) -> Self {
        Self {
            inserts: self.inserts - before.inserts,
            commits: self.commits - before.commits,
            aborts: self.aborts - before.aborts,
            committed: self.committed - before.committed,
        }
    }
}

/// A member that has just joined, or come back, refuses for a moment whoever has heard a time that
/// it cannot check yet (`KeyNotFound`): no reason to give a warm-up up before its time is over.
#[tokio::test(flavor = "multi_thread")]
async fn a_warm_up_outlives_what_passes() {
    let Some(stage) = Stage::set().await else {
        return;
    };
    // Before the pool, which without a minimum does nothing before the warm-up asks.
    stage.fail("ping", 3, KEY_NOT_FOUND, "").await;
    let pool = stage.another(0, Duration::from_secs(20)).await;
    let report = pool.warmup_pool().await.unwrap();
    assert!(report.sockets >= 1 && pool.ready(), "{report}");
    assert_eq!(stage.heal().await, 3);
    pool.close(Duration::from_secs(5)).await;

    // One that lasts is told when the time is over.
    stage.fail("ping", 100_000, KEY_NOT_FOUND, "").await;
    let time = Duration::from_secs(4);
    let pool = stage.another(2, time).await;
    let error = pool.warmup_pool().await.map(drop).unwrap_err();
    stage.heal().await;
    assert!(error.elapsed >= time && !pool.ready(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("211") || text.contains("KeyNotFound"),
        "{text}"
    );
    pool.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_label_repeats_what_it_says_and_nothing_else() {
    let Some(stage) = Stage::set().await else {
        return;
    };

    let (outcome, runs, asked) = stage.transact("plain").await;
    outcome.unwrap();
    assert_eq!(
        (runs, asked.inserts, asked.commits, asked.committed),
        (1, 1, 1, 1)
    );

    // A transient error in the work: the work again.
    stage.fail("insert", 3, CONFLICT, TRANSIENT).await;
    let (outcome, runs, asked) = stage.transact("transient").await;
    outcome.unwrap();
    assert_eq!(stage.heal().await, 3);
    assert_eq!((runs, asked.inserts), (4, 1));
    assert_eq!((asked.commits, asked.committed), (1, 1));
    assert!(stage.has("transient").await);

    // It is not known whether the commit has worked: the commit again, and only that.
    let unknown = UNKNOWN_TRANSACTION_COMMIT_RESULT;
    stage
        .fail("commitTransaction", 3, UNREACHABLE, unknown)
        .await;
    let (outcome, runs, asked) = stage.transact("unknown").await;
    outcome.unwrap();
    assert_eq!(stage.heal().await, 3);
    assert_eq!((runs, asked.inserts), (1, 1), "the work is not repeated");
    assert_eq!((asked.commits, asked.committed), (1, 1));
    assert!(stage.has("unknown").await);

    // A transient error of the commit: everything again.
    stage
        .fail("commitTransaction", 1, CONFLICT, TRANSIENT)
        .await;
    let (outcome, runs, asked) = stage.transact("everything").await;
    outcome.unwrap();
    assert_eq!(stage.heal().await, 1);
    assert_eq!((runs, asked.inserts), (2, 2));
    assert_eq!((asked.commits, asked.committed), (1, 1));
    assert!(stage.has("everything").await);

    // The commit's own time limit: no more of it.
    stage
        .fail("commitTransaction", 10, TIME_IS_OVER, unknown)
        .await;
    let (outcome, runs, asked) = stage.transact("limit").await;
    assert_eq!(stage.heal().await, 1, "no more commits");
    let Err(RunError::Work(error)) = outcome else {
        panic!("{outcome:?}");
    };
    let ErrorKind::Command(command) = &*error.kind else {
        panic!("{error:?}");
    };
    assert_eq!(command.code, TIME_IS_OVER);
    assert_eq!((runs, asked.committed), (1, 0));
    assert!(!stage.has("limit").await);
    stage.pool.close(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_work_ends_itself_is_neither_committed_nor_repeated() {
    let Some(stage) = Stage::set().await else {
        return;
    };
    let pool = &stage.pool;

    // It aborts and succeeds: nobody commits, even where a commit would be repeated.
    stage
        .fail("commitTransaction", 10, CONFLICT, TRANSIENT)
        .await;
    let before = stage.asked().await;
    let runs = AtomicU32::new(0);
    let aborted = pool.with_transaction(async |db, session| {
        runs.fetch_add(1, Ordering::Relaxed);
        let rows = db.collection::<Document>("rows");
        rows.insert_one(doc! { "_id": "aborted" })
            .session(&mut *session)
            .await?;
        session.abort_transaction().await?;
        Ok::<_, Error>("aborted")
    });
    assert_eq!(aborted.await.unwrap(), "aborted");
    let asked = stage.asked().await.since(&before);
    assert_eq!((asked.commits, asked.aborts, asked.committed), (0, 1, 0));
    assert!(!stage.has("aborted").await);

    // It fails for its own reason: one abort, no second run.
    let before = stage.asked().await;
    let failed = pool.with_transaction(async |db, session| {
        runs.fetch_add(1, Ordering::Relaxed);
        let rows = db.collection::<Document>("rows");
        rows.insert_one(doc! { "_id": "failed" })
            .session(session)
            .await?;
        Err::<(), _>(Error::custom("enough"))
    });
    let Err(RunError::Work(error)) = failed.await else {
        panic!("the work's error");
    };
    assert_eq!(error.get_custom::<&str>(), Some(&"enough"));
    let asked = stage.asked().await.since(&before);
    assert_eq!((asked.commits, asked.aborts, asked.committed), (0, 1, 0));
    assert_eq!(runs.into_inner(), 2, "each once");
    assert!(!stage.has("failed").await);

    // It aborts after a transient error and hands that on: the label counts.
    assert_eq!(stage.heal().await, 0, "nobody has committed");
    stage.fail("insert", 1, CONFLICT, TRANSIENT).await;
    let before = stage.asked().await;
    let runs = AtomicU32::new(0);
    let again = pool.with_transaction(async |db, session| {
        runs.fetch_add(1, Ordering::Relaxed);
        let rows = db.collection::<Document>("rows");
        let insert = rows
            .insert_one(doc! { "_id": "again" })
            .session(&mut *session);
        let outcome = insert.await;
        if outcome.is_err() {
            session.abort_transaction().await?;
        }
        outcome.map(drop)
    });
    again.await.unwrap();
    let asked = stage.asked().await.since(&before);
    assert_eq!(
        (runs.into_inner(), asked.commits, asked.committed),
        (2, 1, 1)
    );
    assert!(stage.has("again").await);
    eventually(Duration::from_secs(5), "the lease is back", || {
        pool.counts().active == 0
    })
    .await;
    pool.close(Duration::from_secs(5)).await;
}
