//! PostgreSQL connection pools over sqlx's connection, resizable while they run.
//!
//! sqlx's own pool fixes its size at the start and pays a round trip for each checkout and each
//! return. This one keeps sqlx's queries, types and macros and puts another pool below them: the
//! engine of [`pool_core`], which can be resized, sizes itself by load, hands connections out in
//! order, explains its errors, and needs no round trip for a connection that comes back clean.
//!
//! ```no_run
//! use std::time::Duration;
//! use pool_postgres::PostgresPool;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let pool = PostgresPool::builder("postgres://app:secret@db.example/market")?
//!     .limits(2, 20)
//!     .build()?;
//! pool.warmup_pool().await?;
//!
//! let close: f64 = sqlx::query_scalar("select close from prices where symbol = $1")
//!     .bind("AAPL")
//!     .fetch_one(&pool)
//!     .await?;
//!
//! pool.set_limits(2, 40)?; // while it runs
//! println!("{close}: {} connections", pool.pool_metrics().total_connections);
//! pool.close(Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Configure
//!
//! [`PostgresPool::builder`] takes a URL, [`PostgresPool::from_options`] sqlx's own options,
//! [`PostgresPool::from_config`] a [`PostgresConfig`] that was read from a file. All problems of a
//! configuration are reported together; none repeats a password.
//!
//! Passwords that change come from [a provider](PostgresPoolBuilder::credentials) that is asked
//! before each connect; [`PostgresPool::set_connect_options`] moves a running pool elsewhere.
//! TLS needs the feature `tls-rustls-ring`. A server that is neither on loopback nor behind a socket
//! is verified as by `sslmode=verify-full`, unless the URL or `PGSSLMODE` says otherwise; where sqlx
//! and libpq would `prefer` TLS, which takes any certificate or none. Without the feature such a URL
//! has to say `sslmode=disable`. Options that you build yourself are taken as they are.
//!
//! # Query
//!
//! - `&pool` is an [`Executor`](sqlx::Executor): it takes a connection for one statement, or for
//!   the whole of a stream.
//! - [`PostgresPool::acquire`] gives a [`PgPooledConnection`] that derefs to
//!   [`PgConnection`](sqlx::PgConnection), for several statements on one connection.
//! - [`PostgresPool::begin`] gives a [`PgTransaction`];
//!   [`PostgresPool::run_in_transaction`] runs a piece of work again when it collides with others.
//! - `Migrator::run(&pool)` works, and so does whatever takes an [`Acquire`](sqlx::Acquire) and
//!   only acquires.
//!
//! A caller that gets no connection through `&pool` meets an [`sqlx::Error::Io`];
//! [`PostgresPool::acquire_error`] finds the [`AcquireError`](pool_core::AcquireError) in it.
//!
//! ## Copy
//!
//! ```no_run
//! use futures_util::TryStreamExt as _;
//!
//! # async fn example(pool: &pool_postgres::PostgresPool) -> sqlx::Result<()> {
//! let mut connection = pool.acquire().await.map_err(std::io::Error::other)?;
//! let mut copy = connection.copy_in_raw("copy prices from stdin (format csv)").await?;
//! copy.send(b"AAPL,2018-02-07,159.54\n").await?;
//! assert_eq!(copy.finish().await?, 1);
//!
//! let mut out = connection.copy_out_raw("copy prices to stdout (format csv)").await?;
//! while let Some(piece) = out.try_next().await? {
//!     println!("{} bytes", piece.len());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ## Listen and notify
//!
//! `notify` is a statement like any other. A listener keeps a connection for good, so it does not
//! belong in a pool: sqlx's [`PgListener`](sqlx::postgres::PgListener) opens one of its own. Do not
//! send `listen` on a pooled connection; its next user would meet the notifications.
//!
//! ```no_run
//! use sqlx::postgres::PgListener;
//!
//! # async fn example(url: &str, pool: &pool_postgres::PostgresPool) -> sqlx::Result<()> {
//! let mut listener = PgListener::connect(url).await?;
//! listener.listen("prices").await?;
//! sqlx::query("select pg_notify('prices', 'AAPL')").execute(pool).await?;
//! assert_eq!(listener.recv().await?.payload(), "AAPL");
//! # Ok(())
//! # }
//! ```
//!
//! # Size
//!
//! [`PostgresPool::set_limits`] puts new limits in force at once. With a
//! [`DynamicPoolConfig`](pool_core::DynamicPoolConfig) the pool sizes itself between them:
//!
//! ```
//! use pool_core::DynamicPoolConfig;
//! use pool_postgres::PostgresPool;
//! # use pool_postgres::pool_core;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let Ok(url) = std::env::var("POSTGRES_URL") else {
//! #     assert!(std::env::var_os("CI").is_none(), "in CI nothing may be skipped");
//! #     eprintln!("SKIPPED: POSTGRES_URL is not set");
//! #     return Ok(());
//! # };
//! let pool = PostgresPool::builder(&url)?.build()?;
//! let dynamic = DynamicPoolConfig {
//!     enabled: true,
//!     min_size: 5,
//!     max_size: 100,
//!     scale_up_threshold: 70.0,
//!     scale_down_threshold: 30.0,
//!     scale_up_increment: 10,
//!     scale_down_increment: 5,
//!     evaluation_interval: 10_000,
//! };
//! pool.set_dynamic_pool_config(dynamic)?;
//! pool.warmup_pool().await?;
//! assert!(pool.ready());
//! assert_eq!(pool.pool_metrics().total_connections, 5);
//! # Ok(())
//! # }
//! ```
//!
//! [`PostgresPool::sqlx_pool`] lends a part of the maximum to crates that demand a
//! [`PgPool`](sqlx::PgPool).
//!
//! # Observe
//!
//! ```
//! use pool_core::EventHandlers;
//! use pool_postgres::PostgresPool;
//! # use pool_postgres::pool_core;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let Ok(url) = std::env::var("POSTGRES_URL") else {
//! #     assert!(std::env::var_os("CI").is_none(), "in CI nothing may be skipped");
//! #     eprintln!("SKIPPED: POSTGRES_URL is not set");
//! #     return Ok(());
//! # };
//! // Listen to events
//! let events = EventHandlers::new()
//!     .on_error(|error| eprintln!("pool error: {error}"))
//!     .on_connect(|| println!("connected"));
//! let pool = PostgresPool::builder(&url)?.events(events).build()?;
//!
//! // Get current metrics
//! sqlx::query("select 1").execute(&pool).await?;
//! let metrics = pool.pool_metrics();
//! println!(
//!     "active {}, total {}, waiting {}",
//!     metrics.active_connections, metrics.total_connections, metrics.waiting_requests,
//! );
//! # assert_eq!((metrics.active_connections, metrics.total_connections), (0, 1));
//! # Ok(())
//! # }
//! ```
//!
//! [`PostgresPool::subscribe`] gives the same events, and more, as a stream.
//!
//! # What a caller leaves behind
//!
//! Release looks at sqlx's own bookkeeping, which costs some 40 ns and no I/O. What it finds
//! unclean is given to a task, under `recycle_timeout`, before anybody else gets it:
//!
//! | left behind | what happens |
//! |---|---|
//! | a cancelled query, a stream not read to its end | after [`cancel_after`](PostgresPoolBuilder::cancel_after) it is cancelled at the server; the rest is read |
//! | a transaction dropped or cancelled, at any point | rolled back |
//! | a `COPY` not finished | the connection is closed |
//! | a `COPY ... TO STDOUT` of sqlx's own methods not read to its end | see below |
//! | `set`, temporary tables, advisory locks, `listen`, a `begin` sent as SQL | not visible from here: use transactions, `set local`, or [`reset_sql`](PostgresPoolBuilder::reset_sql) |
//!
//! `copy_out_raw` of guards and transactions keeps book of its `COPY`; that of sqlx, reached through
//! the deref or by a function that takes `&mut PgConnection`, does not, and its rest cannot be seen
//! without I/O. Read such a stream to its end, or call [`evict`](PgPooledConnection::evict). If
//! neither is done, the next statement on the connection fails with
//! [`Error::Protocol`](sqlx::Error::Protocol) and gets no row, and the connection is closed then.
//! After such an error on `&mut *connection`, which the pool does not see, evict it: sqlx goes on to
//! give each statement the answer of the one before. Where a connection is checked or cleaned first,
//! it is found, by a question whose answer nobody else can have been given.
//!
//! # Failover and lost connections
//!
//! A connection is not lent again after an error of class 08, 57P01 to 57P05, or of its socket. After
//! 25006, which an old primary answers to writes once it is a standby, all connections are
//! replaced, none of them interrupted, at most once a second.
//!
//! The pool sees the errors of statements that run on `&pool`, `&mut connection` and
//! `&mut transaction`, and what the work of [`run_in_transaction`](PostgresPool::run_in_transaction)
//! returns, however its statements are spelled. It does not see those on `&mut *connection` and
//! `&mut *transaction`, which are sqlx's own; there a broken connection is still found, because its
//! answer stays outstanding, but 25006 is not.
//!
//! With [`target_session_attrs`](PostgresPoolBuilder::target_session_attrs) a server that has become
//! something else is found all the same: the check of a connection that was idle asks for that
//! instead of for any answer, and so does, at most twice a second, the cleaning after a transaction
//! that was not committed.
//!
//! # Shut down
//!
//! [`PostgresPool::close`] refuses new callers, waits for holders until its deadline, and reports
//! what was left.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod builder;
mod cancel;
mod clean;
mod cluster;
mod config;
mod connection;
mod control;
mod copy;
mod credentials;
mod error;
mod executor;
mod flavor;
mod guard;
mod lag;
mod login;
mod manager;
mod options;
mod pool;
mod retry;
mod sentinel;
mod share;
mod sqlstate;
mod target;
mod transaction;
mod tuning;
mod url;

/// The engine below, with the types that both pools share.
pub use pool_core;

pub use crate::builder::PostgresPoolBuilder;
pub use crate::cluster::{PostgresCluster, PostgresClusterBuilder, ReplicaState, ReplicaStatus};
pub use crate::config::PostgresConfig;
pub use crate::connection::ManagedConnection;
pub use crate::copy::{CopyIn, CopyOut};
pub use crate::credentials::Credentials;
pub use crate::error::{
    ConnectCause, ConnectStep, PostgresConfigError, PostgresConfigProblem, PostgresConnectError,
    UrlProblem,
};
pub use crate::flavor::PgFlavor;
pub use crate::guard::PgPooledConnection;
pub use crate::manager::PostgresManager;
pub use crate::options::{IsolationLevel, TransactionOptions};
pub use crate::pool::PostgresPool;
pub use crate::retry::{RetryPolicy, TransactionError};
pub use crate::share::{SqlxPool, SqlxPoolError};
pub use crate::target::{PgHosts, TargetSessionAttrs};
pub use crate::transaction::PgTransaction;

/// The example of the README is compiled.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// Compiles the page for those who come from sqlx's own pool.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/from-sqlx.md")]
mod from_sqlx {}
