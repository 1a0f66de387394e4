//! Real sockets through a network that misbehaves: the conformance suite, and the peers' cases
//! that need a wire.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use pool_core::{
    AcquireErrorKind, ConnectionManager, Liveness, Pool, PoolBuilder, ReleaseCheck, SharedError,
    Step,
};
use pool_testkit::conformance::Backend;
use pool_testkit::{Fault, FaultProxy, eventually, in_time};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::support::{denied, ms, secs};

/// A protocol of two messages: a greeting, and an echo of one byte.
struct Wire(SocketAddr);

struct Line {
    stream: TcpStream,
    /// An answer is unread, or may be.
    dirty: bool,
    broken: bool,
}

impl Line {
    async fn ping(&mut self) -> io::Result<()> {
        self.dirty = true;
        let outcome = async {
            self.stream.write_all(b"?").await?;
            self.stream.read_u8().await.map(drop)
        }
        .await;
        match outcome {
            Ok(()) => self.dirty = false,
            Err(_) => self.broken = true,
        }
        outcome
    }
}

impl ConnectionManager for Wire {
    type Connection = Line;
    type Error = io::Error;

    async fn connect(&self) -> io::Result<Line> {
        let mut stream = TcpStream::connect(self.0).await?;
        stream.set_nodelay(true)?;
        // The server's greeting is the handshake.
        stream.read_u8().await?;
        Ok(Line {
            stream,
            dirty: false,
            broken: false,
        })
    }

    async fn validate(&self, line: &mut Line) -> io::Result<()> {
        line.ping().await
    }

    fn release_check(&self, line: &mut Line) -> ReleaseCheck {
        match line {
            Line { broken: true, .. } => ReleaseCheck::Broken,
            Line { dirty: true, .. } => ReleaseCheck::Dirty,
            _ => ReleaseCheck::Clean,
        }
    }

    async fn recycle(&self, line: &mut Line) -> io::Result<()> {
        // The unread answer first.
        line.stream.read_u8().await?;
        line.ping().await
    }
}

/// The server, with the proxy in front of it.
async fn network() -> FaultProxy {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                stream.set_nodelay(true)?;
                stream.write_all(b"!").await?;
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    FaultProxy::start(address).await.unwrap()
}

fn builder(proxy: &FaultProxy) -> PoolBuilder<Wire> {
    Pool::builder(Wire(proxy.address()))
}

struct OverTcp(FaultProxy);

impl Backend for OverTcp {
    type Manager = Wire;

    fn builder(&self) -> PoolBuilder<Wire> {
        builder(&self.0)
    }

    async fn ping(&self, line: &mut Line) -> Result<(), SharedError> {
        let answer = line.ping().await;
        answer.map_err(|error| Arc::new(error) as SharedError)
    }

    async fn at_server(&self) -> u32 {
        u32::try_from(self.0.open()).unwrap()
    }

    async fn kill(&self, line: &mut Line) -> bool {
        line.stream.shutdown().await.is_ok()
    }

    async fn set_reachable(&self, reachable: bool) -> bool {
        let fault = if reachable {
            Fault::Pass
        } else {
            Fault::Refuse
        };
        self.0.set(fault).await;
        true
    }
}

mod conformance {
    use super::*;

    pool_testkit::conformance_tests!(OverTcp(network().await));
}

/// sqlx 4350's silent server: it shakes hands and falls mute. A guard that was dropped in the
/// middle of a question is given up after the recycle timeout, and its room is there again.
#[tokio::test]
async fn sqlx_4350_a_server_that_falls_silent_after_the_handshake_costs_no_room() {
    let proxy = network().await;
    let pool = builder(&proxy)
        .limits(0, 1)
        .recycle_timeout(ms(200))
        .build()
        .unwrap();
    proxy.set(Fault::HalfOpen(1)).await;
    for _ in 0..3 {
        let mut line = in_time("an acquire", pool.acquire()).await.unwrap();
        let answer = tokio::time::timeout(ms(50), line.ping()).await;
        assert!(answer.is_err(), "the server is mute");
        let began = Instant::now();
        drop(line);
        assert!(began.elapsed() < ms(50), "a drop never waits");
    }
    eventually("the third is given up", || pool.counts().total == 0).await;
    assert_eq!(pool.pool_metrics().counters.recycle_failures, 3);
    proxy.set(Fault::Pass).await;
    in_time("service", pool.acquire())
        .await
        .unwrap()
        .ping()
        .await
        .unwrap();
    eventually("the rest is gone", || proxy.open() == 1).await;
}

