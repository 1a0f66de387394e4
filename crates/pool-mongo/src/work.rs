//! Work that is given a lease and gives it back by ending.

use std::future::Future;

use mongodb::error::{Error, Result as DriverResult};
use mongodb::{ClientSession, Database};

use crate::error::RunError;
use crate::leased::MongoSession;
use crate::nesting::PoolId;
use crate::pool::MongoPool;
use crate::transact::transact;

impl MongoPool {
    /// Takes a lease for `work`, gives it the database, and returns the lease when `work` is done.
    ///
    /// Inside, asking the same pool for another lease is an error
    /// ([`LeaseError::Nested`](crate::LeaseError::Nested)): `work` has one already.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(pool: pool_mongo::MongoPool) -> Result<(), Box<dyn std::error::Error>> {
    /// use mongodb::bson::{Document, doc};
    ///
    /// let quote = pool
    ///     .run(|db| async move {
    ///         let quotes = db.collection::<Document>("quotes");
    ///         quotes.find_one(doc! { "symbol": "AAPL" }).await
    ///     })
    ///     .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RunError::Lease`] when there was no lease, as in [`acquire`](Self::acquire);
    /// [`RunError::Work`] with the error of `work`.
    ///
    /// # Cancel safety
    ///
    /// As cancel safe as `work`; the lease comes back in any case.
    #[track_caller]
    pub fn run<T, E, W, F>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, RunError<E>>> + use<T, E, W, F>
    where
        W: FnOnce(Database) -> F,
        F: Future<Output = Result<T, E>>,
    {
        let (pool, lease) = (PoolId::of(&self.inner), self.acquire());
        async move {
            let lease = lease.await?;
            let work = pool.give(work(lease.database().clone()));
            work.await.map_err(RunError::Work)
        }
    }

    /// Starts a session, which keeps one lease for its whole life.
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(pool: pool_mongo::MongoPool) -> Result<(), Box<dyn std::error::Error>> {
    /// use mongodb::bson::{Document, doc};
    ///
    /// let mut session = pool.start_session().await?;
    /// let accounts = session.database().collection::<Document>("accounts");
    /// session.start_transaction().await?;
    /// accounts.insert_one(doc! { "owner": "b" }).session(&mut *session).await?;
    /// session.commit_transaction().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RunError::Lease`] when there was no lease; [`RunError::Work`] when the servers have no
    /// sessions.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a session that is not returned does not exist.
    #[track_caller]
    pub fn start_session(
        &self,
    ) -> impl Future<Output = Result<MongoSession, RunError<Error>>> + Send + use<> {
        let lease = self.acquire();
        async move {
            let lease = lease.await?;
            let session = lease.client().start_session().await;
            let session = session.map_err(RunError::Work)?;
            Ok(MongoSession::new(session, lease))
        }
    }

    /// Runs `work` in a transaction and commits it, on one lease.
    ///
    /// The driver's own rules hold: `work` is run again when it fails with an error that has the
    /// label `TransientTransactionError`, the commit is sent again after
    /// `UnknownTransactionCommitResult`, with pauses between, for 120 s at the most; any other
    /// error aborts the transaction and is returned. So `work` has to return the errors of its
    /// operations as they are, and must be able to run more than once.
    ///
    /// Inside, asking the same pool for another lease is an error
    /// ([`LeaseError::Nested`](crate::LeaseError::Nested)).
    ///
    /// # Example
    ///
    /// ```no_run
    /// # async fn example(pool: pool_mongo::MongoPool) -> Result<(), Box<dyn std::error::Error>> {
    /// use mongodb::bson::{Document, doc};
    ///
    /// pool.with_transaction(async |db, session| {
    ///     let accounts = db.collection::<Document>("accounts");
    ///     let take = doc! { "$inc": { "balance": -10 } };
    ///     accounts.update_one(doc! { "_id": "a" }, take).session(&mut *session).await?;
    ///     let give = doc! { "$inc": { "balance": 10 } };
    ///     accounts.update_one(doc! { "_id": "b" }, give).session(session).await
    /// })
    /// .await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`RunError::Lease`] when there was no lease; [`RunError::Work`] with the error of `work`, of
    /// the commit, or of the driver when the 120 s are over.
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe in one respect: when the commit has been sent, dropping the future leaves
    /// open whether it took effect. Before that the transaction is aborted. The lease comes back in
    /// any case.
    #[track_caller]
    pub fn with_transaction<T, W>(
        &self,
        work: W,
    ) -> impl Future<Output = Result<T, RunError<Error>>>
    where
        W: AsyncFnMut(Database, &mut ClientSession) -> DriverResult<T>,
    {
        let (pool, session) = (PoolId::of(&self.inner), self.start_session());
        async move {
            let mut session = session.await?;
            let database = session.database();
            let transaction = transact(database, &mut session, work);
            pool.give(transaction).await.map_err(RunError::Work)
        }
    }
}
