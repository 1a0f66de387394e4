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

    /// Reloads at each SIGHUP, until the end. A reload that is under way then is given up: it has
    /// changed nothing yet.
    pub(crate) async fn follow<F: Future<Output = ()>>(mut self, mut reload: impl FnMut() -> F) {
        let reloading = async {
            loop {
                match self.hang_up.recv().await {
                    Some(()) => reload().await,
                    None => std::future::pending().await,
                }
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            () = reloading => {}
        }
        self.ended.cancel();
    }
}
