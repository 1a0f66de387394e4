//! Each fault of the proxy, seen from a client in front of an echo server.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use pool_testkit::{Fault, FaultProxy, eventually, in_time};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Long enough for loopback to have answered, short enough to wait for silence.
const SILENCE: Duration = Duration::from_millis(200);

#[tokio::test]
async fn pass_passes_both_ways_and_counts() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut client = connect(&proxy).await;
    assert_eq!(said(&mut client, b"hello").await, b"hello");
    let mut other = connect(&proxy).await;
    assert_eq!(said(&mut other, b"again").await, b"again");
    assert_eq!((proxy.accepted(), proxy.open()), (2, 2));

    drop(other);
    eventually("one is left", || proxy.open() == 1).await;
    assert_eq!(proxy.accepted(), 2);
}

#[tokio::test]
async fn a_goodbye_is_passed_on_and_is_no_reset() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut client = connect(&proxy).await;
    client.write_all(&[7; 100_000]).await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    in_time("the echo", client.read_to_end(&mut heard))
        .await
        .unwrap();
    assert_eq!(heard.len(), 100_000);
}

#[tokio::test]
async fn refuse_refuses_new_connections_and_leaves_old_ones_alone() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut client = connect(&proxy).await;
    assert_eq!(said(&mut client, b"before").await, b"before");

    proxy.set(Fault::Refuse).await;
    let refused = TcpStream::connect(proxy.address()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    assert_eq!(said(&mut client, b"during").await, b"during");

    proxy.set(Fault::Pass).await;
    assert_eq!(said(&mut connect(&proxy).await, b"after").await, b"after");
}

#[tokio::test]
async fn a_black_hole_takes_everything_and_answers_nothing() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut old = connect(&proxy).await;
    assert_eq!(said(&mut old, b"before").await, b"before");

    proxy.set(Fault::Blackhole).await;
    let mut new = connect(&proxy).await;
    for client in [&mut old, &mut new] {
        client.write_all(b"is anybody there?").await.unwrap();
        is_silent(client).await;
    }
}

#[tokio::test]
async fn reset_resets_old_and_new_connections() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut old = connect(&proxy).await;
    assert_eq!(said(&mut old, b"before").await, b"before");

    proxy.set(Fault::Reset).await;
    assert_eq!(proxy.open(), 0);
    is_reset(&mut old).await;
    // The reset of a new one may meet it while it still connects.
    match TcpStream::connect(proxy.address()).await {
        Ok(mut new) => is_reset(&mut new).await,
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }

    proxy.set(Fault::Pass).await;
    assert_eq!(said(&mut connect(&proxy).await, b"after").await, b"after");
}

#[tokio::test]
async fn cut_all_resets_what_exists_and_nothing_else() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut old = connect(&proxy).await;
    assert_eq!(said(&mut old, b"before").await, b"before");
    proxy.cut_all().await;
    is_reset(&mut old).await;
    assert_eq!(said(&mut connect(&proxy).await, b"after").await, b"after");
}

#[tokio::test]
async fn what_is_cut_when_used_looks_alive_until_then() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut old = connect(&proxy).await;
    assert_eq!(said(&mut old, b"before").await, b"before");
    proxy.cut_when_used().await;
    is_silent(&mut old).await;
    assert_eq!(proxy.open(), 1);
    assert_eq!(said(&mut connect(&proxy).await, b"after").await, b"after");
    old.write_all(b"used").await.unwrap();
    is_reset(&mut old).await;
}

#[tokio::test]
async fn delay_delays_each_piece_in_each_direction() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut client = connect(&proxy).await;
    proxy.set(Fault::Delay(Duration::from_millis(100))).await;
    let began = Instant::now();
    assert_eq!(said(&mut client, b"slowly").await, b"slowly");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(200), "{took:?}");
}

#[tokio::test]
async fn half_open_passes_the_handshake_and_falls_silent() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    proxy.set(Fault::HalfOpen(9)).await;
    let mut client = connect(&proxy).await;
    assert_eq!(said(&mut client, b"handshake").await, b"handshake");
    client.write_all(b"and now?").await.unwrap();
    is_silent(&mut client).await;

    // One that had said more than that before is mute at once.
    proxy.set(Fault::Pass).await;
    let mut old = connect(&proxy).await;
    assert_eq!(said(&mut old, b"a long greeting").await, b"a long greeting");
    proxy.set(Fault::HalfOpen(9)).await;
    old.write_all(b"and now?").await.unwrap();
    is_silent(&mut old).await;
}

#[tokio::test]
async fn throttle_keeps_to_its_rate() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut client = connect(&proxy).await;
    proxy.set(Fault::Throttle(20_000)).await;
    let began = Instant::now();
    let message = vec![1; 10_000];
    assert_eq!(said(&mut client, &message).await, message);
    let took = began.elapsed();
    assert!(
        took >= Duration::from_millis(450),
        "{took:?} for 10 kB at 20 kB/s"
    );
}

#[tokio::test]
async fn nothing_survives_the_handle() {
    let proxy = FaultProxy::start(echo().await).await.unwrap();
    let mut client = connect(&proxy).await;
    assert_eq!(said(&mut client, b"hello").await, b"hello");
    let address = proxy.address();
    drop(proxy);
    is_reset(&mut client).await;
    for _ in 0..1_000 {
        if TcpStream::connect(address).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("somebody still listens on {address}");
}

#[tokio::test]
async fn without_a_server_behind_it_connections_are_reset() {
    let nobody = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        listener.local_addr().unwrap()
    };
    let proxy = FaultProxy::start(nobody).await.unwrap();
    is_reset(&mut connect(&proxy).await).await;
}

/// A server that says what it hears.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    });
    address
}

async fn connect(proxy: &FaultProxy) -> TcpStream {
    let client = in_time("a connect", TcpStream::connect(proxy.address())).await;
    let client = client.unwrap();
    client.set_nodelay(true).unwrap();
    client
}

/// What comes back for `words`.
async fn said(client: &mut TcpStream, words: &[u8]) -> Vec<u8> {
    client.write_all(words).await.unwrap();
    let mut heard = vec![0; words.len()];
    in_time("the echo", client.read_exact(&mut heard))
        .await
        .unwrap();
    heard
}

async fn is_silent(client: &mut TcpStream) {
    let mut byte = [0];
    let heard = tokio::time::timeout(SILENCE, client.read(&mut byte)).await;
    assert!(heard.is_err(), "wanted silence, got {heard:?}");
}

async fn is_reset(client: &mut TcpStream) {
    let mut byte = [0];
    let end = in_time("the reset", client.read(&mut byte)).await;
    assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset);
}
