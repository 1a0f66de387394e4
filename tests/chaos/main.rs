//! Short forms of what `cargo xtask chaos` runs for long.
//!
//! A program of its own, whose tests take turns: how often a connect found nobody listening is
//! counted by the kernel, for all of the machine.

mod mongo;
mod postgres;

use std::time::Duration;

use tokio::sync::Mutex;

/// Whose turn it is.
static TURN: Mutex<()> = Mutex::const_new(());

/// What a busy machine may add to the time of a caller.
const NOISE: Duration = Duration::from_secs(1);
