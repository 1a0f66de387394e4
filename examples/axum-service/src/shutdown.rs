//! The signals that the service follows.

use std::future::Future;

use anyhow::Result;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    ended: CancellationToken,
}

impl Signals {
    /// Takes the signals from now on.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            ended: CancellationToken::new(),
        })
    }

    /// Cancelled at SIGTERM and SIGINT.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Reloads at each SIGHUP, until the end.
    pub(crate) async fn follow<F: Future<Output = ()>>(mut self, mut reload: impl FnMut() -> F) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.hang_up.recv() => reload().await,
            }
        }
        self.ended.cancel();
    }
}
