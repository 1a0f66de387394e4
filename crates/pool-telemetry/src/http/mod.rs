//! The listener: metrics for machines, a page for people, operations for those with the token.

mod answer;
mod assets;
mod explain;
mod monitor;
mod operations;
mod routes;
mod stream;
mod token;
mod view;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::monitor::Monitor;
use self::token::Token;
use crate::Registry;

/// The port of OpenTelemetry's Prometheus exporters.
const DEFAULT_ADDRESS: &str = "127.0.0.1:9464";

/// How long requests under way hold up the end of a listener.
const GRACE: Duration = Duration::from_secs(5);

/// Serves metrics, the live page and operations over HTTP, until it is stopped or dropped.
///
/// | path | gives |
/// |---|---|
/// | `GET /` | the live page |
/// | `GET /metrics` | [`METRICS`](crate::METRICS) as text, OpenMetrics when asked for |
/// | `GET /api/pools` | every pool as JSON |
/// | `GET /api/pools/{name}` | one pool |
/// | `GET /api/pools/{name}/explain` | why it has the size it has |
/// | `GET /api/stream` | server-sent events: `history` once, then `pools` each second and `event` |
/// | `POST /api/pools/{name}/resize` | `{"min": 2, "max": 20}` |
/// | `POST /api/pools/{name}/pause` | `{"seconds": 30}` |
/// | `POST /api/pools/{name}/resume` | |
/// | `POST /api/pools/{name}/evict` | `{"which": "idle"}` or `{"which": "all"}` |
/// | `POST /api/pools/{name}/policy` | `{"mode": "advise"}`, `{"sizing": {the eight fields}}` or both |
///
/// Whatever changes a pool wants `Authorization: Bearer <token>`. A `/` in a pool's name is written
/// `%2F` in a path.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
}

impl Listener {
    /// Begins a listener that shows the pools of `registry`.
    pub fn builder(registry: Registry) -> ListenerBuilder {
        ListenerBuilder {
            registry,
            address: DEFAULT_ADDRESS.to_owned(),
            token: None,
        }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it: streams are closed, requests under way are answered, for at most 5 s. A client that
    /// has sent half a request by then is not waited for.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it ends all the same.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if let Some(mut serving) = self.serving.take()
            && tokio::time::timeout(GRACE, &mut serving).await.is_err()
        {
            serving.abort();
            // It cannot fail; were it to panic, it would have ended as well.
            drop(serving.await);
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Settings of a [`Listener`].
#[derive(Debug)]
#[must_use = "a listener listens once it is started"]
pub struct ListenerBuilder {
    registry: Registry,
    address: String,
    token: Option<SecretString>,
}

impl ListenerBuilder {
    /// Where to listen, `host:port`; port 0 takes a free one. Defaults to `127.0.0.1:9464`.
    ///
    /// Whoever reaches the address can read. Beyond loopback, put something before it that knows
    /// who may.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.address = address.into();
        self
    }

    /// Lets those who send this token change pools. Defaults to nobody.
    pub fn token(mut self, token: impl Into<SecretString>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Begins to listen.
    ///
    /// # Errors
    ///
    /// An address that cannot be bound, or a token of fewer than 16 characters.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: what was not returned does not listen.
    pub async fn start(self) -> Result<Listener, StartError> {
        let Self {
            registry,
            address,
            token,
        } = self;
        let token = match token {
            Some(token) => Some(Token::new(token.expose_secret()).ok_or(StartError::WeakToken)?),
            None => None,
        };
        let bind = |source| StartError::Bind {
            address: address.clone(),
            source,
        };
        let listening = TcpListener::bind(&address).await.map_err(bind)?;
        let bound = listening.local_addr().map_err(bind)?;
        if !bound.ip().is_loopback() {
            tracing::warn!(address = %bound, "the pools' page can be read from other machines");
        }
        let stop = CancellationToken::new();
        let monitor = Monitor::new(registry, token.is_some());
        let router = routes::router(Arc::clone(&monitor), token, stop.clone());
        let stopped = stop.clone();
        let serving = tokio::spawn(async move {
            let watching = tokio::spawn(monitor.watch(stopped.clone()));
            let server = axum::serve(listening, router)
                .with_graceful_shutdown(stopped.clone().cancelled_owned());
            if let Err(error) = server.await {
                tracing::error!(%error, "the pools' listener ended");
            }
            stopped.cancel();
            // Ends with the token that has just been cancelled.
            drop(watching.await);
        });
        Ok(Listener {
            address: bound,
            stop,
            serving: Some(serving),
        })
    }
}

/// A listener could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address could not be bound.
    #[error("cannot listen on {address}")]
    #[non_exhaustive]
    Bind {
        /// The address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The token is too short to keep anybody out.
    #[error("the token has fewer than 16 characters: use a long random one")]
    WeakToken,
}
