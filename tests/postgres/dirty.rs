//! Thousands of callers that leave a mess, among others that must not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt as _;
use pool_postgres::PostgresPool;
use sqlx::AssertSqlSafe;

use crate::server::{self, Server};

/// Of each kind.
const ROUNDS: u64 = 10_000;
const KINDS: u64 = 5;
const MAX: u32 = 8;
const TASKS: u64 = 24;

#[derive(Clone)]
struct Round {
    pool: PostgresPool,
    table: Arc<str>,
    /// How many of each kind have come as far as the server.
    reached: Arc<Reached>,
}

#[derive(Default)]
struct Reached {
    transactions: AtomicU64,
    streams: AtomicU64,
    panics: AtomicU64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_rounds_of_each_mess_leak_nothing_and_the_counts_equal_the_servers() {
    let Some((builder, mut server)) = server::pool("dirty").await else {
        return;
    };
    let table: Arc<str> = server.table().await.into();
    for spelling in ["pool", "guard"] {
        let begun = begun(server.name(), spelling);
        server.execute(&format!("create sequence {begun}")).await;
    }
    let pool = builder.limits(0, MAX).max_connecting(MAX).build().unwrap();
    let round = Round {
        pool: pool.clone(),
        table,
        reached: Arc::default(),
    };
    let next = Arc::new(AtomicU64::new(0));
    let done = Arc::new(AtomicBool::new(false));
    // A panic in a round is part of the test; its message is not of interest.
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if info.payload().downcast_ref::<Wanted>().is_none() {
            loud(info);
        }
    }));
    let callers: Vec<_> = (0..TASKS)
        .map(|_| {
            let (round, next) = (round.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= ROUNDS * KINDS {
                        return;
                    }
                    round.play(n).await;
                }
            })
        })
        .collect();
    let watch = tokio::spawn(watch(server, Arc::clone(&done)));
    for caller in callers {
        caller.await.expect("no caller met another one's mess");
    }
    done.store(true, Ordering::Relaxed);
    let mut server = watch
        .await
        .expect("the server never had too many connections");

    server::until("all is idle", || pool.counts().active == 0).await;
    server.settles_at(pool.counts().total).await;
    assert_eq!(server.in_transaction().await, 0);
    assert_eq!(server.running().await, 0);
    server.settles_without_any_beside().await; // nothing is left to cancel
    let metrics = pool.pool_metrics();
    assert_eq!(metrics.errors, 0, "{metrics:?}");
    assert!(metrics.counters.recycled >= ROUNDS, "{metrics:?}");
    assert!(
        metrics.counters.opened <= u64::from(MAX),
        "connections were cleaned, not replaced: {metrics:?}"
    );
    let table = &round.table;
    let rows = server
        .number(&format!("select count(*) from {table}"))
        .await;
    assert_eq!(rows, 0, "nothing was committed");
    let reached = |kind: &AtomicU64| kind.load(Ordering::Relaxed);
    let Reached {
        transactions,
        streams,
        panics,
    } = &*round.reached;
    assert_eq!(reached(transactions), ROUNDS);
    assert_eq!(reached(streams), ROUNDS);
    assert_eq!(reached(panics), ROUNDS);
    // Of 5,000 each, some are cut while they wait for a connection, few while they are prepared.
    for (spelling, floor) in [("pool", 500), ("guard", 4_500)] {
        let begun = begun(server.name(), spelling);
        let sql = format!("select last_value from {begun}");
        let seen = server.number(&sql).await;
        assert!(
            seen >= floor,
            "{spelling}: {seen} cancelled queries had begun"
        );
    }
}

/// A sequence counts what was begun at the server, whatever became of it.
fn begun(name: &str, spelling: &str) -> String {
    format!("\"{name}-{spelling}\"")
}

/// The payload of panics that the test wants.
struct Wanted;

