//! The cold path: creating what is not there yet.
//!
//! A singleton is created in a task the container owns, so a caller who gives up leaves the others,
//! and the next caller, what they came for. A scoped service is created by those who wait for it,
//! all polling one future: it goes on while one of them is left and stops with the last.

use std::any::TypeId;
use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Shared, WeakShared};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::Instrument;

use crate::dispose::{after, dispose_late};
use crate::error::{Detail, Panic};
use crate::inner::{Created, Inner};
use crate::ledger::{Begin, Joinable};
use crate::node::{DoneOnDrop, Node};
use crate::registered::Source;
use crate::registry::{Lookup, Place, ServiceId, Target};
use crate::service::View;
use crate::{BoxError, Name, ResolveError, Resolver, Service, ServiceName};

type Outcome = Result<(), ResolveError>;
type OutcomeFuture = Pin<Box<dyn Future<Output = Outcome> + Send>>;

/// One attempt at creating a service, awaited by everybody who wants it.
pub(crate) type Attempt = Shared<OutcomeFuture>;

/// How the ledger remembers an attempt.
#[derive(Debug)]
pub(crate) enum Running {
    /// In a task of the container.
    Owned {
        attempt: Attempt,
        task: Arc<OnceLock<AbortHandle>>,
    },
    /// By its waiters, and only as long as there are any.
    Waiters(WeakShared<OutcomeFuture>),
}

impl Joinable for Running {
    type Joined = Attempt;

    fn join(&self) -> Option<Attempt> {
        match self {
            Self::Owned { attempt, .. } => Some(attempt.clone()),
            Self::Waiters(attempt) => attempt.upgrade(),
        }
    }
}

/// Resolves `T`. `origin` is what the resolver that asks was made for, if a resolver asks.
pub(crate) async fn get<T: ?Sized + Service>(
    scope: &Arc<Inner>,
    name: Option<&str>,
    origin: Option<&Arc<Node>>,
) -> Result<Arc<T>, ResolveError> {
    let type_id = TypeId::of::<T>();
    let wanted = || ServiceName {
        type_name: std::any::type_name::<T>(),
        name: name.map(|name| Name::from(name.to_owned())),
    };
    if !scope.ledger.is_open() {
        return Err(scope.closed_error(wanted()));
    }
    if let Some(view) = scope.overridden(type_id, name) {
        return Ok(Arc::clone(view.expect()));
    }
    let detail = match scope.registry().lookup(type_id, name) {
        Lookup::Found(target) => return get_target(scope, target, origin).await,
        Lookup::Ambiguous(providers) => Detail::Ambiguous { providers },
        Lookup::Missing => Detail::Missing {
            names: scope.registry().names_of(type_id),
        },
    };
    Err(ResolveError::new(wanted(), scope.name.clone(), detail))
}

/// Resolves every provider of `T`.
pub(crate) async fn get_all<T: ?Sized + Service>(
    scope: &Arc<Inner>,
    origin: Option<&Arc<Node>>,
) -> Result<Vec<Arc<T>>, ResolveError> {
    if !scope.ledger.is_open() {
        return Err(scope.closed_error(ServiceName::of::<T>()));
    }
    let registry = scope.registry();
    let targets = registry.all(TypeId::of::<T>());
    let mut services = Vec::with_capacity(targets.len());
    for target in targets {
        services.push(get_target(scope, *target, origin).await?);
    }
    Ok(services)
}

pub(crate) async fn get_target<T: ?Sized + Service>(
    scope: &Arc<Inner>,
    target: Target,
    origin: Option<&Arc<Node>>,
) -> Result<Arc<T>, ResolveError> {
    let owner = match target.place {
        Place::Nowhere => {
            let views = create_transient(scope, target.service, origin).await?;
            record(scope, target, origin);
            return Ok(Arc::clone(views[target.view as usize].expect()));
        }
        Place::Root(_) => scope.top(),
        Place::Scope(_) if scope.is_root() => {
            let service = scope.registry().name_of(target.service);
            return Err(ResolveError::new(
                service,
                scope.name.clone(),
                Detail::Captive,
            ));
        }
        Place::Scope(_) => scope,
    };
    ensure(owner, target.service, origin).await?;
    record(owner, target, origin);
    let view = owner.view(target).expect("what was ensured is there");
    Ok(Arc::clone(view.expect()))
}

