//! What the driver's own pools do, server by server.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use mongodb::error::Error as DriverError;
use mongodb::event::cmap::{CmapEvent, ConnectionClosedReason};
use mongodb::options::ServerAddress;
use parking_lot::Mutex;
use pool_core::ServerState;
use serde::Serialize;

use crate::id_set::IdSet;

/// The sockets to one server at one moment, as the driver tells of them in its events
/// (the "Connection Monitoring and Pooling" specification of MongoDB's drivers).
///
/// The numbers are read one after another while the driver works, so that two of them can differ
/// by what happened in between. They do not contain the driver's monitoring connections: two to
/// each server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ServerSockets {
    /// Host and port, or the path of a Unix socket.
    pub address: String,
    /// Whether the driver lends sockets to this server: its last heartbeat succeeded and the
    /// driver has not cleared its pool since.
    pub ready: bool,
    /// Sockets that are connected and authenticated.
    pub open: u32,
    /// Of these, the ones that an operation uses now.
    pub in_use: u32,
    /// Sockets being connected and authenticated.
    pub connecting: u32,
    /// The most sockets that were open at once.
    pub peak_open: u32,
    /// Moves when the driver begins to open a socket.
    pub created: u64,
    /// Moves when a socket could not be connected or authenticated.
    pub establish_failures: u64,
    /// Moves when an operation got no socket.
    pub checkout_failures: u64,
    /// Moves when the driver distrusts all sockets to this server, after a failed heartbeat or a
    /// network error.
    pub cleared: u64,
    /// How long it took to connect and authenticate the latest socket, in microseconds.
    pub last_establish_micros: u64,
    /// Closed sockets by reason.
    pub closed: ClosedSockets,
    /// The latest error for which the driver took this server for unusable: a failed heartbeat, a
    /// broken socket, a user turned down. It stays when the server has been found again.
    pub last_error: Option<String>,
}

impl ServerSockets {
    /// Open sockets that no operation uses.
    #[must_use]
    pub const fn idle(&self) -> u32 {
        self.open.saturating_sub(self.in_use)
    }
}

impl From<ServerSockets> for ServerState {
    fn from(server: ServerSockets) -> Self {
        let mut state = Self::new(server.address);
        state.ready = server.ready;
        state.open = server.open;
        state.in_use = server.in_use;
        state.connecting = server.connecting;
        state.connect_failures = server.establish_failures;
        state.cleared = server.cleared;
        state.last_error = server.last_error;
        state
    }
}

/// Sockets closed since the pool was built, by the driver's reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ClosedSockets {
    /// Opened before the server's pool was cleared.
    pub stale: u64,
    /// Idle for longer than `idle_timeout`.
    pub idle: u64,
    /// An operation met an error on it.
    pub error: u64,
    /// An operation was dropped between its request and the answer.
    pub dropped: u64,
    /// The driver was shut down, or the server left the topology.
    pub pool_closed: u64,
}

impl ClosedSockets {
    /// The sum over all reasons.
    #[must_use]
    pub const fn total(&self) -> u64 {
        let Self {
            stale,
            idle,
            error,
            dropped,
            pool_closed,
        } = *self;
        stale + idle + error + dropped + pool_closed
    }
}

/// The counters of all servers that one driver client has known.
///
/// A list that only grows at its end: finding a server takes no lock, and a server that comes
/// back continues its own counters.
#[derive(Debug)]
pub(crate) struct Sockets {
    first: OnceLock<Box<Node>>,
    /// The most sockets in use at once on one server since it was last set back.
    peak_in_use: AtomicU32,
    /// How many sockets one server can have.
    ceiling: u32,
}

/// How a server stands in the driver's eyes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trust {
    pub(crate) ready: bool,
    /// How often the driver has lost its trust.
    pub(crate) cleared: u64,
}

#[derive(Debug)]
struct Node {
    counters: Counters,
    next: OnceLock<Box<Self>>,
}

#[derive(Debug)]
struct Counters {
    address: ServerAddress,
    ready: AtomicBool,
    open: AtomicU32,
    peak_open: AtomicU32,
    in_use: IdSet,
    connecting: IdSet,
    created: AtomicU64,
    establish_failures: AtomicU64,
    checkout_failures: AtomicU64,
    cleared: AtomicU64,
    last_establish: AtomicU64,
    stale: AtomicU64,
    idle: AtomicU64,
    error: AtomicU64,
    dropped: AtomicU64,
    pool_closed: AtomicU64,
    /// Written where the driver watches servers, never where it lends sockets.
    last_error: Mutex<Option<DriverError>>,
}

/// More places than connects can be under way at once: `max_connecting`, and a few that replace
/// sockets found stale.
const CONNECTING_PLACES: usize = 256;

impl Sockets {
    pub(crate) const fn new(ceiling: u32) -> Self {
        Self {
            first: OnceLock::new(),
            peak_in_use: AtomicU32::new(0),
            ceiling,
        }
    }

