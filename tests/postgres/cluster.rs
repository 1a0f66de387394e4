//! A primary and its streaming replica: two real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use pool_postgres::{PostgresCluster, PostgresPool, ReplicaState, TargetSessionAttrs};
use pool_testkit::{Fault, FaultProxy};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use test_servers::{Environment, PostgresOptions, Server};

use crate::own_server::{self, blocking};
use crate::server::{self, SOON};

/// Two servers, the second of which follows the first.
async fn two_servers() -> Option<(Server, Server)> {
    let primary = own_server::start().await?;
    Some(
        blocking(move || {
            let environment = Environment::from_env()
                .expect("the environment is good")
                .without_given_servers();
            let replica = PostgresOptions::default()
                .start_replica(&primary, &environment)
                .expect("a replica starts from its primary");
            (primary, replica)
        })
        .await,
    )
}

fn port(server: &Server) -> u16 {
    server.url().parse::<PgConnectOptions>().unwrap().get_port()
}

fn cluster(primary: &Server, replica: &Server) -> PostgresCluster {
    PostgresCluster::builder(primary.url())
        .unwrap()
        .name("cluster")
        .replica("127.0.0.1", port(replica))
        .check_interval(Duration::from_millis(100))
        .max_lag(Duration::from_secs(1))
        .each_pool(|pool| pool.limits(1, 4).acquire_timeout(SOON))
        .build()
        .unwrap()
}

/// The port of the server that a statement reaches.
async fn reached(pool: &PostgresPool) -> u16 {
    let port: i32 = sqlx::query_scalar("select inet_server_port()")
        .fetch_one(pool)
        .await
        .unwrap();
    u16::try_from(port).unwrap()
}

