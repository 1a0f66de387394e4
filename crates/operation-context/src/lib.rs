//! What one operation of a service works with: its pools on demand, a span, and an end.
//!
//! A handler that reaches for global pools cannot be tested with others, and nobody knows when they
//! may be closed. Here a container is set up once, each operation gets a context from it, and
//! whoever set it up ends it.
//!
//! ```
//! use connection_factory::ConfigSources;
//! use mongodb::bson::doc;
//! use operation_context::{OperationContext, setup_service_container};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # for variable in ["POSTGRES_URL", "MONGODB_URL"] {
//! #     if std::env::var_os(variable).is_none() {
//! #         assert!(std::env::var_os("CI").is_none(), "{variable} is not set");
//! #         eprintln!("SKIPPED: {variable} is not set; `cargo xtask test` starts the servers");
//! #         return Ok(());
//! #     }
//! # }
//! # let config = ConfigSources::standard()
//! #     .set("services.example.mongodb.database", format!("example_{}", std::process::id()))
//! #     .load()?;
//! # /*
//! let config = ConfigSources::standard().load()?;
//! # */
//! // Set up the service container with its connection pools.
//! let container = setup_service_container(config).await?;
//!
//! // Create an operation context with the container.
//! let context = OperationContext::create("handler", "operation").container(&container);
//!
//! // Use the databases normally.
//! let mongodb = context.mongodb().await?.acquire().await?;
//! mongodb.collection("data").insert_one(doc! { "symbol": "AAPL", "price": 223.02 }).await?;
//! let sum: i32 = sqlx::query_scalar("SELECT 20 + 22")
//!     .fetch_one(context.postgres().await?)
//!     .await?;
//! assert_eq!(sum, 42);
//! # mongodb.database().drop().await?;
//! drop(mongodb);
//!
//! // Clean up when done.
//! context.dispose().await?;
//! container.dispose().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Whose pools
//!
//! | | services come from | `dispose` ends |
//! |---|---|---|
//! | *shared*: [`container`](OperationContext::container) was called | a scope of that container | the scope; the pools stay |
//! | *owned*: it was not | a container of its own, built when something is first asked for, from [`config`](OperationContext::config) or the [standard configuration](connection_factory::ConfigSources::standard) | that container with its pools |
//!
//! The second is for scripts and for code that is moved to containers step by step: it opens and
//! closes connections for one operation, which a service should not do often.
//!
//! # End
//!
//! [`OperationContext::run`] ends the operation whatever becomes of the work:
//!
//! ```
//! use operation_context::OperationContext;
//! # use service_container::{Container, DisposeError};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let container = Container::builder().build()?;
//! let context = OperationContext::create("quotes", "import").container(&container);
//! let imported = context
//!     .run(async |context| {
//!         tracing::info!(id = %context.id(), "in the span of the operation");
//!         Ok::<_, DisposeError>(560)
//!     })
//!     .await?;
//! assert_eq!(imported, 560);
//! # container.dispose().await?;
//! # Ok(())
//! # }
//! ```
//!
//! | the work | what happens |
//! |---|---|
//! | returns | the operation is disposed of, then the value or the error is returned |
//! | panics | it is disposed of, then the panic goes on |
//! | is dropped, as by a timeout around `run` | what the work held goes back at once; the disposal runs in a task of its own |
//! | is dropped where no runtime is left | the scope is dropped with it, and pools of its own close without anybody waiting |
//!
//! A context that is dropped without `run` and without [`dispose`](OperationContext::dispose) ends
//! in the last two ways as well.
//!
//! # Divide
//!
//! [`OperationContext::child`] begins a part of an operation, with a name, a number and a span of
//! its own, whose end is that of the whole at the latest. Parts may run beside each other:
//!
//! ```
//! use operation_context::OperationContext;
//! # use service_container::{Container, DisposeError};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let container = Container::builder().build()?;
//! let import = OperationContext::create("quotes", "import").container(&container);
//! import
//!     .run(async |import| {
//!         let stocks = import.child("stocks").run(async |part| {
//!             tracing::info!(parent = ?part.parent_id(), "in the span of the part");
//!             Ok::<_, DisposeError>(())
//!         });
//!         let funds = import.child("funds").run(async |_| Ok::<_, DisposeError>(()));
//!         tokio::try_join!(stocks, funds)
//!     })
//!     .await?;
//! # container.dispose().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Set up
//!
//! [`setup_service_container`] makes the container of a service that needs nothing else, and
//! returns when the servers have let its pools in. [`register_pools`] adds the same to a container
//! with other services in it. Both register
//! [`ConnectionFactory`](connection_factory::ConnectionFactory),
//! [`PostgresPool`](connection_factory::pool_postgres::PostgresPool) and [`MongoPool`](connection_factory::pool_mongo::MongoPool), as far as
//! they are configured, with disposers that wait up to `drain_timeout_ms` for what is in use.

//!
//! # Size and observe
//!
//! The pools of a context are those of `pool-postgres` and `pool-mongo`, with all they offer:
//!
//! ```
//! use connection_factory::ConfigSources;
//! use operation_context::OperationContext;
//! use connection_factory::pool_core::{DynamicPoolConfig, DynamicSizing, EventHandlers};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # if std::env::var_os("POSTGRES_URL").is_none() {
//! #     assert!(std::env::var_os("CI").is_none(), "POSTGRES_URL is not set");
//! #     eprintln!("SKIPPED: POSTGRES_URL is not set; `cargo xtask test` starts the servers");
//! #     return Ok(());
//! # }
//! let context = OperationContext::create("handler", "operation");
//! # let sources = ConfigSources::standard().set("services.example.mongodb.database", "example");
//! # let context = context.config(sources.load()?);
//! let postgres = context.postgres().await?;
//!
//! let dynamic_config = DynamicPoolConfig {
//!     enabled: true,
//!     min_size: 5,
//!     max_size: 100,
//!     scale_up_threshold: 70.0,
//!     scale_down_threshold: 30.0,
//!     scale_up_increment: 10,
//!     scale_down_increment: 5,
//!     evaluation_interval: 10_000,
//! };
//! postgres.set_dynamic_pool_config(dynamic_config)?;
//!
//! // Get the current metrics.
//! let metrics = postgres.pool_metrics();
//! println!(
//!     "active: {}, total: {}, waiting: {}",
//!     metrics.active_connections, metrics.total_connections, metrics.waiting_requests
//! );
//! # assert_eq!((metrics.min, metrics.max, metrics.waiting_requests), (5, 100, 0));
//!
//! // Listen to events.
//! postgres.add_listener(
//!     EventHandlers::new()
//!         .on_error(|error| tracing::error!(%error, "pool error"))
//!         .on_connect(|| tracing::info!("connected")),
//! );
//!
//! context.dispose().await?;
//! # Ok(())
//! # }
//! ```

#![cfg_attr(docsrs, feature(doc_cfg))]

mod context;
mod error;
mod home;
mod setup;

pub use crate::context::{OperationContext, OperationId};
pub use crate::error::{OperationError, OperationErrorKind};
pub use crate::setup::{SetupError, register_pools, setup_service_container};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
