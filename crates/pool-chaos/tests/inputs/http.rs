//! The listener, sent what is almost HTTP, over real sockets.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pool_core::Pool;
use pool_telemetry::{Listener, Registry};
use pool_testkit::{Answer, ScriptedManager};

use crate::fuzz::{CANARY, Fuzz, bytes};

/// More than any answer is long, several in a row included.
const MOST: u64 = 4 << 20;

/// More than any one answer is long: the page, its script, the metrics.
const LONGEST: usize = 1 << 19;

/// Where the listener's handlers run.
const THREAD: &str = "listener";

/// With the canary in it: no answer repeats the token, whatever it was asked.
fn token() -> String {
    format!("{CANARY}-token")
}

#[test]
fn the_http_api() {
    let panics = count_panics_of(THREAD);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name(THREAD)
        .enable_all()
        .build()
        .unwrap();
    let (manager, script) = ScriptedManager::new();
    // A bearer of the token may ask for a million connections; this is not about those.
    script.connect().always(Answer::Hangs);
    let (pool, listener) = runtime.block_on(async {
        let pool = Pool::builder(manager)
            .name("shop/orders")
            .limits(0, 4)
            .build()
            .unwrap();
        let registry = Registry::new();
        registry.register(pool.clone()).unwrap();
        let listener = Listener::builder(registry)
            .address("127.0.0.1:0")
            .token(token())
            .start()
            .await
            .unwrap();
        (pool, listener)
    });
    let address = listener.address();
    let fuzz = Fuzz::new("http").with_answers_of(LONGEST);
    fuzz.run(|input| {
        let before = pool.limits();
        let answer = send(address, input, Then::Ends);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1."),
            "{answer}"
        );
        assert_eq!(panics.load(Ordering::SeqCst), 0, "{input:?}");
        // What went wrong inside is nothing that somebody outside can bring about.
        assert!(!answer.contains("HTTP/1.1 5"), "{answer}");
        if !input.contains(CANARY) {
            assert_eq!(pool.limits(), before);
        }
        answer
    });
    let listed = send(
        address,
        "GET /api/pools HTTP/1.1\nhost: a\nconnection: close\n\n",
        Then::Waits,
    );
    assert!(listed.starts_with("HTTP/1.1 200"), "{listed}");
    assert!(listed.contains("shop/orders"), "{listed}");
    // Hand-written requests reach what they are meant for.
    let resize = "POST /api/pools/shop%2Forders/resize HTTP/1.1\nhost: a\nconnection: close\n";
    let body = "content-type: application/json\ncontent-length: 17\n\n{\"min\":0,\"max\":7}";
    let refused = send(address, &format!("{resize}{body}"), Then::Waits);
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let bearer = format!("authorization: Bearer {}\n", token());
    let resized = send(address, &format!("{resize}{bearer}{body}"), Then::Waits);
    assert!(resized.starts_with("HTTP/1.1 200"), "{resized}");
    assert_eq!(pool.limits().max(), 7);
    runtime.block_on(listener.stop());
}

/// A handler that panics just ends its connection, which is also what a bad request may meet.
fn count_panics_of(thread: &'static str) -> Arc<AtomicUsize> {
    let (panics, usual) = (Arc::new(AtomicUsize::new(0)), std::panic::take_hook());
    let counted = Arc::clone(&panics);
    std::panic::set_hook(Box::new(move |panic| {
        if std::thread::current().name() == Some(thread) {
            counted.fetch_add(1, Ordering::SeqCst);
        }
        usual(panic);
    }));
    panics
}

/// What a client does once it has asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Says that no more will come: the listener may take that for a client that is gone.
    Ends,
    /// Waits for the end of the answer.
    Waits,
}

/// Sends the lines as HTTP ends them, and reads all that comes back.
fn send(address: SocketAddr, request: &str, then: Then) -> String {
    let mut stream = connect(address);
    let patience = Some(Duration::from_secs(5));
    stream.set_read_timeout(patience).unwrap();
    stream.set_write_timeout(patience).unwrap();
    // The listener may end a bad request before it has read all of it.
    let _ = stream.write_all(&bytes(&request.replace('\n', "\r\n")));
    if then == Then::Ends {
        let _ = stream.shutdown(Shutdown::Write);
    }
    let mut answer = Vec::new();
    match stream.take(MOST).read_to_end(&mut answer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no end of the answer"),
        // Reset, after a bad request.
        Ok(_) | Err(_) => String::from_utf8_lossy(&answer).into_owned(),
    }
}

/// Millions of connections in a row leave no port now and then.
fn connect(address: SocketAddr) -> TcpStream {
    for _ in 0..200 {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {
                std::thread::sleep(Duration::from_millis(10));
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no port is left")
}
