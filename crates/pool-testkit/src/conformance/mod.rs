//! The contracts of the engine as tests that any backend runs.
//!
//! A backend says how to build a pool, how to use a connection, and what its server sees
//! ([`Backend`]); the suite does the rest, on real time, so that it runs against real servers.
//!
//! ```
//! use pool_core::{Pool, PoolBuilder, SharedError};
//! use pool_testkit::conformance::Backend;
//! use pool_testkit::{Script, ScriptedConnection, ScriptedManager};
//!
//! struct Scripted {
//!     manager: ScriptedManager,
//!     script: Script,
//! }
//!
//! impl Backend for Scripted {
//!     type Manager = ScriptedManager;
//!
//!     fn builder(&self) -> PoolBuilder<ScriptedManager> {
//!         Pool::builder(self.manager.another())
//!     }
//!
//!     async fn ping(&self, connection: &mut ScriptedConnection) -> Result<(), SharedError> {
//!         connection.query(std::time::Duration::ZERO).await.map_err(|error| std::sync::Arc::new(error) as _)
//!     }
//!
//!     async fn at_server(&self) -> u32 {
//!         self.script.open().try_into().unwrap()
//!     }
//! }
//! ```
//!
//! A file of the backend's own suite then reads
//! `pool_testkit::conformance_tests!(Scripted::start().await);`: one test for each contract.

mod backend;
mod cancel;
mod connects;
mod errors;
mod fifo;
mod liveness;
mod operations;
mod release;
mod resize;

pub use self::backend::{Backend, Sight};
pub use self::cancel::a_cancelled_acquire_loses_nothing;
pub use self::connects::connects_are_bounded_and_the_numbers_add_up;
pub use self::errors::an_error_says_why;
pub use self::fifo::callers_are_served_in_order;
pub use self::liveness::a_dead_connection_is_replaced;
pub use self::operations::{a_pool_drains, a_pool_is_operated_while_it_runs};
pub use self::release::a_return_costs_nothing_and_works_anywhere;
pub use self::resize::a_pool_is_resized_while_it_runs;

/// Makes a test of each contract, over a backend that the expression gives. It is evaluated for
/// each test, in an async block, so it may await.
///
/// The crate that calls it has `tokio` with the features `macros` and `rt-multi-thread`.
#[macro_export]
macro_rules! conformance_tests {
    ($backend:expr) => {
        $crate::conformance_tests! { @each $backend;
            callers_are_served_in_order,
            a_cancelled_acquire_loses_nothing,
            a_pool_is_resized_while_it_runs,
            connects_are_bounded_and_the_numbers_add_up,
            an_error_says_why,
            a_dead_connection_is_replaced,
            a_return_costs_nothing_and_works_anywhere,
            a_pool_is_operated_while_it_runs,
            a_pool_drains,
        }
    };
    (@each $backend:expr; $($contract:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $contract() {
                let backend = $backend;
                $crate::conformance::$contract(&backend).await;
            }
        )*
    };
}
