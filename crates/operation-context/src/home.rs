//! Where the services of an operation come from, and what its end ends.

use std::sync::Arc;

use connection_factory::{ConfigSources, FactoryConfig};
use parking_lot::Mutex;
use service_container::{Container, LeakPolicy, Scope, State};

use crate::error::Reason;
use crate::setup::{SetupError, register};

/// The source of one operation's services, opened when something is first asked of it.
///
/// Locks are taken from a child to its parent, never the other way, and not across a wait.
pub(crate) struct Home(Mutex<Source>);

enum Source {
    /// A scope of somebody's container, not opened yet.
    Shared(Scope),
    /// A container of its own, not built yet; without a configuration, from the standard one.
    Owned(Option<Box<FactoryConfig>>),
    /// A scope inside that of another operation, not opened yet.
    Inside(Parent),
    /// In use.
    Open(Scope, Whose),
    /// Ended, with what there was to end.
    Disposed(Option<Scope>),
}

/// The operation that a child is a part of.
pub(crate) struct Parent {
    /// What its scope is called.
    pub(crate) name: String,
    pub(crate) home: Arc<Home>,
}

#[derive(Clone, Copy)]
enum Whose {
    Shared,
    Owned,
    Parents,
}

impl Home {
    pub(crate) fn shared(container: Scope) -> Self {
        Self(Mutex::new(Source::Shared(container)))
    }

    pub(crate) fn owned(config: Option<FactoryConfig>) -> Self {
        Self(Mutex::new(Source::Owned(config.map(Box::new))))
    }

    pub(crate) fn inside(parent: Parent) -> Self {
        Self(Mutex::new(Source::Inside(parent)))
    }

    /// The scope of the operation, opened as `name` if it is the first time.
    pub(crate) fn scope(&self, name: &dyn Fn() -> String) -> Result<Scope, Reason> {
        let mut source = self.0.lock();
        let open = |around: &Scope| around.child(name()).open().map_err(Reason::Open);
        let (scope, whose) = match &*source {
            // It may have been ended with the scope around it.
            Source::Open(scope, _) if scope.state() == State::Open => return Ok(scope.clone()),
            Source::Open(..) | Source::Disposed(_) => return Err(Reason::Disposed),
            Source::Shared(container) => (open(container)?, Whose::Shared),
            Source::Owned(config) => {
                let container = own_container(config.as_deref()).map_err(Reason::Setup)?;
                (Scope::clone(&container), Whose::Owned)
            }
            Source::Inside(parent) => {
                let around = parent.home.scope(&|| parent.name.clone())?;
                (open(&around)?, Whose::Parents)
            }
        };
        *source = Source::Open(scope.clone(), whose);
        Ok(scope)
    }

    /// Marks an operation that is dropped as ended, also for children that are still there; the
    /// scope to dispose of, if one was opened and is not disposed of yet.
    pub(crate) fn abandon(&self) -> Option<Scope> {
        let mut source = self.0.lock();
        match std::mem::replace(&mut *source, Source::Disposed(None)) {
            Source::Open(scope, _) => Some(scope),
            _ => None,
        }
    }

    /// Marks the operation as ended; the scope to dispose of, if one was opened.
    pub(crate) fn end(&self) -> Option<Scope> {
        let mut source = self.0.lock();
        let scope = match &*source {
            Source::Open(scope, _) => Some(scope.clone()),
            Source::Disposed(scope) => scope.clone(),
            Source::Shared(_) | Source::Owned(_) | Source::Inside(_) => None,
        };
        *source = Source::Disposed(scope.clone());
        scope
    }

    /// In a word or two, for people.
    pub(crate) fn describe(&self) -> &'static str {
        match &*self.0.lock() {
            Source::Shared(_) => "shared, not opened",
            Source::Owned(_) => "owned, not opened",
            Source::Inside(_) => "child, not opened",
            Source::Open(_, Whose::Shared) => "shared",
            Source::Open(_, Whose::Owned) => "owned",
            Source::Open(_, Whose::Parents) => "child",
            Source::Disposed(_) => "disposed",
        }
    }
}

/// Built without waiting: pools are made when they are asked for.
fn own_container(config: Option<&FactoryConfig>) -> Result<Container, SetupError> {
    let config = match config {
        Some(config) => config.clone(),
        None => ConfigSources::standard().load()?,
    };
    let mut builder = Container::builder();
    builder.on_leak(LeakPolicy::SpawnDispose);
    let own = register(&mut builder, config)?;
    builder.name(own.service);
    Ok(builder.build()?)
}
