//! The live page of the run, and a picture of it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use pool_telemetry::{Listener, Registry};
use test_browser::{Browser, BrowserError};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::live::ShownPools;
use crate::output::say;

/// The variable that the console reads as well.
const TOKEN: &str = "POOLCTL_TOKEN";

/// Shows both pools at `address` and says where that is.
pub(crate) async fn open(
    address: &str,
    pools: &ShownPools,
    stop: &CancellationToken,
) -> Result<Listener> {
    let registry = Registry::new();
    // Their own names differ from run to run, so that the servers can tell runs apart.
    registry.register_as("market-data/postgresql", Arc::new(pools.postgres.clone()))?;
    registry.register_as("market-data/mongodb", Arc::new(pools.mongodb.clone()))?;
    let (token, given) = match std::env::var(TOKEN) {
        Ok(token) => (token, true),
        Err(_) => (random_token().context("no token for operators")?, false),
    };
    let listener = Listener::builder(registry)
        .address(address)
        .token(token.clone())
        .start()
        .await?;
    say(
        stop,
        format_args!("live page: http://{}/", listener.address()),
    )?;
    if !given {
        say(stop, format_args!("operator's token: {token}"))?;
    }
    Ok(listener)
}

fn random_token() -> Result<String> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().fold(String::new(), |mut token, byte| {
        let _ = write!(token, "{byte:02x}");
        token
    }))
}

/// A picture of the page, taken once while the load bursts.
pub(crate) struct Picture {
    file: Option<PathBuf>,
    page: SocketAddr,
    taking: Option<JoinHandle<Result<PathBuf, BrowserError>>>,
}

impl Picture {
    pub(crate) const fn new(file: Option<PathBuf>, page: SocketAddr) -> Self {
        Self {
            file,
            page,
            taking: None,
        }
    }

    /// Begins to take it, the first time this is called.
    pub(crate) fn take(&mut self) {
        if let Some(file) = self.file.take() {
            let page = self.page;
            self.taking = Some(tokio::task::spawn_blocking(move || draw(page, file)));
        }
    }

    /// Waits until it is written.
    pub(crate) async fn finish(&mut self, stop: &CancellationToken) -> Result<()> {
        let Some(taking) = self.taking.take() else {
            return Ok(());
        };
        match taking.await? {
            Ok(file) => say(
                stop,
                format_args!("picture of the live page: {}", file.display()),
            )?,
            Err(missing @ BrowserError::Missing) => {
                say(stop, format_args!("no picture of the page: {missing}"))?;
            }
            Err(error) => return Err(error).context("no picture of the live page"),
        }
        Ok(())
    }
}

fn draw(page: SocketAddr, file: PathBuf) -> Result<PathBuf, BrowserError> {
    let mut browser = Browser::start()?;
    browser.resize(1440, 1000, false)?;
    browser.open(&format!("http://{page}/"))?;
    browser.until("document.querySelectorAll('.pool [data-field=acquired]').length === 2")?;
    // Two seconds of its own life, so that it shows what it is told and not only what was.
    browser.evaluate("new Promise(done => setTimeout(done, 2000))")?;
    browser.picture(&file)?;
    Ok(file)
}
