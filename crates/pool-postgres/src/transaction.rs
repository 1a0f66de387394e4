//! Transactions and savepoints that survive being dropped and cancelled at any point.

use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::task::{Context, Waker};

use sqlx::{Connection as _, Error, PgConnection, SqlSafeStr as _, SqlStr};
use sqlx_core::transaction::TransactionManager as _;
use sqlx_postgres::PgTransactionManager;

use crate::error::to_sqlx;
use crate::options::TransactionOptions;
use crate::sqlstate::{Verdict, judge};
use crate::{PgPooledConnection, PostgresPool};

/// A transaction, or a savepoint inside one, that is rolled back unless it is committed.
///
/// From [`PostgresPool::begin`] it owns its connection and is `'static`; from
/// [`PgPooledConnection::begin`] and [`PgTransaction::begin`] it borrows it. It derefs to
/// [`PgConnection`]: `query.execute(&mut *transaction)`.
///
/// Dropping it does no I/O: the `ROLLBACK` is queued and sent by whoever uses the connection
/// next, which for an owned one is a cleaning task of the pool. No other caller ever works inside
/// an open transaction.
#[must_use = "a transaction that is not committed is rolled back"]
pub struct PgTransaction<'t> {
    connection: Held<'t>,
    /// 1 for a transaction, more for a savepoint.
    level: usize,
    open: bool,
    read_only: bool,
}

enum Held<'t> {
    Borrowed(&'t mut PgPooledConnection),
    Owned(PgPooledConnection),
}

impl Deref for Held<'_> {
    type Target = PgPooledConnection;

    fn deref(&self) -> &PgPooledConnection {
        match self {
            Self::Borrowed(connection) => connection,
            Self::Owned(connection) => connection,
        }
    }
}

impl DerefMut for Held<'_> {
    fn deref_mut(&mut self) -> &mut PgPooledConnection {
        match self {
            Self::Borrowed(connection) => connection,
            Self::Owned(connection) => connection,
        }
    }
}

impl PostgresPool {
    /// Takes a connection and begins a transaction on it.
    ///
    /// # Errors
    ///
    /// No connection could be acquired (see [`acquire_error`](Self::acquire_error)), or `BEGIN`
    /// failed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a transaction that had already begun is rolled back before its connection is
    /// lent again.
    #[track_caller]
    pub fn begin(
        &self,
    ) -> impl Future<Output = Result<PgTransaction<'static>, Error>> + Send + use<> {
        self.begin_with(TransactionOptions::new())
    }

    /// The same with an isolation level, read-only or deferrable.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    ///
    /// # Cancel safety
    ///
    /// As [`begin`](Self::begin).
    ///
    /// # Example
    ///
    /// ```no_run
    /// use pool_postgres::{IsolationLevel, PostgresPool, TransactionOptions};
    ///
    /// # async fn report(pool: &PostgresPool) -> sqlx::Result<()> {
    /// let options = TransactionOptions::new()
    ///     .isolation(IsolationLevel::RepeatableRead)
    ///     .read_only();
    /// let mut snapshot = pool.begin_with(options).await?;
    /// let closes = sqlx::query("select close from prices").fetch_all(&mut snapshot).await?;
    /// snapshot.commit().await
    /// # }
    /// ```
    #[track_caller]
    pub fn begin_with(
        &self,
        options: TransactionOptions,
    ) -> impl Future<Output = Result<PgTransaction<'static>, Error>> + Send + use<> {
        let acquired = self.acquire();
        async move {
            let connection = acquired.await.map_err(to_sqlx)?;
            PgTransaction::start(Held::Owned(connection), options).await
        }
    }
}

