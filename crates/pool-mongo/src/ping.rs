//! Whether the server is there.

use std::sync::Arc;
use std::time::Duration;

use mongodb::bson::doc;
use pool_core::SharedError;

use crate::MongoPool;

impl MongoPool {
    /// Asks the server whether it is there, over a connection of the pool, for a health check.
    ///
    /// # Errors
    ///
    /// No connection, as an [`AcquireError`](pool_core::AcquireError); no answer; or all of it took
    /// longer than `within`.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe.
    pub async fn ping(&self, within: Duration) -> Result<(), SharedError> {
        // An acquire that ends first says more than the end of the whole.
        let for_one = within.mul_f64(0.9);
        let ping = async {
            let acquired = self.inner.engine.acquire_timeout(for_one).await;
            let lease = acquired.map_err(|error| Arc::new(error) as SharedError)?;
            let answer = self
                .inner
                .backend()
                .database
                .run_command(doc! { "ping": 1 })
                .await;
            drop(lease);
            answer
                .map(drop)
                .map_err(|error| Arc::new(error) as SharedError)
        };
        match tokio::time::timeout(within, ping).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Arc::new(NoAnswer(within))),
        }
    }
}

/// The server did not say anything in time.
#[derive(Debug, thiserror::Error)]
#[error("the server did not answer within {0:?}")]
struct NoAnswer(Duration);
