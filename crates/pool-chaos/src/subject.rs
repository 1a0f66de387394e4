//! What is put under load, and who says what is true.

use std::collections::HashSet;
use std::future::Future;
use std::time::Duration;

use crate::consumers::SlowConsumers;

/// A pool of connections, or a driver that has its own.
///
/// Row `n` of the table under load holds [`value_of`]`(n)`.
pub trait Subject: Send + Sync + 'static {
    /// What a caller holds.
    type Guard: Send;

    /// The name in reports.
    fn name(&self) -> &'static str;

    /// Takes a connection, within the pool's own time.
    fn acquire(&self) -> impl Future<Output = Result<Self::Guard, Failure>> + Send;

    /// Writes a row; `Ok` is the server's word that it is there.
    fn write(
        &self,
        guard: &mut Self::Guard,
        row: i64,
    ) -> impl Future<Output = Result<(), Failure>> + Send;

    /// Reads a row; `None` when it is not there.
    fn read(
        &self,
        guard: &mut Self::Guard,
        row: i64,
    ) -> impl Future<Output = Result<Option<i64>, Failure>> + Send;

    /// How many connections it says it has; `None` where it does not say.
    fn open(&self) -> Option<u32>;

    /// How many callers it takes for served or waiting; `None` where it does not say.
    fn taken(&self) -> Option<u32> {
        None
    }

    /// How many connections a second it may begin while the server is not there; `None` where it
    /// promises nothing.
    fn attempts_allowed(&self) -> Option<f64> {
        None
    }

    /// Changes its maximum; `false` where that cannot be done.
    fn resize(&self, _max: u32) -> bool {
        false
    }

    /// Whether it may now and then open a connection more than it lends.
    fn may_open_more(&self) -> bool {
        false
    }

    /// Closes what is idle; the least connections of a moment depend on what went before.
    fn rest(&self) {}

    /// Adds a listener that never returns, and gives its metrics to readers that never read; `None`
    /// where it has neither.
    fn add_slow_consumers(&self) -> impl Future<Output = Option<SlowConsumers>> + Send {
        async { None }
    }

    /// Ends it, at the latest when `deadline` is over.
    fn close(&self, deadline: Duration) -> impl Future<Output = ()> + Send;
}

/// Why a caller was not served.
#[derive(Clone, Debug)]
#[allow(clippy::exhaustive_structs, reason = "each subject makes its own")]
pub struct Failure {
    /// The error's text.
    pub text: String,
    /// Whether it says what is wrong, beyond that a time was over.
    pub has_cause: bool,
}

impl Failure {
    /// One that says what is wrong.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "a function for `map_err`, which gives the error away"
    )]
    pub fn because(error: impl ToString) -> Self {
        Self {
            text: error.to_string(),
            has_cause: true,
        }
    }

    /// One that says no more than that a time was over.
    #[allow(
        clippy::needless_pass_by_value,
        reason = "a function for `map_err`, which gives the error away"
    )]
    pub fn without_cause(error: impl ToString) -> Self {
        Self {
            text: error.to_string(),
            has_cause: false,
        }
    }
}

/// Somebody with a connection of their own, past the proxy and the pool.
pub trait Witness: Send + Sync {
    /// Makes an empty table, and the user that subjects connect as.
    fn prepare(&self) -> impl Future<Output = ()> + Send;

    /// How many connections of the subject the server has.
    fn connections(&self) -> impl Future<Output = u32> + Send;

    /// Which of the rows are there, with their value.
    fn present(&self, rows: &[i64]) -> impl Future<Output = HashSet<i64>> + Send;

    /// Waits until the server takes writes.
    fn accepting(&self) -> impl Future<Output = ()> + Send;

    /// Has the primary refuse writes, and makes its replica the primary once `away` is over.
    ///
    /// # Panics
    ///
    /// There is no replica.
    fn switch_over(&self, _away: Duration) -> impl Future<Output = ()> + Send {
        async { panic!("nothing here has a replica") }
    }

    /// Changes the password of the subjects' user to a right or a wrong one.
    fn set_password(&self, right: bool) -> impl Future<Output = ()> + Send;

    /// Takes every connection that the server has left for ordinary users, or gives them back;
    /// `false` where that cannot be done.
    fn set_full(&self, full: bool) -> impl Future<Output = bool> + Send;
}

/// What row `n` holds: another number, so that an answer to somebody else's question shows.
#[must_use]
pub const fn value_of(row: i64) -> i64 {
    row.wrapping_mul(31).wrapping_add(7)
}
