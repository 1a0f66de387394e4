//! MongoDB connection pools as leases on the official driver, resizable while they run.
//!
//! The driver's own pool is as large as it was created, gives no way to wait in line for a bounded
//! time, and tells nobody what it does. Here a caller takes a *lease* first: leases are fair,
//! bounded in number and time, observed, and their number changes while the pool runs. Below them
//! one official client opens sockets as leases are used and closes them when they are not.
//!
//! ```no_run
//! use mongodb::bson::{Document, doc};
//! use pool_mongo::MongoPool;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = MongoPool::builder("mongodb://localhost:27017")
//!     .database("market")
//!     .limits(2, 20) // kept without demand, and at the most
//!     .build()
//!     .await?;
//! pool.warmup_pool().await?;
//!
//! let lease = pool.acquire().await?; // a `mongodb::Database`
//! let quotes = lease.collection::<Document>("quotes");
//! let quote = quotes.find_one(doc! { "symbol": "AAPL" }).await?;
//! drop(lease); // back in the pool, without I/O
//!
//! pool.set_limits(5, 50)?; // while it runs
//! pool.close(std::time::Duration::from_secs(10)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Configure
//!
//! In code by [`MongoPool::builder`], as data by [`MongoConfig`]. Sizes and times are the pool's;
//! everything else (hosts, user, TLS, read preference, read and write concern) is the URI's. A size
//! or a time that the URI sets and the pool does not is taken from the URI, in place of the pool's
//! default. Where both set it to different values, the pool is refused, with both names and values.
//!
//! | pool | driver | meaning |
//! |---|---|---|
//! | `limits(min, max)` | none | leases; `min` sockets are kept open as well |
//! | `ceiling` | `maxPoolSize` | the most sockets to one server, for the client's whole life |
//! | `idle_timeout` | `maxIdleTimeMS` | idle leases and sockets above the minimum are closed |
//! | `max_connecting` | `maxConnecting` | sockets being opened at once |
//! | `connect_timeout` | `connectTimeoutMS` | one attempt to reach the server |
//! | `acquire_timeout` | bounds `serverSelectionTimeoutMS` | how long a caller waits for a lease |
//! | none | `heartbeatFrequencyMS` | 1 s, unless the URI sets it: how soon a frozen or mended server is noticed |
//!
//! # Size by load
//!
//! [`DynamicSizing`](pool_core::DynamicSizing) changes the number of leases that are kept warm,
//! with the eight fields of [`DynamicPoolConfig`](pool_core::DynamicPoolConfig):
//!
//! ```
//! use pool_core::{DynamicPoolConfig, DynamicSizing};
//! use pool_mongo::MongoPool;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let Ok(uri) = std::env::var("MONGODB_URL") else {
//! #     assert!(std::env::var_os("CI").is_none(), "MONGODB_URL is not set");
//! #     eprintln!("SKIPPED: MONGODB_URL is not set");
//! #     return Ok(());
//! # };
//! let pool = MongoPool::builder(uri).database("market").ceiling(100).build().await?;
//!
//! pool.set_dynamic_pool_config(DynamicPoolConfig {
//!     enabled: true,
//!     min_size: 5,
//!     max_size: 100,
//!     scale_up_threshold: 70.0,
//!     scale_down_threshold: 30.0,
//!     scale_up_increment: 10,
//!     scale_down_increment: 5,
//!     evaluation_interval: 10_000,
//! })?;
//! pool.warmup_pool().await?;
//!
//! assert_eq!(pool.limits().max(), 100);
//! assert_eq!(pool.sockets()[0].open, 5);
//! # pool.close(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! The server follows: sockets that leases no longer use are closed after `idle_timeout`, within
//! two seconds. Beside the sockets of the pool a server has the driver's two monitoring
//! connections.
//!
//! Sockets follow leases, but not to the last one. The driver takes a socket back a moment after
//! its operation has ended; a lease that is passed on within that moment can make it open another.
//! The same can happen while the minimum is opened or refreshed. Such sockets are idle and close
//! after `idle_timeout`. The bound that is never passed is the ceiling: set it to the maximum where
//! the server has no room for a few more.
//!
//! # Observe
//!
//! [`pool_metrics`](MongoPool::pool_metrics) has the leases' numbers,
//! [`sockets`](MongoPool::sockets) the driver's, server by server. Listeners and
//! [`subscribe`](MongoPool::subscribe) tell what happens to leases; the latter also when the driver
//! loses its trust in a server and when it finds it again
//! ([`ServerCleared`](pool_core::PoolEvent::ServerCleared),
//! [`ServerReady`](pool_core::PoolEvent::ServerReady)):
//!
//! ```
//! use pool_core::EventHandlers;
//! use pool_mongo::MongoPool;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let Ok(uri) = std::env::var("MONGODB_URL") else {
//! #     assert!(std::env::var_os("CI").is_none(), "MONGODB_URL is not set");
//! #     eprintln!("SKIPPED: MONGODB_URL is not set");
//! #     return Ok(());
//! # };
//! let pool = MongoPool::builder(uri)
//!     .database("market")
//!     .events(
//!         EventHandlers::new()
//!             .on_connect(|| println!("a lease more"))
//!             .on_disconnect(|| println!("a lease less"))
//!             .on_error(|error| eprintln!("pool error: {error}")),
//!     )
//!     .build()
//!     .await?;
//!
//! pool.run(|db| async move { db.list_collection_names().await }).await?;
//!
//! let metrics = pool.pool_metrics();
//! println!("{} of {} leases in use", metrics.active_connections, metrics.max);
//! println!("mean time with a lease: {:.1} ms", metrics.avg_response_time);
//! assert_eq!((metrics.counters.acquired, metrics.errors), (1, 0));
//! # pool.close(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # When the server is away
//!
//! Nothing is sent to the server for a checkout, and idle leases are not checked: the health of
//! sockets is the driver's business, and it watches its servers with heartbeats. When it distrusts
//! one, the pool evicts all leases. The next caller then waits, within its own time, until an
//! authenticated round trip succeeds, one for all callers; if none does, its error says why. A
//! wrong password, a certificate that does not match and a missing database (see
//! [`require_database`](MongoPoolBuilder::require_database)) fail callers at once.
//!
//! # Change servers, credentials or the ceiling
//!
//! [`reconfigure`](MongoPool::reconfigure) builds and warms a new client, lets it take over in one
//! step and ends the old one as its leases come back. Where the new one cannot be used, a wrong
//! password for instance, the old one goes on serving.
//!
//! # Sessions, transactions, cursors
//!
//! [`with_transaction`](MongoPool::with_transaction) runs work in a transaction, by the driver's
//! retry rules; [`start_session`](MongoPool::start_session) gives a session; a cursor is tied to
//! its lease by [`into_leased`](MongoLease::into_leased). Each keeps one lease for its whole life.
//!
//! **One lease at a time.** A caller that takes a second lease while it holds the first can wait
//! for itself. Work inside `run` and `with_transaction` is refused a second one of the same pool
//! at once; a task that waits in vain while it holds leases is told so in its error.
//!
//! **Change streams** wait on the server most of the time. Tied to a lease, each takes one from
//! the operations for as long as it lives: count them into the maximum. A stream that lives as
//! long as the service is better off beside the pool, on [`MongoLease::client`] with the lease
//! dropped; its socket then counts only against the ceiling, so leave room there: `ceiling` ≥
//! `max` + streams.
//!
//! **Read preference** comes from the URI (`readPreference=secondaryPreferred`) or from the
//! options of a database, a collection or an operation, as with the driver alone. The ceiling
//! holds for each server; leases count operations, whichever server they go to.
//!
//! **Cancelled operations** cost their socket: the driver closes what was dropped between a
//! request and its answer. A query that is dropped there leaves a cursor that nobody knows the
//! number of; the server removes it after its `cursorTimeoutMillis`, ten minutes by default.
//!
//! # Shut down
//!
//! [`close`](MongoPool::close) refuses new callers, waits for leases, ends the driver's sessions
//! and sockets, and reports what it had to cut off. Dropping the last handle does the same in the
//! background.
//!
//! # Features
//!
//! `rustls-tls` and `dns-resolver` (for `mongodb+srv://`) are on; `openssl-tls`, `aws-auth`,
//! `cert-key-password` and the three `…-compression` pass through to the driver. Name BSON types
//! as `mongodb::bson`: which major version that is depends on all crates in a build.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod backend;
mod builder;
mod config;
mod control;
mod drain;
mod error;
mod guard;
mod hold;
mod id_set;
mod keeper;
mod leased;
mod made;
mod manager;
mod nesting;
mod ping;
mod pool;
mod reconfigure;
mod sockets;
mod transact;
mod uri;
mod warmup;
mod work;

pub use crate::builder::MongoPoolBuilder;
pub use crate::config::MongoConfig;
pub use crate::drain::MongoDrainReport;
pub use crate::error::{
    ConnectProblem, LeaseError, LimitsError, MongoConnectError, MongoPoolError, MongoWarmupError,
    RunError, SettingProblem,
};
pub use crate::guard::MongoLease;
pub use crate::leased::{Leased, MongoSession};
pub use crate::manager::{ManagedLease, MongoManager};
pub use crate::pool::MongoPool;
pub use crate::reconfigure::{
    MongoReconfigure, MongoReconfigureReport, PreparedReconfigure, ReconfigureError,
};
pub use crate::sockets::{ClosedSockets, ServerSockets};
pub use crate::uri::UriProblem;
pub use crate::warmup::MongoWarmupReport;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

#[cfg(doctest)]
#[doc = include_str!("../../../docs/from-mongodb-driver.md")]
mod from_mongodb_driver {}
