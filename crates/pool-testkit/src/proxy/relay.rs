//! One connection through the proxy.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Fault, Network, Open};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The slices of a second in which throttled data goes out.
const SLICES: u32 = 20;

/// Passes data both ways until both ends have finished. Dropped before that, it resets both.
pub(super) async fn relay(
    mut client: TcpStream,
    upstream: SocketAddr,
    network: Network,
    open: Open,
) {
    let _open = open;
    // Until the end is a clean one, whatever ends this task resets the connection.
    let _ = client.set_zero_linger();
    if *network.fault.borrow() == Fault::Blackhole {
        swallow(&mut client).await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(upstream).await else {
        return;
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let _ = server.set_zero_linger();
    let ended = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = pump(from_client, to_server, network.clone(), Way::ToServer);
        let back = pump(from_server, to_client, network, Way::ToClient);
        tokio::try_join!(there, back)
    };
    if ended.is_ok() {
        // Both ends have said goodbye: no reset, which could overtake the last bytes.
        let _ = (linger_normally(&client), linger_normally(&server));
    }
}

/// Takes back the reset on drop.
#[allow(
    deprecated,
    reason = "the deprecated part is a linger above zero, which blocks"
)]
fn linger_normally(stream: &TcpStream) -> io::Result<()> {
    stream.set_linger(None)
}

/// A connection that was opened into a black hole stays there.
async fn swallow(client: &mut TcpStream) {
    let mut buffer = [0; 4_096];
    while matches!(client.read(&mut buffer).await, Ok(1..)) {}
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    ToClient,
    ToServer,
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    network: Network,
    way: Way,
) -> io::Result<()> {
    let mut buffer = vec![0; 16 * 1_024];
    let mut passed = 0;
    loop {
        let n = from.read(&mut buffer).await?;
        if n == 0 {
            return to.shutdown().await;
        }
        if way == Way::ToServer && network.number <= *network.doomed.borrow() {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let piece = &buffer[..n];
        // What counts is the network at the moment when the data comes.
        let now = *network.fault.borrow();
        match now {
            Fault::Blackhole => {}
            Fault::Delay(delay) => {
                tokio::time::sleep(delay).await;
                to.write_all(piece).await?;
            }
            Fault::HalfOpen(limit) if way == Way::ToClient => {
                let rest = limit.saturating_sub(passed).min(n);
                to.write_all(&piece[..rest]).await?;
            }
            Fault::Throttle(rate) => throttled(&mut to, piece, rate).await?,
            Fault::HalfOpen(_) | Fault::Pass | Fault::Refuse | Fault::Reset => {
                to.write_all(piece).await?;
            }
        }
        passed += n;
    }
}

async fn throttled(
    to: &mut (impl AsyncWrite + Unpin),
    piece: &[u8],
    rate: usize,
) -> io::Result<()> {
    let slice = (rate / SLICES as usize).max(1);
    let pause = Duration::from_secs(1) / SLICES;
    for part in piece.chunks(slice) {
        tokio::time::sleep(pause).await;
        to.write_all(part).await?;
    }
    Ok(())
}