impl Round {
    async fn play(&self, n: u64) {
        match n % KINDS {
            0 => self.cancelled_query(n).await,
            1 => self.dropped_transaction(n).await,
            2 => self.half_read_stream(n).await,
            3 => self.panic_with_a_guard(n).await,
            _ => self.ordinary(n).await,
        }
    }

    /// A wait that differs from round to round, so that cancellations fall everywhere.
    async fn moment(n: u64) {
        tokio::time::sleep(Duration::from_micros(n % 7 * 300)).await;
    }

    async fn cancelled_query(&self, n: u64) {
        let sql = "select nextval($1::text::regclass), pg_sleep(60)";
        let query = |spelling| sqlx::query(sql).bind(begun(self.pool.name(), spelling));
        if n.is_multiple_of(2) {
            // In the queue, on its way out, at the server: the queue alone may take all of 20 ms.
            let anywhere = tokio::time::sleep(Duration::from_millis(n % 41));
            cut(query("pool").execute(&self.pool), anywhere).await;
        } else {
            let mut guard = self.pool.acquire().await.unwrap();
            let slept = query("guard").execute(&mut *guard);
            cut(slept, Self::moment(n)).await;
        }
    }

    async fn dropped_transaction(&self, n: u64) {
        let insert = AssertSqlSafe(format!("insert into {} values ({n})", self.table));
        let mut guard = self.pool.acquire().await.unwrap();
        let mut transaction = guard.begin().await.unwrap();
        sqlx::query(insert).execute(&mut transaction).await.unwrap();
        self.reached.transactions.fetch_add(1, Ordering::Relaxed);
        let more = async {
            if n.is_multiple_of(2) {
                let mut inner = transaction.begin().await.unwrap();
                sqlx::query("select 1").execute(&mut inner).await.unwrap();
            }
            std::future::pending::<()>().await;
        };
        cut(more, Self::moment(n)).await;
    }

    async fn half_read_stream(&self, n: u64) {
        let sql = "select n, repeat('x', 200) from generate_series(1, $1::int8) n";
        let rows = i64::try_from(n % 2_000 + 3).unwrap();
        let mut stream = sqlx::query(sql).bind(rows).fetch(&self.pool);
        for _ in 0..1 + n % 2 {
            stream.try_next().await.unwrap().unwrap();
        }
        self.reached.streams.fetch_add(1, Ordering::Relaxed);
    }

    async fn panic_with_a_guard(&self, n: u64) {
        let round = self.clone();
        let task = tokio::spawn(async move {
            let mut guard = round.pool.acquire().await.unwrap();
            let mut transaction = guard.begin().await.unwrap();
            let insert = format!("insert into {} values ({n})", round.table);
            sqlx::query(AssertSqlSafe(insert))
                .execute(&mut transaction)
                .await
                .unwrap();
            round.reached.panics.fetch_add(1, Ordering::Relaxed);
            std::panic::panic_any(Wanted);
        });
        let panic = task.await.unwrap_err().into_panic();
        assert!(panic.is::<Wanted>(), "the round failed before it panicked");
    }

    async fn ordinary(&self, n: u64) {
        let n = i64::try_from(n).unwrap();
        let sql = AssertSqlSafe(format!("select $1::int8, count(*) from {}", self.table));
        let row: (i64, i64) = sqlx::query_as(sql)
            .bind(n)
            .fetch_one(&self.pool)
            .await
            .unwrap();
        assert_eq!(row, (n, 0), "another one's answer, or an uncommitted row");
    }
}

/// Drops `work` when `moment` is over, which it never outruns.
async fn cut<T>(work: impl Future<Output = T>, moment: impl Future<Output = ()>) {
    tokio::select! {
        _ = work => panic!("nothing here ends by itself"),
        () = moment => {}
    }
}

/// Looks at the server until the rounds are over.
async fn watch(mut server: Server, done: Arc<AtomicBool>) -> Server {
    while !done.load(Ordering::Relaxed) {
        server.has_at_most(MAX).await;
        let at_once = server.beside_at_once().await;
        assert_eq!(at_once, 0, "several connections cancel at once");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    server
}