/// Waits until `service` exists in `owner`, creating it if nobody does.
pub(crate) async fn ensure(
    owner: &Arc<Inner>,
    service: ServiceId,
    origin: Option<&Arc<Node>>,
) -> Outcome {
    if owner.is_created(service) {
        return Ok(());
    }
    let registry = owner.registry();
    let fail = |detail| ResolveError::new(registry.name_of(service), owner.name.clone(), detail);
    let asking = origin.and_then(Node::asking);
    let slot = (owner.id, service);
    let _waiting = match asking.and_then(|asking| asking.owner) {
        Some(waiter) => Some(registry.waits.enter(waiter, slot).map_err(|way| {
            let way = way.iter().chain(way.first());
            fail(Detail::Cycle {
                cycle: way.map(|(_, service)| registry.name_of(*service)).collect(),
            })
        })?),
        None => None,
    };
    if !has_runtime(owner) {
        return Err(fail(Detail::NoRuntime));
    }

    let mut launch = None;
    let begun = owner.ledger.begin(
        service,
        || owner.is_created(service),
        |number| {
            let work = attempt(Arc::clone(owner), service, number, asking.cloned());
            if owner.is_root() {
                let (told, outcome) = oneshot::channel();
                let task = Arc::new(OnceLock::new());
                let lost = fail(Detail::Failed {
                    error: Arc::new(TaskLost),
                });
                let outcome = async move { outcome.await.unwrap_or(Err(lost)) };
                let attempt = (Box::pin(outcome) as OutcomeFuture).shared();
                launch = Some((work, told, Arc::clone(&task)));
                (
                    Running::Owned {
                        attempt: attempt.clone(),
                        task,
                    },
                    attempt,
                )
            } else {
                let attempt = (Box::pin(work) as OutcomeFuture).shared();
                let weak = attempt.downgrade().expect("it has not been polled");
                (Running::Waiters(weak), attempt)
            }
        },
    );
    match begun {
        Begin::Closed => Err(owner.closed_error(registry.name_of(service))),
        Begin::Created => Ok(()),
        Begin::Join(attempt) => attempt.await,
        Begin::Started(attempt) => {
            // Spawned without the lock: a runtime that is shutting down drops the task at once, and
            // dropping it takes the lock.
            if let Some((work, told, task)) = launch {
                let runtime = runtime(owner).ok_or_else(|| fail(Detail::NoRuntime))?;
                let spawned = runtime.spawn(async move {
                    let outcome = work.await;
                    // Nobody may be left to tell; the instance is there all the same.
                    let _ = told.send(outcome);
                });
                let _ = task.set(spawned.abort_handle());
            }
            attempt.await
        }
    }
}

/// Creates a service for one caller.
async fn create_transient(
    scope: &Arc<Inner>,
    service: ServiceId,
    origin: Option<&Arc<Node>>,
) -> Result<Vec<View>, ResolveError> {
    let registry = scope.registry();
    let slot = (scope.id, service);
    let asking = origin.and_then(Node::asking);
    if let Some(way) = asking.and_then(|asking| asking.way_from_transient(slot)) {
        let cycle = way
            .into_iter()
            .chain([service])
            .map(|id| registry.name_of(id))
            .collect();
        let detail = Detail::Cycle { cycle };
        return Err(ResolveError::new(
            registry.name_of(service),
            scope.name.clone(),
            detail,
        ));
    }
    if !has_runtime(scope) {
        let detail = Detail::NoRuntime;
        return Err(ResolveError::new(
            registry.name_of(service),
            scope.name.clone(),
            detail,
        ));
    }
    let owner = origin.and_then(|origin| origin.owner);
    let done = DoneOnDrop(Node::transient(slot, owner, asking.cloned()));
    let (views, _) = run(scope, service, &done.0)
        .instrument(create_span(scope, service))
        .await?;
    if !scope.ledger.is_open() {
        return Err(scope.closed_error(registry.name_of(service)));
    }
    Ok(views)
}

