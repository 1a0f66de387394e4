//! A network that misbehaves on demand.

mod relay;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// Takes new connections and swallows every byte, old connections included: a packet filter
    /// that drops. Nothing is answered, nothing ends.
    Blackhole,
    /// Passes each piece of data this much later.
    Delay(Duration),
    /// Passes this many bytes of each connection from the server, then falls silent: a server
    /// that froze after the handshake.
    HalfOpen(usize),
    /// Passes everything.
    Pass,
    /// Closes the listener, so that connects are refused; connections that exist go on.
    Refuse,
    /// Resets every connection, and every new one at once.
    Reset,
    /// Passes this many bytes a second in each direction of each connection.
    Throttle(usize),
}

/// A TCP proxy on loopback in front of a server. Ends, with all its connections, when dropped.
///
/// # Example
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use pool_testkit::{Fault, FaultProxy};
///
/// let proxy = FaultProxy::start(([127, 0, 0, 1], 5432).into()).await?;
/// // ... a pool that connects to `proxy.address()` ...
/// proxy.set(Fault::Refuse).await;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    orders: mpsc::UnboundedSender<Order>,
    counts: Arc<Counts>,
    keeper: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
}

#[derive(Debug)]
enum Order {
    Cut(oneshot::Sender<()>),
    CutWhenUsed(oneshot::Sender<()>),
    Redirect(SocketAddr, oneshot::Sender<()>),
    Set(Fault, oneshot::Sender<()>),
}

impl FaultProxy {
    /// Listens on a free port of loopback and passes to `upstream`.
    ///
    /// # Errors
    ///
    /// No port can be bound.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: nothing is left behind.
    pub async fn start(upstream: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let (orders, receiver) = mpsc::unbounded_channel();
        let keeper = Keeper {
            address,
            upstream,
            counts: Arc::clone(&counts),
            fault: watch::Sender::new(Fault::Pass),
            doomed: watch::Sender::new(0),
            relays: JoinSet::new(),
        };
        Ok(Self {
            address,
            orders,
            counts,
            keeper: tokio::spawn(keeper.keep(listener, receiver)),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes the network behave so from now on; returns once it does.
    ///
    /// # Panics
    ///
    /// Another process has taken the port while the proxy refused connections.
    ///
    /// # Cancel safety
    ///
    /// The order is carried out even so.
    pub async fn set(&self, fault: Fault) {
        self.order(|done| Order::Set(fault, done)).await;
    }

    /// Resets every connection that exists, whatever the network does otherwise.
    ///
    /// # Cancel safety
    ///
    /// The order is carried out even so.
    pub async fn cut_all(&self) {
        self.order(Order::Cut).await;
    }

    /// Resets each connection that exists now as soon as its client sends something: it looks alive
    /// until it is used.
    ///
    /// # Cancel safety
    ///
    /// The order is carried out even so.
    pub async fn cut_when_used(&self) {
        self.order(Order::CutWhenUsed).await;
    }

    /// Passes new connections to another server from now on, as an address does that moves with the
    /// primary; connections that exist stay with theirs.
    ///
    /// # Panics
    ///
    /// As [`set`](Self::set).
    ///
    /// # Cancel safety
    ///
    /// The order is carried out even so.
    pub async fn redirect(&self, upstream: SocketAddr) {
        self.order(|done| Order::Redirect(upstream, done)).await;
    }

    /// Connections taken since the start.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    #[must_use]
    pub fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    async fn order(&self, order: impl FnOnce(oneshot::Sender<()>) -> Order) {
        let (done, is_done) = oneshot::channel();
        let sent = self.orders.send(order(done));
        assert!(
            sent.is_ok() && is_done.await.is_ok(),
            "the proxy on {} has ended; its port may have been taken",
            self.address
        );
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        // The keeper owns the listener and the connections.
        self.keeper.abort();
    }
}

/// The task that listens and takes orders.
struct Keeper {
    address: SocketAddr,
    upstream: SocketAddr,
    counts: Arc<Counts>,
    fault: watch::Sender<Fault>,
    /// How many connections, counted from the first, end when they are used.
    doomed: watch::Sender<usize>,
    relays: JoinSet<()>,
}

impl Keeper {
    async fn keep(mut self, listener: TcpListener, mut orders: mpsc::UnboundedReceiver<Order>) {
        let mut listener = Some(listener);
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    None => return,
                    Some(Order::Cut(done)) => {
                        self.cut().await;
                        let _ = done.send(());
                    }
                    Some(Order::CutWhenUsed(done)) => {
                        let now = self.counts.accepted.load(Ordering::SeqCst);
                        self.doomed.send_replace(now);
                        let _ = done.send(());
                    }
                    Some(Order::Redirect(upstream, done)) => {
                        self.upstream = upstream;
                        let _ = done.send(());
                    }
                    Some(Order::Set(fault, done)) => {
                        self.fault.send_replace(fault);
                        if fault == Fault::Refuse {
                            listener = None;
                        } else if listener.is_none() {
                            // Without the port there is no proxy: the next order says so.
                            let Ok(again) = TcpListener::bind(self.address).await else { return };
                            listener = Some(again);
                        }
                        if fault == Fault::Reset {
                            self.cut().await;
                        }
                        let _ = done.send(());
                    }
                },
                client = accept(listener.as_ref()) => self.admit(client),
                Some(_) = self.relays.join_next() => {}
            }
        }
    }

    fn admit(&mut self, client: TcpStream) {
        let open = Open::new(&self.counts);
        if *self.fault.borrow() == Fault::Reset {
            let _ = client.set_zero_linger();
            return;
        }
        let network = Network {
            fault: self.fault.subscribe(),
            doomed: self.doomed.subscribe(),
            number: self.counts.accepted.load(Ordering::SeqCst),
        };
        self.relays
            .spawn(relay::relay(client, self.upstream, network, open));
    }

    /// Each stream is set to end with a reset, so ending its task resets it.
    async fn cut(&mut self) {
        self.relays.shutdown().await;
    }
}

/// The next client; never, while nothing listens.
async fn accept(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else {
        return std::future::pending().await;
    };
    loop {
        match listener.accept().await {
            Ok((client, _)) => return client,
            // The client was gone again, or the process is short of sockets for a moment.
            Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
        }
    }
}

/// What the network is to one connection.
#[derive(Clone)]
struct Network {
    fault: watch::Receiver<Fault>,
    doomed: watch::Receiver<usize>,
    /// Which connection it is, counted from one.
    number: usize,
}

/// One connection, counted for as long as it is open.
struct Open(Arc<Counts>);

impl Open {
    fn new(counts: &Arc<Counts>) -> Self {
        counts.accepted.fetch_add(1, Ordering::SeqCst);
        counts.open.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}
