//! The server's own view, and what each suite starts with.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pool_postgres::{PostgresPool, PostgresPoolBuilder};
use pool_testkit::FaultProxy;
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

/// How long a busy machine may take to show what the pool has done.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// How long the server may list backends whose clients have gone.
const SEES_THEM_GO: Duration = Duration::from_secs(1);

/// A connection beside the pool that asks the server what it sees.
pub(crate) struct Server {
    witness: PgConnection,
    name: String,
}

/// A name that no other pool on the server has, and a builder with it; `None` without a server.
pub(crate) async fn pool(test: &str) -> Option<(PostgresPoolBuilder, Server)> {
    static PIECE: AtomicU32 = AtomicU32::new(0);
    let url = integration_tests::postgres_url()?;
    let piece = PIECE.fetch_add(1, Ordering::Relaxed);
    let name = format!("{test}-{}-{piece}", std::process::id());
    let builder = PostgresPool::builder(&url).expect("the URL of the test server is good");
    let witness = PgConnection::connect(&url)
        .await
        .expect("the test server runs");
    let server = Server {
        witness,
        name: name.clone(),
    };
    // On a busy machine the pool must not give a step up that a test counts on.
    Some((
        builder
            .name(name)
            .acquire_timeout(SOON)
            .connect_timeout(SOON)
            .validate_timeout(SOON)
            .recycle_timeout(SOON),
        server,
    ))
}

/// Options that lead to the test server through a proxy.
pub(crate) async fn behind_a_proxy() -> Option<(PgConnectOptions, FaultProxy)> {
    let url = integration_tests::postgres_url()?;
    let options: PgConnectOptions = url.parse().expect("the URL of the test server is good");
    let upstream = tokio::net::lookup_host((options.get_host(), options.get_port()))
        .await
        .expect("the test server has a name")
        .next()
        .expect("and an address");
    let proxy = FaultProxy::start(upstream)
        .await
        .expect("loopback has a port");
    let options = options
        .host(&proxy.address().ip().to_string())
        .port(proxy.address().port());
    Some((options, proxy))
}

impl Server {
    /// The name by which the server knows the connections of this test.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How many connections of the pool the server has.
    pub(crate) async fn connections(&mut self) -> u32 {
        self.count("true").await
    }

    /// How many of them are inside a transaction, at work in it or not.
    pub(crate) async fn in_transaction(&mut self) -> u32 {
        self.count("xact_start is not null").await
    }

    /// How many of them run a statement at this moment.
    pub(crate) async fn running(&mut self) -> u32 {
        self.count("state = 'active'").await
    }

    /// How many of them sleep inside a statement at this moment.
    pub(crate) async fn asleep(&mut self) -> u32 {
        self.count("wait_event = 'PgSleep'").await
    }

    /// Asserts that the pool has at most `max` connections.
    ///
    /// The server lists a backend for a moment after its client has gone, and until then another
    /// one may have come. So a list that is too long may only consist of backends that are about to
    /// go: of those on it, at most `max` are still there a second later.
    #[track_caller]
    pub(crate) fn has_at_most(&mut self, max: u32) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let sql = "select pid, backend_start::text from pg_stat_activity \
                       where application_name = $1";
            let deadline = Instant::now() + SEES_THEM_GO;
            let mut staying: Option<HashSet<(i32, String)>> = None;
            loop {
                let seen = sqlx::query_as(sql).bind(&self.name);
                let seen = seen.fetch_all(&mut self.witness).await;
                let seen: HashSet<_> =
                    HashSet::from_iter(seen.expect("the witness can always ask"));
                let listed = staying.get_or_insert_with(|| seen.clone());
                listed.retain(|backend| seen.contains(backend));
                let stay = listed.len();
                if stay <= max as usize {
                    return;
                }
                assert!(
                    Instant::now() < deadline,
                    "{caller}: {stay} connections with a maximum of {max}"
                );
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// How many connections that the pool has opened beside its own, to cancel statements, have
    /// worked after a younger one was opened.
    ///
    /// One at a time is open, but the server may list several: those before it have been closed
    /// and are about to go. What they did, they did before it came.
    pub(crate) async fn beside_at_once(&mut self) -> u32 {
        let sql = "select count(*) from pg_stat_activity one \
                   join pg_stat_activity younger using (application_name) \
                   where application_name = $1 || ' cancel' \
                   and one.backend_start < younger.backend_start \
                   and one.state_change > younger.backend_start";
        let count: i64 = sqlx::query_scalar(sql)
            .bind(&self.name)
            .fetch_one(&mut self.witness)
            .await
            .expect("the witness can always ask");
        u32::try_from(count).expect("a test opens few connections")
    }

    async fn count(&mut self, condition: &str) -> u32 {
        let name = self.name.clone();
        self.count_named(&name, condition).await
    }

    async fn count_named(&mut self, name: &str, condition: &str) -> u32 {
        let sql = format!(
            "select count(*) from pg_stat_activity where application_name = $1 and {condition}"
        );
        let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(sql))
            .bind(name)
            .fetch_one(&mut self.witness)
            .await
            .expect("the witness can always ask");
        u32::try_from(count).expect("a test opens few connections")
    }

    /// Waits until the server has exactly this many connections of the pool.
    #[track_caller]
    pub(crate) fn settles_at(&mut self, wanted: u32) -> impl Future<Output = ()> {
        self.settles("", wanted)
    }

    /// Waits until the server has none of those that the pool opens to cancel statements.
    #[track_caller]
    pub(crate) fn settles_without_any_beside(&mut self) -> impl Future<Output = ()> {
        self.settles(" cancel", 0)
    }

    #[track_caller]
    fn settles(&mut self, suffix: &'static str, wanted: u32) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        let name = format!("{}{suffix}", self.name);
        async move {
            let deadline = Instant::now() + SOON;
            loop {
                let seen = self.count_named(&name, "true").await;
                if seen == wanted {
                    return;
                }
                assert!(
                    Instant::now() < deadline,
                    "{caller}: the server still has {seen} connections, not {wanted}"
                );
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// Runs a statement beside the pool.
    pub(crate) async fn execute(&mut self, sql: &str) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned()))
            .execute(&mut self.witness)
            .await
            .expect("the witness's statements are good");
    }

    /// A number that a statement beside the pool yields.
    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        sqlx::query_scalar(sqlx::AssertSqlSafe(sql.to_owned()))
            .fetch_one(&mut self.witness)
            .await
            .expect("the witness's statements are good")
    }

    /// A table of its own for a test, empty, with one column `n`; dropped with the witness.
    pub(crate) async fn table(&mut self) -> String {
        let table = format!("\"{}\"", self.name);
        self.execute(&format!("create table {table} (n bigint primary key)"))
            .await;
        table
    }
}

/// Waits for a condition of the pool's own.
#[track_caller]
pub(crate) fn until(
    what: &'static str,
    mut holds: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = Instant::now() + SOON;
        while !holds() {
            assert!(Instant::now() < deadline, "{caller}: not in time: {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