    /// Counts one event. Touches nothing but atomics once the server is known.
    pub(crate) fn record(&self, event: &CmapEvent) {
        use CmapEvent as E;
        match event {
            E::PoolCreated(event) => {
                let _ = self.of(&event.address);
            }
            E::PoolReady(event) => self.of(&event.address).ready.store(true, Ordering::Release),
            E::PoolCleared(event) => {
                let counters = self.of(&event.address);
                counters.ready.store(false, Ordering::Release);
                counters.cleared.fetch_add(1, Ordering::Release);
            }
            E::PoolClosed(event) => self
                .of(&event.address)
                .ready
                .store(false, Ordering::Relaxed),
            E::ConnectionCreated(event) => {
                let counters = self.of(&event.address);
                bump(&counters.created);
                counters.connecting.insert(event.connection_id);
            }
            E::ConnectionReady(event) => {
                self.of(&event.address)
                    .opened(event.connection_id, event.duration);
            }
            E::ConnectionClosed(event) => {
                self.of(&event.address)
                    .closed(event.connection_id, &event.reason);
            }
            E::ConnectionCheckoutFailed(event) => bump(&self.of(&event.address).checkout_failures),
            E::ConnectionCheckedOut(event) => {
                let in_use = &self.of(&event.address).in_use;
                in_use.insert(event.connection_id);
                self.peak_in_use.fetch_max(in_use.len(), Ordering::Relaxed);
            }
            E::ConnectionCheckedIn(event) => {
                // An operation that is dropped while its socket is on the way to it checks in
                // without having checked out; then there is nothing to remove.
                self.of(&event.address).in_use.remove(event.connection_id);
            }
            // What waits inside the driver is not counted: a dropped operation never leaves that
            // line in the driver's events. Callers wait in the line of the leases.
            _ => {}
        }
    }

    /// Notes why the driver takes `address` for unusable.
    pub(crate) fn note_error(&self, address: &ServerAddress, error: &DriverError) {
        *self.of(address).last_error.lock() = Some(error.clone());
    }

    /// One entry for each server, in the order in which they were met.
    pub(crate) fn snapshot(&self) -> Vec<ServerSockets> {
        self.iter().map(Counters::snapshot).collect()
    }

    /// How each server stands in the driver's eyes, in the order in which they were met.
    pub(crate) fn trust(&self) -> impl Iterator<Item = (&ServerAddress, Trust)> {
        self.iter().map(|counters| {
            // Read first: a clearing that comes in between is seen at the next look.
            let cleared = counters.cleared.load(Ordering::Acquire);
            let ready = counters.ready.load(Ordering::Acquire);
            (&counters.address, Trust { ready, cleared })
        })
    }

    /// How many sockets are open to `address`, or to all servers together.
    pub(crate) fn open(&self, address: Option<&str>) -> u32 {
        self.iter()
            .filter(|counters| {
                address.is_none_or(|address| counters.address.to_string() == address)
            })
            .map(|counters| counters.open.load(Ordering::Relaxed))
            .sum()
    }

    /// How many sockets operations use now, on all servers.
    pub(crate) fn in_use(&self) -> u32 {
        self.iter().map(|counters| counters.in_use.len()).sum()
    }

    /// Sets [`peak_in_use`](Self::peak_in_use) back.
    pub(crate) fn begin_peak(&self) {
        self.peak_in_use.store(0, Ordering::Relaxed);
    }

    /// The most sockets in use at once on one server since [`begin_peak`](Self::begin_peak).
    pub(crate) fn peak_in_use(&self) -> u32 {
        self.peak_in_use.load(Ordering::Relaxed)
    }

    /// Whether the driver trusts at least one server.
    pub(crate) fn any_ready(&self) -> bool {
        self.iter()
            .any(|counters| counters.ready.load(Ordering::Relaxed))
    }

    /// Whether `address` has been met.
    pub(crate) fn knows(&self, address: &str) -> bool {
        self.iter()
            .any(|counters| counters.address.to_string() == address)
    }

    fn iter(&self) -> impl Iterator<Item = &Counters> {
        std::iter::successors(self.first.get(), |node| node.next.get()).map(|node| &node.counters)
    }

    /// The counters of `address`, which is added to the end of the list when it is new.
    fn of(&self, address: &ServerAddress) -> &Counters {
        let mut place = &self.first;
        loop {
            let node = place.get_or_init(|| {
                Box::new(Node {
                    counters: Counters::new(address.clone(), self.ceiling),
                    next: OnceLock::new(),
                })
            });
            if node.counters.address == *address {
                return &node.counters;
            }
            place = &node.next;
        }
    }
}

impl Counters {
    fn new(address: ServerAddress, ceiling: u32) -> Self {
        Self {
            address,
            ready: AtomicBool::new(false),
            open: AtomicU32::new(0),
            peak_open: AtomicU32::new(0),
            in_use: IdSet::with_places(ceiling as usize),
            connecting: IdSet::with_places(CONNECTING_PLACES),
            created: AtomicU64::new(0),
            establish_failures: AtomicU64::new(0),
            checkout_failures: AtomicU64::new(0),
            cleared: AtomicU64::new(0),
            last_establish: AtomicU64::new(0),
            stale: AtomicU64::new(0),
            idle: AtomicU64::new(0),
            error: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            pool_closed: AtomicU64::new(0),
            last_error: Mutex::new(None),
        }
    }

