//! Typed asynchronous dependency injection: lifetimes, scopes, ordered disposal, no global.

mod builder;
mod container;
mod create;
mod dependencies;
mod dispose;
mod error;
mod factory;
mod graph;
mod health;
mod inject;
mod inner;
mod key;
mod lazy;
mod leak;
mod ledger;
mod name;
mod named;
mod node;
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