/// One attempt, from the call of the factory to the instance in its place.
fn attempt(
    scope: Arc<Inner>,
    service: ServiceId,
    number: u64,
    parent: Option<Arc<Node>>,
) -> impl Future<Output = Outcome> + Send + 'static {
    // Made now, not on the first poll: an attempt never polled settles too.
    let ticket = Ticket {
        scope,
        service,
        number,
    };
    let done = DoneOnDrop(Node::kept((ticket.scope.id, service), parent));
    let span = create_span(&ticket.scope, service);
    async move {
        let scope = &ticket.scope;
        let (views, took) = run(scope, service, &done.0).await?;
        drop(done);
        let mut views = Some(views);
        let enter = |books: &mut crate::inner::Books| {
            scope.store(service, views.take().expect("entered once"));
            books.created.push(Created { service, took });
        };
        if scope.ledger.publish(service, number, enter).is_ok() {
            return Ok(());
        }
        let views = views.expect("a refused instance stays with its maker");
        dispose_late(scope, service, &views[0]).await;
        Err(scope.closed_error(scope.registry().name_of(service)))
    }
    .instrument(span)
}

/// Ends an attempt in the ledger, whichever way it went.
struct Ticket {
    scope: Arc<Inner>,
    service: ServiceId,
    number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.scope.ledger.settle(self.service, self.number) {
            self.scope.settled.notify_one();
        }
    }
}

/// Calls the factory, and says what it made and how long that took without its arguments.
async fn run(
    scope: &Arc<Inner>,
    service: ServiceId,
    node: &Arc<Node>,
) -> Result<(Vec<View>, Duration), ResolveError> {
    let registry = scope.registry();
    let registered = registry.service(service);
    let fail = |detail| ResolveError::new(registered.name.clone(), scope.name.clone(), detail);
    let Source::Factory(factory) = &registered.source else {
        return Err(fail(Detail::Input));
    };
    let timeout = registered
        .create_timeout
        .unwrap_or(registry.settings.create_timeout);
    let resolver = Resolver::new(Arc::downgrade(scope), Arc::clone(node));
    let work = async {
        let needed = |error: ResolveError| error.needed_by(registered.name.clone());
        let creation = factory(resolver).await.map_err(needed)?;
        let started = Instant::now();
        match within(after(started, timeout), creation).await {
            Some(Ok(view)) => Ok((registered.views_of(view), started.elapsed())),
            Some(Err(error)) => Err(match error.downcast::<ResolveError>() {
                Ok(error) => needed(*error),
                Err(error) => fail(failed(error)),
            }),
            None => Err(fail(Detail::TimedOut { timeout })),
        }
    };
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    outcome.unwrap_or_else(|payload| Err(fail(failed(Box::new(Panic::new(&*payload))))))
}

/// Waits for `work`, but not past `deadline`. What need not wait has no timer, which would be a share
/// in the runtime.
async fn within<T>(deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let first = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
    match first {
        Poll::Ready(done) => Some(done),
        Poll::Pending => tokio::time::timeout_at(deadline, work).await.ok(),
    }
}

fn failed(error: BoxError) -> Detail {
    Detail::Failed {
        error: error.into(),
    }
}

/// Keeps that whatever `origin` was made for uses `target`: for the graph, and for the order in
/// which the two are disposed of.
fn record(scope: &Arc<Inner>, target: Target, origin: Option<&Arc<Node>>) {
    let Some(origin) = origin else { return };
    let seen = &scope.registry().observed;
    seen.insert(origin.service, target.service);
    if let Some((owner_scope, owner)) = origin.owner
        && owner_scope == scope.id
        && owner != target.service
        && !matches!(target.place, Place::Nowhere)
    {
        scope
            .ledger
            .with(|books| books.observed.insert((owner, target.service)));
    }
}

fn runtime(scope: &Inner) -> Option<Handle> {
    scope
        .registry()
        .settings
        .runtime
        .clone()
        .or_else(|| Handle::try_current().ok())
}

/// The same without a share in the runtime: all its threads write to the count of those.
pub(crate) fn has_runtime(scope: &Inner) -> bool {
    scope.registry().settings.runtime.is_some()
        || tokio::task::try_id().is_some()
        || Handle::try_current().is_ok()
}

fn create_span(scope: &Inner, service: ServiceId) -> tracing::Span {
    let service = &scope.registry().service(service).name;
    tracing::debug_span!("container.create", %service, scope = %scope.name)
}

/// The task that created a service was dropped: its runtime shut down, or its scope gave up waiting
/// for it.
#[derive(Debug)]
struct TaskLost;

impl std::fmt::Display for TaskLost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("its creation was abandoned: the runtime or the container was shutting down")
    }
}

impl std::error::Error for TaskLost {}