/// Waits until the replica is read from, or is not.
async fn until_read_from(cluster: &PostgresCluster, wanted: bool) {
    server::until("the replica's state is known", || {
        cluster.replicas()[0].is_read_from == wanted
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_are_routed_and_one_that_lags_is_left_out() {
    let Some((primary, replica)) = two_servers().await else {
        return;
    };
    let cluster = cluster(&primary, &replica);
    assert_eq!(
        reached(cluster.read()).await,
        port(&primary),
        "not asked yet"
    );
    until_read_from(&cluster, true).await;
    assert_eq!(reached(cluster.write()).await, port(&primary));
    assert_eq!(reached(cluster.read()).await, port(&replica));

    sqlx::raw_sql("create table rows (n int8); insert into rows values (1)")
        .execute(cluster.write())
        .await
        .unwrap();
    let deadline = Instant::now() + SOON;
    loop {
        let rows = sqlx::query("select n from rows").fetch_all(cluster.read());
        if rows.await.is_ok_and(|rows| rows.len() == 1) {
            break;
        }
        assert!(Instant::now() < deadline, "the row does not arrive");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    // Receives and does not replay: it falls behind with the next write.
    own_server::execute(&replica, "select pg_wal_replay_pause()").await;
    sqlx::query("insert into rows values (2)")
        .execute(cluster.write())
        .await
        .unwrap();
    until_read_from(&cluster, false).await;
    let state = &cluster.replicas()[0].state;
    assert!(
        matches!(state, ReplicaState::Follows(lag) if *lag > Duration::from_secs(1)),
        "{state:?}"
    );
    assert_eq!(reached(cluster.read()).await, port(&primary));
    own_server::execute(&replica, "select pg_wal_replay_resume()").await;
    until_read_from(&cluster, true).await;
    assert_eq!(reached(cluster.read()).await, port(&replica));

    drop(replica);
    until_read_from(&cluster, false).await;
    assert_eq!(reached(cluster.read()).await, port(&primary), "it is away");
    for report in cluster.close(SOON).await {
        assert!(report.clean, "{report}");
    }
}

#[test]
fn a_cluster_is_built_outside_a_runtime_when_it_is_given_one() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let handle = runtime.handle().clone();
    // Nobody listens: it is known to be away once it has been asked.
    let cluster = PostgresCluster::builder("postgres://app@127.0.0.1:1/market")
        .unwrap()
        .replica("127.0.0.1", 1)
        .check_interval(Duration::from_millis(10))
        .each_pool(move |pool| pool.runtime(handle.clone()))
        .build()
        .unwrap();
    let deadline = Instant::now() + SOON;
    while cluster.replicas()[0].state == ReplicaState::Unknown {
        assert!(Instant::now() < deadline, "nobody watches the replica");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The network swallows what the primary sends, and ends nothing: the replica waits for more, and has
/// replayed all that it knows of.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_parted_from_its_primary_without_a_word_is_left_out() {
    let Some((primary, replica)) = two_servers().await else {
        return;
    };
    let upstream = ([127, 0, 0, 1], port(&primary)).into();
    let proxy = FaultProxy::start(upstream).await.unwrap();
    let conninfo: String = {
        let mut connection = PgConnection::connect(replica.url()).await.unwrap();
        let show = sqlx::query_scalar("show primary_conninfo");
        show.fetch_one(&mut connection).await.unwrap()
    };
    let through = conninfo.replace(
        &format!("port={}", port(&primary)),
        &format!("port={}", proxy.address().port()),
    );
    assert_ne!(through, conninfo, "the port stands there");
    let through = through.replace('\'', "''");
    let sql = format!("alter system set primary_conninfo = '{through}'");
    own_server::execute(&replica, &sql).await;
    own_server::execute(&replica, "select pg_reload_conf()").await;
    server::until("it follows through the proxy", || proxy.open() == 1).await;

    let cluster = cluster(&primary, &replica);
    until_read_from(&cluster, true).await;
    sqlx::query("create table rows (n int8)")
        .execute(cluster.write())
        .await
        .unwrap();
    until_read_from(&cluster, true).await;
    proxy.set(Fault::Blackhole).await;
    sqlx::query("insert into rows values (1)")
        .execute(cluster.write())
        .await
        .unwrap();
    until_read_from(&cluster, false).await;
    let state = &cluster.replicas()[0].state;
    assert!(
        matches!(state, ReplicaState::Follows(lag) if *lag > Duration::from_secs(1)),
        "it knows of nothing itself: {state:?}"
    );
    proxy.set(Fault::Pass).await;
    proxy.cut_all().await;
    until_read_from(&cluster, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_resume_on_a_promoted_replica_without_a_restart() {
    let Some((primary, replica)) = two_servers().await else {
        return;
    };
    let cluster = Arc::new(cluster(&primary, &replica));
    until_read_from(&cluster, true).await;
    sqlx::query("create table rows (n int8)")
        .execute(cluster.write())
        .await
        .unwrap();
    let (stop, refused) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU32::new(0)),
    );
    let writers: Vec<_> = (0..6)
        .map(|_| {
            let (cluster, stop, refused) = (
                Arc::clone(&cluster),
                Arc::clone(&stop),
                Arc::clone(&refused),
            );
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let insert = sqlx::query("insert into rows values (1)");
                    if let Err(error) = insert.execute(cluster.write()).await {
                        let code = error.as_database_error().and_then(|error| error.code());
                        assert_eq!(code.as_deref(), Some("25006"), "{error}");
                        refused.fetch_add(1, Ordering::Relaxed);
                        // As a service would, before it tries again.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                }
            })
        })
        .collect();
    assert_eq!(reached(cluster.write()).await, port(&primary));

    own_server::execute(
        &primary,
        "alter system set default_transaction_read_only = on",
    )
    .await;
    own_server::execute(&primary, "select pg_reload_conf()").await;
    server::until("writes are refused", || refused.load(Ordering::Relaxed) > 0).await;
    own_server::execute(&replica, "select pg_promote()").await;

    let deadline = Instant::now() + SOON;
    while reached(cluster.write()).await != port(&replica) {
        assert!(Instant::now() < deadline, "the new primary is not found");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let rows = async || -> i64 {
        sqlx::query_scalar("select count(*) from rows")
            .fetch_one(cluster.write())
            .await
            .unwrap()
    };
    let before = rows().await;
    while rows().await < before + 100 {
        assert!(Instant::now() < deadline, "writes do not resume");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("no other error was met");
    }
    let closed = cluster.write().pool_metrics().counters.closed;
    assert!(closed.broken >= 1, "the one that met 25006: {closed:?}");
    server::until("its promotion is seen", || {
        cluster.replicas()[0].state == ReplicaState::Promoted
    })
    .await;
    assert_eq!(reached(cluster.read()).await, port(&replica));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn target_session_attrs_choose_among_the_hosts_of_a_url() {
    let Some((primary, replica)) = two_servers().await else {
        return;
    };
    // A port where nobody listens comes first.
    let gone = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let (one, two) = (port(&primary), port(&replica));
    let url = |attrs: &str| {
        let hosts = format!("127.0.0.1:{gone},127.0.0.1:{two},127.0.0.1:{one}/");
        let url = primary.url().replace(&format!("127.0.0.1:{one}/"), &hosts);
        format!("{url}?target_session_attrs={attrs}")
    };
    for (attrs, wanted) in [
        ("any", two),
        ("read-write", one),
        ("primary", one),
        ("read-only", two),
        ("standby", two),
        ("prefer-standby", two),
    ] {
        let pool = PostgresPool::builder(&url(attrs)).unwrap();
        let pool = pool.acquire_timeout(SOON).build().unwrap();
        assert_eq!(reached(&pool).await, wanted, "{attrs}");
        pool.close(SOON).await;
    }
    let alone = PostgresPool::builder(primary.url())
        .unwrap()
        .target_session_attrs(TargetSessionAttrs::PreferStandby)
        .build()
        .unwrap();
    assert_eq!(reached(&alone).await, one, "better than none");
    let nobody = PostgresPool::builder(replica.url())
        .unwrap()
        .or_host("127.0.0.1", gone)
        .target_session_attrs(TargetSessionAttrs::Primary)
        .acquire_timeout(Duration::from_secs(5))
        .build()
        .unwrap();
    let error = nobody.acquire().await.unwrap_err();
    assert!(error.is_timeout(), "a standby may be promoted yet: {error}");
    let error = nobody.pool_metrics().last_error.expect("two hosts failed");
    assert!(
        error.contains("the server is a standby: want primary"),
        "{error}"
    );
    assert!(error.contains("refused"), "each host is named: {error}");
}