impl PgPooledConnection {
    /// Begins a transaction on this connection.
    ///
    /// # Errors
    ///
    /// `BEGIN` failed.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a transaction that had already begun is rolled back by the next use of the
    /// connection. (`Connection::begin` of sqlx 0.9, reached through the deref, is not: cancelled
    /// between `BEGIN` and its answer it leaves the transaction open.)
    pub async fn begin(&mut self) -> Result<PgTransaction<'_>, Error> {
        self.begin_with(TransactionOptions::new()).await
    }

    /// The same with an isolation level, read-only or deferrable.
    ///
    /// # Errors
    ///
    /// As [`begin`](Self::begin).
    ///
    /// # Cancel safety
    ///
    /// As [`begin`](Self::begin).
    pub async fn begin_with(
        &mut self,
        options: TransactionOptions,
    ) -> Result<PgTransaction<'_>, Error> {
        PgTransaction::start(Held::Borrowed(self), options).await
    }
}

impl<'t> PgTransaction<'t> {
    async fn start(connection: Held<'t>, options: TransactionOptions) -> Result<Self, Error> {
        let mut begun = Self {
            level: 1,
            open: true,
            read_only: options.is_read_only(),
            connection,
        };
        begun.connection.managed().usable()?;
        begun.connection.settle().await?;
        begun.connection.managed_mut().suspect = false;
        let beginning = Beginning {
            connection: &mut begun.connection,
            enclosing: 0,
            answered: false,
        };
        if let Err(error) = beginning.answer(Some(options.statement())).await {
            begun.open = false;
            begun.hear(&error);
            return Err(error);
        }
        Ok(begun)
    }

    /// Sets a savepoint and works inside it.
    ///
    /// # Errors
    ///
    /// `SAVEPOINT` failed, as it does after an error in the transaction.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe, because sqlx 0.9 then loses count of its savepoints: the *whole
    /// transaction* is rolled back, each statement after that fails with SQLSTATE 25P02, and so
    /// does [`commit`](Self::commit).
    pub async fn begin(&mut self) -> Result<PgTransaction<'_>, Error> {
        self.connection.settle().await?;
        self.connection.managed().usable()?;
        if self.connection.managed().aborted {
            return Err(aborted());
        }
        let beginning = Beginning {
            connection: &mut self.connection,
            enclosing: self.level,
            answered: false,
        };
        if let Err(error) = beginning.answer(None).await {
            self.hear(&error);
            return Err(error);
        }
        Ok(PgTransaction {
            level: self.level + 1,
            open: true,
            read_only: self.read_only,
            connection: Held::Borrowed(&mut self.connection),
        })
    }

    /// Commits the transaction, or releases the savepoint.
    ///
    /// # Errors
    ///
    /// The server refused, for instance because of a deferred constraint; the transaction is
    /// rolled back. So it is, with SQLSTATE 25P02, when a statement had failed before: PostgreSQL
    /// answers such a `COMMIT` with success and a rollback, and sqlx passes the success on. (Seen
    /// here when the statement ran on `&mut transaction`, not on `&mut *transaction`.)
    ///
    /// After an error of the connection itself nobody can know whether the server committed.
    ///
    /// # Cancel safety
    ///
    /// The connection is safe: it is clean before it is lent again. Whether the server committed
    /// is not known to a caller that does not wait for the answer.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.connection.managed().usable()?;
        if self.connection.managed().aborted {
            return Err(aborted());
        }
        if self.level == 1 && self.connection.managed().suspect {
            // The rollback is queued by the drop.
            sqlx::raw_sql("select").execute(&mut *self).await?;
        }
        let outcome = PgTransactionManager::commit(&mut self).await;
        match &outcome {
            Ok(()) => self.open = false,
            Err(error) => self.hear(error),
        }
        outcome
    }

    /// Rolls the transaction back, or goes back to the savepoint, and waits for the answer.
    ///
    /// # Errors
    ///
    /// Only those of the connection itself.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it is rolled back all the same.
    pub async fn rollback(mut self) -> Result<(), Error> {
        self.connection.managed().usable()?;
        if self.connection.managed().aborted {
            // Its drop queues what is to be done, and the next use of the connection waits for it.
            return Ok(());
        }
        let outcome = PgTransactionManager::rollback(&mut self).await;
        match &outcome {
            Ok(()) => {
                self.came_to_nothing();
                self.open = false;
            }
            Err(error) => self.hear(error),
        }
        outcome
    }

    /// It is not committed; perhaps because of an error that the pool did not see.
    fn came_to_nothing(&mut self) {
        if self.level == 1 && !self.read_only {
            self.connection.managed_mut().doubt_role();
        }
    }

    pub(crate) fn guard_mut(&mut self) -> &mut PgPooledConnection {
        &mut self.connection
    }

    pub(crate) fn hear(&mut self, error: &Error) {
        self.connection.managed_mut().suspect = true;
        if self.read_only && judge(error) == Verdict::ReadOnly {
            // It asked for that.
            return;
        }
        self.connection.hear(error);
    }
}

