//! What the tests of pools need: a server that follows a script, a network that misbehaves on
//! demand, and one suite of contracts for every backend.
//!
//! A pool is only as good as its worst day, and a real server has few bad days on command. So:
//!
//! ```
//! use pool_core::{ConnectFault, Pool};
//! use pool_testkit::{Answer, ScriptedManager};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (manager, script) = ScriptedManager::new();
//! let pool = Pool::builder(manager).limits(0, 4).build()?;
//!
//! script.connect().next(1, Answer::Fails(ConnectFault::Permanent));
//! assert!(pool.acquire().await.is_err());
//! assert_eq!(script.connect().calls(), 1);
//! # Ok(())
//! # }
//! ```
//!
//! - [`ScriptedManager`] with its [`Script`]: connects, checks, cleanings and closes that work,
//!   fail, hang, take their time or panic, and the counts that a server would see.
//! - [`FaultProxy`]: a TCP proxy on loopback that passes, refuses, swallows, resets, delays,
//!   falls silent or throttles.
//! - [`conformance`]: the contracts of the engine as test functions over a
//!   [`Backend`](conformance::Backend); [`conformance_tests!`] makes tests of them.
//! - [`eventually`]: waiting for a condition with a deadline, instead of sleeping and hoping.

pub mod conformance;
mod proxy;
mod scripted;
mod wait;

pub use crate::proxy::{Fault, FaultProxy};
pub use crate::scripted::{
    Act, Answer, Script, ScriptedConnection, ScriptedError, ScriptedManager,
};
pub use crate::wait::{eventually, in_time, settle};
