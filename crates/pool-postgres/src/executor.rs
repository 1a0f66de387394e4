//! sqlx's `Executor` and `Acquire` for pools, guards and transactions.
//!
//! Each statement goes through one of the functions at the top, so that an error that condemns
//! the connection is seen wherever it comes from.

use std::future::{Future, ready};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{TryFutureExt as _, TryStreamExt as _};
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{
    Acquire, Describe, Either, Error, Execute, Executor, PgConnection, Postgres, SqlStr,
    Transaction,
};
use sqlx_core::ext::async_stream::TryAsyncStream;

use crate::error::to_sqlx;
use crate::{PgPooledConnection, PgTransaction, PostgresPool};

/// A connection that is told which errors its statements met.
trait Attentive: Send {
    fn connection(&mut self) -> Result<&mut PgConnection, Error>;
    fn hear(&mut self, error: &Error);
}

/// Runs statements and passes on what they yield. The connection is held until the stream ends
/// or is dropped.
fn fetch_many<'e, 'q: 'e, C, E>(
    connection: impl Future<Output = Result<C, Error>> + Send + 'e,
    query: E,
) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
where
    C: Attentive + 'e,
    E: 'q + Execute<'q, Postgres>,
{
    Box::pin(TryAsyncStream::new(move |yielder| async move {
        let mut connection = connection.await?;
        let outcome = async {
            let mut steps = connection.connection()?.fetch_many(query);
            while let Some(step) = steps.try_next().await? {
                yielder.r#yield(step).await;
            }
            Ok(())
        };
        let outcome = outcome.await;
        if let Err(error) = &outcome {
            connection.hear(error);
        }
        outcome
    }))
}

/// The methods that need no stream, written once for the three kinds of executor.
macro_rules! once {
    ($connection:expr, $method:ident ( $($argument:expr),* )) => {{
        let connection = $connection;
        Box::pin(async move {
            let mut connection = connection.await?;
            let outcome = Attentive::connection(&mut connection)?.$method($($argument),*).await;
            if let Err(error) = &outcome {
                Attentive::hear(&mut connection, error);
            }
            outcome
        })
    }};
}

/// Implements `Executor` where `$connection` is a future of something [`Attentive`].
macro_rules! executor {
    ($this:ident => $connection:expr) => {
        type Database = Postgres;

        fn execute<'e, 'q: 'e, E>(
            $this,
            query: E,
        ) -> BoxFuture<'e, Result<PgQueryResult, Error>>
        where
            'c: 'e,
            E: 'q + Execute<'q, Postgres>,
        {
            once!($connection, execute(query))
        }

        fn fetch_many<'e, 'q: 'e, E>(
            $this,
            query: E,
        ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, Error>>
        where
            'c: 'e,
            E: 'q + Execute<'q, Postgres>,
        {
            fetch_many($connection, query)
        }

        fn fetch_all<'e, 'q: 'e, E>($this, query: E) -> BoxFuture<'e, Result<Vec<PgRow>, Error>>
        where
            'c: 'e,
            E: 'q + Execute<'q, Postgres>,
        {
            once!($connection, fetch_all(query))
        }

        fn fetch_optional<'e, 'q: 'e, E>(
            $this,
            query: E,
        ) -> BoxFuture<'e, Result<Option<PgRow>, Error>>
        where
            'c: 'e,
            E: 'q + Execute<'q, Postgres>,
        {
            once!($connection, fetch_optional(query))
        }

        fn prepare_with<'e>(
            $this,
            sql: SqlStr,
            parameters: &'e [PgTypeInfo],
        ) -> BoxFuture<'e, Result<PgStatement, Error>>
        where
            'c: 'e,
        {
            once!($connection, prepare_with(sql, parameters))
        }

        #[doc(hidden)]
        fn describe<'e>(
            $this,
            sql: SqlStr,
        ) -> BoxFuture<'e, Result<Describe<Postgres>, Error>>
        where
            'c: 'e,
        {
            once!($connection, describe(sql))
        }
    };
}

/// Takes a connection for one statement, or for the whole of a stream, and gives it back.
///
/// A statement that gets no connection fails with an [`sqlx::Error::Io`] that
/// [`PostgresPool::acquire_error`] opens.
impl<'c> Executor<'c> for &PostgresPool {
    executor!(self => self.acquire().map_err(to_sqlx));
}

/// Runs statements on the connection. Unlike `&mut *connection`, which is sqlx's own, the pool
/// sees their errors: see the crate's documentation on eviction.
impl<'c> Executor<'c> for &'c mut PgPooledConnection {
    executor!(self => ready(Ok::<_, Error>(self)));
}

/// Runs statements in the transaction. Unlike `&mut *transaction`, which is sqlx's own, the pool
/// sees their errors: see the crate's documentation on eviction.
impl<'c> Executor<'c> for &'c mut PgTransaction<'_> {
    executor!(self => ready(Ok::<_, Error>(self)));
}

impl Attentive for PgPooledConnection {
    fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        self.managed().usable()?;
        Ok(self)
    }

    fn hear(&mut self, error: &Error) {
        Self::hear(self, error);
    }
}

impl Attentive for &mut PgPooledConnection {
    fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        let guard: &mut PgPooledConnection = self;
        guard.managed().usable()?;
        Ok(guard)
    }

    fn hear(&mut self, error: &Error) {
        PgPooledConnection::hear(self, error);
    }
}

impl Attentive for &mut PgTransaction<'_> {
    fn connection(&mut self) -> Result<&mut PgConnection, Error> {
        let guard: &mut PgPooledConnection = self.guard_mut();
        guard.managed().usable()?;
        Ok(guard)
    }

    fn hear(&mut self, error: &Error) {
        PgTransaction::hear(self, error);
    }
}

/// For functions that take any `Acquire` and only acquire, such as `Migrator::run`.
///
/// `begin` cannot be offered here: sqlx's `Transaction` owns a connection of sqlx's own pool or
/// none. It fails and says so; [`PostgresPool::begin`] is the way.
impl<'c> Acquire<'c> for &PostgresPool {
    type Database = Postgres;
    type Connection = PgPooledConnection;

    fn acquire(self) -> BoxFuture<'c, Result<PgPooledConnection, Error>> {
        Box::pin(PostgresPool::acquire(self).map_err(to_sqlx))
    }

    fn begin(self) -> BoxFuture<'c, Result<Transaction<'c, Postgres>, Error>> {
        let pool = self.name();
        Box::pin(ready(Err(Error::InvalidArgument(format!(
            "pool `{pool}`: sqlx's `Acquire::begin` cannot own a connection of this pool: call \
             `PostgresPool::begin`, or acquire a connection and begin on that"
        )))))
    }
}

impl<'c> Acquire<'c> for &'c mut PgPooledConnection {
    type Database = Postgres;
    type Connection = &'c mut PgConnection;

    fn acquire(self) -> BoxFuture<'c, Result<&'c mut PgConnection, Error>> {
        Box::pin(ready(Ok(&mut **self)))
    }

    fn begin(self) -> BoxFuture<'c, Result<Transaction<'c, Postgres>, Error>> {
        Transaction::begin(&mut **self, None)
    }
}

impl<'c> Acquire<'c> for &'c mut PgTransaction<'_> {
    type Database = Postgres;
    type Connection = &'c mut PgConnection;

    fn acquire(self) -> BoxFuture<'c, Result<&'c mut PgConnection, Error>> {
        Box::pin(ready(Ok(&mut **self)))
    }

    fn begin(self) -> BoxFuture<'c, Result<Transaction<'c, Postgres>, Error>> {
        Transaction::begin(&mut **self, None)
    }
}
