//! The live page of the run.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use pool_telemetry::{Listener, Registry};

use crate::live::ShownPools;

/// The variable that the console reads as well.
const TOKEN: &str = "POOLCTL_TOKEN";

/// Shows both pools at `address` and says where that is.
pub(crate) async fn open(address: &str, pools: &ShownPools) -> Result<Listener> {
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
    println!("live page: http://{}/", listener.address());
    if !given {
        println!("operator's token: {token}");
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
