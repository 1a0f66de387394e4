//! Typed asynchronous dependency injection: lifetimes, scopes, ordered disposal, no global.
//!
//! A service that opens connections, starts tasks and keeps caches has to create them in the right
//! order, once, without a `static`, and to close them in the opposite order, in time, whatever goes
//! wrong. This crate does that. What a factory takes as arguments is what it depends on, so the whole
//! graph is known, and checked, before anything runs. There are no macros to learn and no `unsafe`.
//!
//! ```
//! use std::sync::Arc;
//! use service_container::{BoxError, Container};
//!
//! struct Config { url: &'static str }
//! struct Database { url: &'static str }
//!
//! impl Database {
//!     async fn connect(url: &'static str) -> Result<Self, BoxError> { Ok(Self { url }) }
//!     async fn close(&self) {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! let mut builder = Container::builder();
//! builder.value(Config { url: "db://here" });
//! builder
//!     .singleton(|config: Arc<Config>| async move { Database::connect(config.url).await })
//!     .on_dispose(|database: Arc<Database>| async move { database.close().await });
//! let container = builder.build()?;                  // every problem at once, before anything runs
//!
//! let database = container.get::<Database>().await?; // created once, whoever asks first
//! assert_eq!(database.url, "db://here");
//! container.dispose().await?;                        // the last created first; a report of all
//! # Ok(())
//! # }
//! ```
//!
//! # Register
//!
//! [`ContainerBuilder`] takes values, and factories with one of three [lifetimes](Lifetime):
//! singleton, scoped and transient. A factory is an asynchronous closure that may fail; [`infallible`]
//! and [`sync`] make factories of closures that do not, or that need not wait. Its arguments are
//! listed at [`Inject`]. Several services of one type are told apart [by name](ContainerBuilder::named),
//! and a service answers to a `dyn Trait` by [`provides`](Registration::provides):
//!
//! ```
//! use std::sync::Arc;
//! use service_container::{Container, infallible, sync};
//!
//! trait Notify: Send + Sync {
//!     fn channel(&self) -> &str;
//! }
//! struct Mail;
//! struct Chat(&'static str);
//! impl Notify for Mail {
//!     fn channel(&self) -> &str { "mail" }
//! }
//! impl Notify for Chat {
//!     fn channel(&self) -> &str { self.0 }
//! }
//! struct Alerts(Vec<Arc<dyn Notify>>);
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), service_container::BoxError> {
//! let mut builder = Container::builder();
//! builder.singleton(sync(|| Mail)).provides::<dyn Notify>(|it| it);
//! builder
//!     .named("team")
//!     .singleton(infallible(|| async { Chat("team") }))
//!     .provides::<dyn Notify>(|it| it);
//! builder.singleton(sync(Alerts)); // a tuple struct is a function of its fields
//! let container = builder.build()?;
//!
//! let channels: Vec<_> =
//!     container.get::<Alerts>().await?.0.iter().map(|it| it.channel().to_owned()).collect();
//! assert_eq!(channels, ["mail", "team"]);
//! # container.dispose().await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`build`](ContainerBuilder::build) reports every dependency that is missing, ambiguous, cyclic or
//! captive (a singleton that would keep a scoped service past its scope) in one [`BuildError`]:
//!
//! ```
//! use std::sync::Arc;
//! use service_container::{Container, sync};
//!
//! struct Clock;
//! struct Session;
//! struct Cache;
//!
//! let mut builder = Container::builder();
//! builder.scoped(sync(|| Session));
//! builder.singleton(sync(|_: Arc<Clock>, _: Arc<Session>| Cache));
//! let error = builder.build().unwrap_err();
//! assert_eq!(error.problems().len(), 2); // no `Clock`, and `Cache` would keep a `Session`
//! ```
//!
//! # Resolve
//!
//! [`get`](Scope::get) creates what is not there and shares what is. [`ready`](Scope::ready) borrows
//! what is there, without touching a reference count.
//! [`warm_up`](Container::warm_up) creates every singleton ahead of the first caller. A service that
//! is needed later, or by somebody it needs itself, is taken as [`Lazy`]; what can only be decided
//! while running goes through a [`Resolver`].
//!
//! One creation of a service runs at a time. Its failure goes to everybody who waited for it and is
//! not kept. A singleton is created in a task of the container, so a caller who gives up spoils it for
//! nobody; a scoped service is created by those who wait for it. Creations that would wait for each
//! other get an error, not a deadlock, in whatever tasks they run. Only what is resolved through an
//! argument, a `Lazy` or a `Resolver` is seen, though: a factory that calls a container it captured
//! goes unnoticed until its [`create_timeout`](ContainerBuilder::create_timeout).
//!
//! # Open a scope
//!
//! A [`Scope`] has scoped services of its own, for a request or a job. It can be
//! [given services](ScopeBuilder::provide) that were made outside, and it can stand inside another.
//! [`with_scope`](Scope::with_scope) disposes of it however the work in it ends; [`Owned`] is a scope
//! around a single service.
//!
//! ```
//! use std::sync::Arc;
//! use service_container::{Container, sync};
//!
//! struct RequestId(u64);
//! struct Audit(Arc<RequestId>);
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), service_container::BoxError> {
//! let mut builder = Container::builder();
//! builder.scope_input::<RequestId>();
//! builder.scoped(sync(Audit)).on_dispose(|audit: Arc<Audit>| async move {
//!     assert_eq!(audit.0.0, 7); // flush it
//! });
//! let container = builder.build()?;
//!
//! let request = container.child("request").provide(Arc::new(RequestId(7))).open()?;
//! assert_eq!(request.get::<Audit>().await?.0.0, 7);
//! request.dispose().await?;
//! # container.dispose().await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Shut down
//!
//! [`dispose`](Scope::dispose) cancels the [token](Scope::cancelled) of the scope, waits for its
//! [tasks](Scope::tasks), disposes of the scopes inside it and then of its services: each before what
//! it used, otherwise the last created first. Every disposer has a time of its own within an overall
//! deadline ([`DisposeOptions`]), and whether it fails, panics or hangs, the next one has its turn.
//! The [`DisposeReport`] tells what became of each.
//!
//! ```
//! use std::time::Duration;
//! use service_container::{Container, DisposeOptions};
//!
//! struct Cache;
//! struct Server;
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), service_container::BoxError> {
//! let mut builder = Container::builder();
//! builder.value(Cache).on_dispose(|_| async {});
//! builder.value(Server).on_dispose(|_| std::future::pending::<()>());
//! let container = builder.build()?;
//!
//! let token = container.cancelled();
//! container.tasks().spawn(async move { token.cancelled().await });
//!
//! let options = DisposeOptions::default().service_timeout(Duration::from_secs(2));
//! let error = container.dispose_with(options).await.unwrap_err();
//! let lines: Vec<_> = error.report().services.iter().map(ToString::to_string).collect();
//! assert!(lines[0].ends_with("Server timed out after 2.000s"));
//! assert!(lines[1].ends_with("Cache clean after 0.000ns"));
//! # Ok(())
//! # }
//! ```
//!
//! A scope that is dropped with services in it that should have been disposed of is a leak. It is
//! logged with the place where it was opened, counted, and answered by a [`LeakPolicy`].
//!
//! # Observe
//!
//! [`Container::graph`] gives the services, their states and who needs whom, as text and for Graphviz;
//! [`Scope::health`] asks those that exist how they are. Creating and disposing have the `tracing`
//! spans `container.create`, `container.close` and `container.dispose`; resolving what exists has
//! none.
//!
//! # Test
//!
//! [`Container::fork`] has the same registrations and none of the instances:
//! [`replace`](ContainerBuilder::replace) a factory, or
//! [`replace_shared`](ContainerBuilder::replace_shared) what answers to a `dyn Trait`, and everything
//! that depends on it is created around it.
//!
//! ```
//! use std::sync::Arc;
//! use service_container::{Container, sync};
//!
//! trait Clock: Send + Sync {
//!     fn now(&self) -> u64;
//! }
//! struct System;
//! struct Fixed(u64);
//! impl Clock for System {
//!     fn now(&self) -> u64 { 1 }
//! }
//! impl Clock for Fixed {
//!     fn now(&self) -> u64 { self.0 }
//! }
//! struct Stamp(u64);
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), service_container::BoxError> {
//! let mut builder = Container::builder();
//! builder.singleton(sync(|| System)).provides::<dyn Clock>(|it| it);
//! builder.singleton(sync(|clock: Arc<dyn Clock>| Stamp(clock.now())));
//! let container = builder.build()?;
//!
//! let mut test = container.fork();
//! test.replace_shared::<dyn Clock>(Arc::new(Fixed(42)));
//! let test = test.build()?;
//! assert_eq!(test.get::<Stamp>().await?.0, 42);
//! # test.dispose().await?;
//! # container.dispose().await?;
//! # Ok(())
//! # }
//! ```

mod around;
mod builder;
mod children;
mod container;
mod create;
mod dependencies;
mod dispose;
mod error;
mod factory;
mod get;
mod graph;
mod health;
mod hold;
mod inject;
mod inner;
mod key;
mod lazy;
mod leak;
mod ledger;
mod name;
mod named;
mod node;
mod observed;
mod owned;
mod registered;
mod registration;
mod registry;
mod resolver;
mod scope;
mod scope_builder;
mod scope_info;
mod service;
mod settings;
mod shards;
mod stakes;
mod sync;
mod validate;
mod waits;
mod warm_up;

pub use builder::{ContainerBuilder, NamedBuilder};
pub use container::Container;
pub use dependencies::{Dependencies, DependencyKind};
pub use dispose::{DisposeError, DisposeOptions, DisposeReport, Disposed, Outcome};
pub use error::{BuildError, BuildProblem, OpenError, ResolveError, ResolveErrorKind, ScopeError};
pub use factory::{
    Creation, Factory, InfallibleFactory, Preparation, SyncFactory, infallible, sync,
};
pub use graph::{Graph, GraphEdge, GraphService};
pub use health::{HealthReport, HealthStatus, ServiceHealth};
pub use inject::Inject;
pub use lazy::Lazy;
pub use leak::LeakPolicy;
pub use ledger::State;
pub use name::{Name, NameKey, ServiceName};
pub use named::Named;
pub use owned::Owned;
pub use registered::{IntoOutcome, Lifetime};
pub use registration::{
    Created, Kept, Registration, ReplacedLifetime, ScopedLifetime, SingletonLifetime,
    TransientLifetime, ValueLifetime,
};
pub use resolver::Resolver;
pub use scope::Scope;
pub use scope_builder::ScopeBuilder;
pub use scope_info::ScopeInfo;
pub use service::{BoxError, Service, SharedError};
pub use warm_up::{WarmUpError, WarmUpReport, Warmed};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
