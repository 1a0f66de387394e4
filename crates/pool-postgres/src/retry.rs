//! Transactions that are run again when the server could not fit them in.

use std::error::Error as StdError;
use std::future::Future;
use std::time::Duration;

use futures_util::future::BoxFuture;
use sqlx::Error;

use crate::error::acquire_error;
use crate::options::TransactionOptions;
use crate::{PgTransaction, PostgresPool, sqlstate};

/// An error of the work in [`PostgresPool::run_in_transaction`] in which a failed statement can
/// be found.
///
/// It is implemented for [`sqlx::Error`] and for boxed errors, whose sources are searched.
///
/// # Example
///
/// ```
/// use pool_postgres::TransactionError;
///
/// #[derive(Debug)]
/// enum TransferError {
///     Overdrawn,
///     Database(sqlx::Error),
/// }
///
/// impl From<sqlx::Error> for TransferError {
///     fn from(error: sqlx::Error) -> Self {
///         Self::Database(error)
///     }
/// }
///
/// impl TransactionError for TransferError {
///     fn as_sqlx(&self) -> Option<&sqlx::Error> {
///         match self {
///             Self::Database(error) => Some(error),
///             Self::Overdrawn => None,
///         }
///     }
/// }
/// ```
pub trait TransactionError: From<Error> {
    /// The failed statement, if that is what it was.
    fn as_sqlx(&self) -> Option<&Error>;
}

impl TransactionError for Error {
    fn as_sqlx(&self) -> Option<&Error> {
        Some(self)
    }
}

impl TransactionError for Box<dyn StdError + Send + Sync> {
    fn as_sqlx(&self) -> Option<&Error> {
        find(&**self)
    }
}

impl TransactionError for Box<dyn StdError> {
    fn as_sqlx(&self) -> Option<&Error> {
        find(&**self)
    }
}

fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// How often, and after which pauses, a transaction is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a policy does nothing until a transaction runs with it"]
pub struct RetryPolicy {
    attempts: u32,
    first: Duration,
    most: Duration,
}

impl RetryPolicy {
    /// At most five attempts, with pauses drawn between zero and a bound that starts at 5 ms and
    /// doubles up to 200 ms.
    pub const fn new() -> Self {
        Self {
            attempts: 5,
            first: Duration::from_millis(5),
            most: Duration::from_millis(200),
        }
    }

    /// How often the work is begun at the most; zero counts as one. Defaults to 5.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// The bound of the first pause, and of any. Defaults to 5 ms and 200 ms.
    pub const fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.first = first;
        self.most = most;
        self
    }

    fn pause(&self, failures: u32) -> Duration {
        let bound = self
            .first
            .saturating_mul(1 << failures.min(20))
            .min(self.most);
        bound.mul_f64(fastrand::f64())
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::new()
    }
}

impl PostgresPool {
    /// Runs `work` in a transaction and commits it; runs it again, at most five times in all,
    /// when the server could not fit it in (SQLSTATE 40001 `serialization_failure` and 40P01
    /// `deadlock_detected`), be it in a statement or in the commit.
    ///
    /// `work` must do nothing that a rollback does not undo.
    ///
    /// # Errors
    ///
    /// The error of `work`, after which the transaction has been rolled back; no connection, or
    /// the last attempt's failure.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe, except that after the commit has been sent it is not known whether the
    /// server committed.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(pool: pool_postgres::PostgresPool) -> sqlx::Result<()> {
    /// let rows = pool
    ///     .run_in_transaction(|transaction| Box::pin(async move {
    ///         sqlx::query("update accounts set balance = balance - 5 where id = 1")
    ///             .execute(&mut *transaction)
    ///             .await?;
    ///         let done = sqlx::query("update accounts set balance = balance + 5 where id = 2")
    ///             .execute(&mut *transaction)
    ///             .await?;
    ///         Ok::<_, sqlx::Error>(done.rows_affected())
    ///     }))
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    #[track_caller]
    pub fn run_in_transaction<'a, T, E, W>(
        &'a self,
        work: W,
    ) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        W: for<'t> FnMut(&'t mut PgTransaction<'a>) -> BoxFuture<'t, Result<T, E>> + Send + 'a,
        T: Send + 'a,
        E: TransactionError + Send + 'a,
    {
        self.run_in_transaction_with(TransactionOptions::new(), RetryPolicy::new(), work)
    }

    /// The same with options for the transaction and a policy for the retries.
    ///
    /// # Errors
    ///
    /// As [`run_in_transaction`](Self::run_in_transaction).
    ///
    /// # Cancel safety
    ///
    /// As [`run_in_transaction`](Self::run_in_transaction).
    #[track_caller]
    pub fn run_in_transaction_with<'a, T, E, W>(
        &'a self,
        options: TransactionOptions,
        policy: RetryPolicy,
        mut work: W,
    ) -> impl Future<Output = Result<T, E>> + Send + 'a
    where
        W: for<'t> FnMut(&'t mut PgTransaction<'a>) -> BoxFuture<'t, Result<T, E>> + Send + 'a,
        T: Send + 'a,
        E: TransactionError + Send + 'a,
    {
        // Made here, the first attempt knows the caller's line.
        let mut begin = Some(self.begin_with(options));
        async move {
            let mut failures = 0;
            loop {
                let begin = begin.take().unwrap_or_else(|| self.begin_with(options));
                let outcome = attempt(begin.await?, &mut work).await;
                let Err(error) = &outcome else { return outcome };
                failures += 1;
                let again = error.as_sqlx().is_some_and(sqlstate::is_worth_another_run);
                if !again || failures >= policy.attempts {
                    return outcome;
                }
                tokio::time::sleep(policy.pause(failures - 1)).await;
            }
        }
    }
}

async fn attempt<'a, T, E, W>(mut transaction: PgTransaction<'a>, work: &mut W) -> Result<T, E>
where
    W: for<'t> FnMut(&'t mut PgTransaction<'a>) -> BoxFuture<'t, Result<T, E>>,
    E: TransactionError,
{
    match work(&mut transaction).await {
        Ok(value) => {
            transaction.commit().await?;
            Ok(value)
        }
        Err(error) => {
            // Heard here, it does not matter how the statement was spelled. One that got no
            // connection of another pool says nothing of this one.
            if let Some(error) = error.as_sqlx()
                && acquire_error(error).is_none()
            {
                transaction.hear(error);
            }
            // Waited for, so that an attempt never meets the locks of the one before it. The
            // error of the work says more than that of a rollback on a broken connection.
            let _ = transaction.rollback().await;
            Err(error)
        }
    }
}
