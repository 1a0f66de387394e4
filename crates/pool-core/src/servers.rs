//! What is below a pool that does not keep the sockets itself.

use serde::Serialize;

/// The sockets to one server below a pool whose connections are not sockets themselves: a pool of
/// leases on a client that keeps its own. From [`PoolControl::servers`](crate::PoolControl::servers).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ServerState {
    /// Host and port, or the path of a Unix socket.
    pub address: String,
    /// Whether the client lends sockets to this server at this moment.
    pub ready: bool,
    /// Sockets that are connected and authenticated, in use or not.
    pub open: u32,
    /// Of these, the ones that an operation uses now.
    pub in_use: u32,
    /// Sockets being connected and authenticated.
    pub connecting: u32,
    /// Moves when a socket could not be connected or authenticated.
    pub connect_failures: u64,
    /// Moves when the client distrusts all its sockets to this server.
    pub cleared: u64,
    /// The latest error for which the client took the server for unusable, also when it has been
    /// found again since.
    pub last_error: Option<String>,
}

impl ServerState {
    /// A server without sockets.
    #[must_use]
    pub fn new(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            ..Self::default()
        }
    }
}