fn aborted() -> Error {
    Error::Protocol(
        "the transaction was rolled back because a nested begin was cancelled".to_owned(),
    )
}

impl Deref for PgTransaction<'_> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.connection
    }
}

impl DerefMut for PgTransaction<'_> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.connection
    }
}

impl AsMut<PgConnection> for PgTransaction<'_> {
    fn as_mut(&mut self) -> &mut PgConnection {
        self
    }
}

impl fmt::Debug for PgTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PgTransaction")
            .field("connection", &*self.connection)
            .field("level", &self.level)
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

impl Drop for PgTransaction<'_> {
    fn drop(&mut self) {
        if !self.open {
            return;
        }
        self.came_to_nothing();
        if self.connection.managed().aborted {
            if self.level == 1 {
                self.connection.managed_mut().aborted = false;
                self.connection.managed_mut().queued = true;
                queue(&mut self.connection, "ROLLBACK");
            }
            return;
        }
        self.connection.managed_mut().queued = true;
        PgTransactionManager::start_rollback(&mut self.connection);
    }
}

/// A `BEGIN` or `SAVEPOINT` whose answer is being waited for.
///
/// Dropped like that, sqlx 0.9 rolls back the level *below* the one that was to begin: nothing
/// for a `BEGIN`, which then stays open at the server; all that encloses it for a `SAVEPOINT`,
/// whose owner would go on outside any transaction. This puts both right.
struct Beginning<'a> {
    connection: &'a mut PgPooledConnection,
    /// Levels that were open before.
    enclosing: usize,
    answered: bool,
}

impl Beginning<'_> {
    async fn answer(mut self, statement: Option<SqlStr>) -> Result<(), Error> {
        let outcome = PgTransactionManager::begin(&mut *self.connection, statement).await;
        self.answered = true;
        outcome
    }
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        while self.connection.is_in_transaction() {
            PgTransactionManager::start_rollback(&mut *self.connection);
        }
        self.connection.managed_mut().queued = true;
        if self.enclosing == 0 {
            queue(&mut *self.connection, "ROLLBACK");
        } else {
            queue(&mut *self.connection, ABORTED);
            self.connection.managed_mut().aborted = true;
        }
    }
}

/// Leaves the session in a transaction in which every statement fails.
const ABORTED: &str = "BEGIN; DO $$ BEGIN RAISE EXCEPTION \
    'the transaction was rolled back because a nested begin was cancelled' \
    USING ERRCODE = 'transaction_rollback'; END $$";

/// Has the server run `sql` before whatever comes next, without waiting for it.
///
/// This is the first poll of a `BEGIN` with a statement of one's own: it writes the statement and
/// counts its answer before it waits, and is harmless to drop outside a transaction.
fn queue(connection: &mut PgConnection, sql: &'static str) {
    debug_assert!(!connection.is_in_transaction(), "sqlx would refuse `{sql}`");
    let sent = pin!(PgTransactionManager::begin(
        connection,
        Some(sql.into_sql_str())
    ));
    // Its answer is read with the others.
    let _ = sent.poll(&mut Context::from_waker(Waker::noop()));
}