/// pgxpool's `TestPoolAcquirePingTimeout`: the answer to the check is late; the caller is served
/// within its acquire all the same.
#[tokio::test]
async fn pgxpool_a_check_through_a_slow_network_is_replaced_within_the_acquire() {
    let proxy = network().await;
    let pool = builder(&proxy)
        .limits(0, 1)
        .validate_timeout(ms(100))
        .liveness(Liveness::Always)
        .build()
        .unwrap();
    let first = in_time("an acquire", pool.acquire()).await.unwrap().id();
    proxy.set(Fault::Delay(ms(150))).await;
    let second = in_time("an acquire", pool.acquire()).await.unwrap().id();
    assert!(second > first, "{second}");
    assert_eq!(pool.pool_metrics().counters.validation_failures, 1);
}

/// fast_pool's rbatis 561, HikariCP 358, 1674, 1686: connections were reset while they were idle.
#[tokio::test]
async fn connections_that_were_reset_while_idle_are_replaced_unseen() {
    let proxy = network().await;
    let pool = builder(&proxy)
        .limits(3, 3)
        .liveness(Liveness::Always)
        .build()
        .unwrap();
    in_time("the warm-up", pool.warmup_pool()).await.unwrap();
    proxy.cut_all().await;
    let mut lines = Vec::new();
    for _ in 0..3 {
        let mut line = in_time("an acquire", pool.acquire()).await.unwrap();
        line.ping().await.unwrap();
        lines.push(line);
    }
    assert_eq!((proxy.accepted(), proxy.open()), (6, 3));
}

/// HikariCP, "Bad behavior: handling database down": the cable is pulled; each call comes back
/// within its time, and service resumes.
#[tokio::test]
async fn hikari_a_black_hole_delays_nobody_beyond_his_time_and_service_resumes() {
    let proxy = network().await;
    let pool = builder(&proxy)
        .limits(0, 2)
        .acquire_timeout(ms(300))
        .connect_timeout(ms(200))
        .validate_timeout(ms(100))
        .liveness(Liveness::Always)
        .build()
        .unwrap();
    drop(in_time("an acquire", pool.acquire()).await.unwrap());
    proxy.set(Fault::Blackhole).await;
    for _ in 0..4 {
        let began = Instant::now();
        let error = denied(pool.acquire().await);
        assert!(error.is_timeout(), "{error}");
        let took = began.elapsed();
        assert!(took >= ms(300) && took < secs(2), "{took:?}");
    }
    proxy.set(Fault::Pass).await;
    proxy.cut_all().await;
    let mut line = in_time("service", served(&pool)).await;
    line.ping().await.unwrap();
}

/// Acquires until it is served: after an outage the pauses of the backoff come first.
async fn served(pool: &Pool<Wire>) -> pool_core::PooledConnection<'_, Wire> {
    loop {
        if let Ok(line) = pool.acquire().await {
            return line;
        }
    }
}

/// sqlx 3808: a server that is not there is told as what it is, with the system's own words.
#[tokio::test]
async fn sqlx_3808_a_refused_connect_is_named_in_the_timeout() {
    let proxy = network().await;
    let pool = builder(&proxy).limits(0, 2).build().unwrap();
    proxy.set(Fault::Refuse).await;
    let error = denied(pool.acquire_timeout(ms(300)).await);
    assert_eq!(error.kind(), AcquireErrorKind::Timeout(Step::Connect));
    let (_, cause) = error.last_connect_error().unwrap();
    let cause = cause.downcast_ref::<io::Error>().unwrap();
    assert_eq!(cause.kind(), io::ErrorKind::ConnectionRefused);
    proxy.set(Fault::Pass).await;
    drop(in_time("service", served(&pool)).await);
}

/// Forty callers behind a thin line: whatever it passes is shared in order, and nobody is
/// lost.
#[tokio::test]
async fn a_throttled_network_serves_everybody_in_the_end() {
    let proxy = network().await;
    let pool = Arc::new(builder(&proxy).limits(0, 4).build().unwrap());
    proxy.set(Fault::Throttle(10_000)).await;
    let callers: Vec<_> = (0..40)
        .map(|_| {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                let mut line = pool.acquire().await.unwrap();
                line.ping().await.unwrap();
            })
        })
        .collect();
    for caller in callers {
        in_time("a caller", caller).await.unwrap();
    }
    assert!(proxy.accepted() <= 4, "{}", proxy.accepted());
    let report = pool.close(Duration::from_secs(5)).await;
    assert!(report.clean, "{report}");
    eventually("nothing is left", || proxy.open() == 0).await;
}
