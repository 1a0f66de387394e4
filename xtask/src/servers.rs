//! The servers a command needs while it runs.

use std::process::Command;

use anyhow::Result;
use test_servers::{
    Environment, Kind, MongoOptions, PostgresOptions, Server, StartError, redacted,
};

use crate::workspace::is_ci;

/// Starts a server with the defaults, or gives the one the environment names.
pub(crate) fn start(kind: Kind, environment: &Environment) -> Result<Server, StartError> {
    let server = match kind {
        Kind::Mongo => MongoOptions::default().start(environment)?,
        _ => PostgresOptions::default().start(environment)?,
    };
    eprintln!("{kind}: {} ({})", redacted(server.url()), server.origin());
    Ok(server)
}

/// Every server of `kinds`; they end when the result is dropped.
pub(crate) fn all(kinds: &[Kind]) -> Result<Vec<Server>> {
    let environment = Environment::from_env()?;
    kinds
        .iter()
        .map(|kind| Ok(start(*kind, &environment)?))
        .collect()
}

/// Every server this machine can have. One it cannot have is announced, so that nobody takes tests
/// that did not run for tests that passed; where nobody reads, it is an error.
pub(crate) fn all_that_can_be_had() -> Result<Vec<Server>> {
    let environment = Environment::from_env()?;
    let mut servers = Vec::new();
    for kind in Kind::ALL {
        match start(kind, &environment) {
            Ok(server) => servers.push(server),
            Err(error @ StartError::NoSource { .. }) if !is_ci() => {
                eprintln!("==================================================================");
                eprintln!("SKIPPED: every test that needs {kind}. {error}");
                eprintln!("==================================================================");
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(servers)
}

/// Tells `command` where the servers are.
pub(crate) fn tell(command: &mut Command, servers: &[Server]) {
    for server in servers {
        command.env(server.kind().variable(), server.url());
    }
}
