//! Just enough of both wire protocols to know that a server is ready, and no driver for it.

pub(crate) mod mongo;
pub(crate) mod postgres;

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Connects with `within` for the connection and for each later read and write.
pub(crate) fn connect(address: SocketAddr, within: Duration) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, within)?;
    stream.set_read_timeout(Some(within))?;
    stream.set_write_timeout(Some(within))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Resolves a host name. The system's resolver has no deadline of its own, hence the thread.
pub(crate) fn resolve(host: &str, port: u16, within: Duration) -> io::Result<Vec<SocketAddr>> {
    let (sender, receiver) = mpsc::channel();
    let name = host.to_owned();
    thread::Builder::new()
        .name("test-servers-resolve".to_owned())
        .spawn(move || {
            let found = (name.as_str(), port)
                .to_socket_addrs()
                .map(Iterator::collect);
            let _ = sender.send(found);
        })?;
    receiver.recv_timeout(within).unwrap_or_else(|_| {
        Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!(
                "the name {host} did not resolve within {} s",
                within.as_secs()
            ),
        ))
    })
}
