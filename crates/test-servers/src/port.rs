//! Free ports on the loopback address.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Below the range from which systems take the ports of outgoing connections: a port from that
/// range can be taken by any client in the moment between a server's end and its restart.
const FIRST: u16 = 20_000;
const LAST: u16 = 31_999;

/// How many ports a start tries: another process may take one between our look and the server's.
pub(crate) const ATTEMPTS: usize = 5;

pub(crate) fn free() -> io::Result<u16> {
    let span = u64::from(LAST - FIRST) + 1;
    for _ in 0..200 {
        let random = u64::from_str_radix(&crate::secret::password()?[..8], 16).unwrap_or_default();
        let port = FIRST + u16::try_from(random % span).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::new(
        io::ErrorKind::AddrInUse,
        format!("no free port in {FIRST}-{LAST}"),
    ))
}
