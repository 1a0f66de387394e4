//! Pools to look at, and programs that look.

use std::process::{Command, Output};
use std::time::Duration;

use pool_core::Pool;
use pool_telemetry::{Listener, Registry};
use pool_testkit::{Script, ScriptedManager};

pub(crate) const TOKEN: &str = "a token that nobody guesses";

/// A pool of scripted connections.
pub(crate) fn pool(name: &str) -> (Pool<ScriptedManager>, Script) {
    let (manager, script) = ScriptedManager::new();
    let pool = Pool::builder(manager)
        .name(name)
        .limits(1, 4)
        .acquire_timeout(Duration::from_secs(60))
        .idle_timeout(None)
        .build()
        .unwrap();
    (pool, script)
}

pub(crate) async fn listen(registry: &Registry, address: &str) -> Listener {
    Listener::builder(registry.clone())
        .address(address)
        .token(TOKEN)
        .start()
        .await
        .unwrap()
}

/// A program's output; that of a program that says no is told.
#[track_caller]
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