    fn opened(&self, id: u32, took: Duration) {
        self.connecting.remove(id);
        let open = self.open.fetch_add(1, Ordering::Relaxed) + 1;
        self.peak_open.fetch_max(open, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.last_establish.store(micros, Ordering::Relaxed);
    }

    fn closed(&self, id: u32, reason: &ConnectionClosedReason) {
        if self.connecting.remove(id) {
            // It never was open.
            bump(&self.establish_failures);
            return;
        }
        // A socket whose pool is gone closes without checking in.
        self.in_use.remove(id);
        let _ = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                open.checked_sub(1)
            });
        match reason {
            ConnectionClosedReason::Stale => bump(&self.stale),
            ConnectionClosedReason::Idle => bump(&self.idle),
            ConnectionClosedReason::Dropped => bump(&self.dropped),
            ConnectionClosedReason::PoolClosed => bump(&self.pool_closed),
            _ => bump(&self.error),
        }
    }

    fn snapshot(&self) -> ServerSockets {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ServerSockets {
            address: self.address.to_string(),
            ready: self.ready.load(Ordering::Relaxed),
            open: self.open.load(Ordering::Relaxed),
            in_use: self.in_use.len(),
            connecting: self.connecting.len(),
            peak_open: self.peak_open.load(Ordering::Relaxed),
            created: read(&self.created),
            establish_failures: read(&self.establish_failures),
            checkout_failures: read(&self.checkout_failures),
            cleared: read(&self.cleared),
            last_establish_micros: read(&self.last_establish),
            closed: ClosedSockets {
                stale: read(&self.stale),
                idle: read(&self.idle),
                error: read(&self.error),
                dropped: read(&self.dropped),
                pool_closed: read(&self.pool_closed),
            },
            // The kind's text has no server response in it, the error's own does.
            last_error: self
                .last_error
                .lock()
                .as_ref()
                .map(|error| error.kind.to_string()),
        }
    }
}

fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use mongodb::bson::{Document, doc, from_document};
    use serde::de::DeserializeOwned;

    use super::*;

    /// The driver's events can be made only by reading them.
    fn event<E: DeserializeOwned + Into<CmapEvent>>(mut fields: Document, id: u32) -> CmapEvent {
        fields.insert("connectionId", id);
        from_document::<E>(fields).unwrap().into()
    }

    fn created(id: u32) -> CmapEvent {
        event::<mongodb::event::cmap::ConnectionCreatedEvent>(doc! {}, id)
    }

    fn ready(id: u32) -> CmapEvent {
        event::<mongodb::event::cmap::ConnectionReadyEvent>(doc! {}, id)
    }

    fn out(id: u32) -> CmapEvent {
        event::<mongodb::event::cmap::ConnectionCheckedOutEvent>(doc! {}, id)
    }

    fn back(id: u32) -> CmapEvent {
        event::<mongodb::event::cmap::ConnectionCheckedInEvent>(doc! {}, id)
    }

    fn closed(id: u32, reason: &str) -> CmapEvent {
        event::<mongodb::event::cmap::ConnectionClosedEvent>(doc! { "reason": reason }, id)
    }

    #[track_caller]
    fn after(events: &[CmapEvent]) -> ServerSockets {
        let sockets = Sockets::new(4);
        for event in events {
            sockets.record(event);
        }
        let mut servers = sockets.snapshot();
        assert_eq!(servers.len(), 1);
        servers.remove(0)
    }

    #[test]
    fn a_socket_is_connecting_then_open_then_in_use_then_closed() {
        let story = [created(1), ready(1), out(1), back(1), closed(1, "idle")];
        let at = |events: usize| {
            let server = after(&story[..events]);
            (server.connecting, server.open, server.in_use)
        };
        assert_eq!(at(1), (1, 0, 0));
        assert_eq!(at(2), (0, 1, 0));
        assert_eq!(at(3), (0, 1, 1));
        assert_eq!(at(4), (0, 1, 0));
        assert_eq!(at(5), (0, 0, 0));
        let server = after(&story);
        assert_eq!((server.closed.idle, server.closed.total()), (1, 1));
        assert_eq!((server.peak_open, server.created), (1, 1));
    }

    #[test]
    fn a_socket_that_never_opened_is_a_failure_and_no_loss() {
        let server = after(&[created(1), ready(1), created(2), closed(2, "error")]);
        assert_eq!((server.open, server.connecting), (1, 0));
        assert_eq!((server.establish_failures, server.closed.total()), (1, 0));
    }

    #[test]
    fn an_operation_dropped_on_its_way_checks_in_without_having_checked_out() {
        let server = after(&[created(1), ready(1), back(1), out(1), back(1), back(1)]);
        assert_eq!((server.open, server.in_use), (1, 0));
    }

    #[test]
    fn a_socket_that_closes_in_use_leaves_no_trace() {
        let server = after(&[created(1), ready(1), out(1), closed(1, "poolClosed")]);
        assert_eq!((server.open, server.in_use), (0, 0));
        assert_eq!(server.closed.pool_closed, 1);
    }
}
