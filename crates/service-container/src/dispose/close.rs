//! Closing a scope.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{Shared, join_all};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::deadline::Limit;
use super::plan::{Job, Patience, run};
use super::{Deadline, DisposeOptions, DisposeReport, Outcome, Plan};
use crate::create::Running;
use crate::inner::{Books, Created, Inner};
use crate::ledger::State;
use crate::registry::ServiceId;
use crate::service::View;

type ReportFuture = Pin<Box<dyn Future<Output = DisposeReport> + Send>>;

/// A disposal begun, for everybody who wants its report.
#[derive(Clone, Debug)]
pub(crate) enum Disposal {
    Done(DisposeReport),
    Running(Shared<ReportFuture>),
}

impl Disposal {
    pub(crate) async fn report(self) -> DisposeReport {
        match self {
            Self::Done(report) => report,
            Self::Running(report) => report.await,
        }
    }
}

/// Closes a scope, or joins whoever closed it before. What needs waiting for is waited for in a task.
///
/// # Panics
///
/// Panics when something has to be waited for and there is no runtime to do it on.
pub(crate) fn close(scope: &Arc<Inner>, options: DisposeOptions) -> Disposal {
    let mut work = None;
    let closed = scope.ledger.close(|books, in_flight| {
        books.closed_at = Some(Instant::now());
        let idle = in_flight == 0
            && scope.tasks_used().is_none_or(|tasks| tasks.is_empty())
            && !has_disposers(scope, &books.created);
        let children = scope.children.alive();
        let disposal = if idle && children.is_empty() {
            Disposal::Done(DisposeReport::new(scope.name.clone()))
        } else {
            let (tell, told) = tokio::sync::oneshot::channel();
            let deadline = after(Instant::now(), options.deadline);
            let deadline = Arc::new(Deadline::new(deadline, options.grace));
            books.deadline = Some(Arc::clone(&deadline));
            work = Some((children, deadline, tell));
            let mut lost = DisposeReport::new(scope.name.clone());
            lost.interrupted = true;
            let report = async move { told.await.unwrap_or(lost) };
            Disposal::Running((Box::pin(report) as ReportFuture).shared())
        };
        books.disposal = Some(disposal.clone());
        disposal
    });
    let Some(disposal) = closed else {
        let begun = scope.ledger.with(|books| books.disposal.clone());
        return begun.expect("a scope that is not open has a disposal");
    };
    scope.cancel();
    match work {
        None => scope.ledger.closed(),
        Some((children, deadline, tell)) => {
            let runtime = scope
                .registry()
                .settings
                .runtime
                .clone()
                .unwrap_or_else(Handle::current);
            let span = tracing::debug_span!("container.close", scope = %scope.name);
            let scope = Arc::clone(scope);
            let work = async move {
                let report = wind_down(Arc::clone(&scope), children, deadline, options).await;
                if !report.is_clean() && !is_awaited(&scope) {
                    let scope = &scope.name;
                    tracing::warn!(%scope, %report, "a scope was not disposed of cleanly");
                }
                // Nobody may be left to tell.
                let _ = tell.send(report);
            };
            runtime.spawn(work.instrument(span));
        }
    }
    disposal
}

/// Whether anybody waits for the report of a disposal that is running. What goes on in the background
/// has nobody.
fn is_awaited(scope: &Inner) -> bool {
    scope.ledger.with(|books| match &books.disposal {
        // One of them is that in the books.
        Some(Disposal::Running(report)) => report.strong_count().is_none_or(|count| count > 1),
        _ => true,
    })
}

/// Tasks and creations first, then the scopes inside, then the services.
async fn wind_down(
    scope: Arc<Inner>,
    children: Vec<Arc<Inner>>,
    deadline: Arc<Deadline>,
    options: DisposeOptions,
) -> DisposeReport {
    let started = Instant::now();
    let mut report = DisposeReport::new(scope.name.clone());

    let quiet = async {
        if let Some(tasks) = scope.tasks_used() {
            tasks.close();
            tasks.wait().await;
        }
        settled(&scope).await;
    };
    if deadline.wait(options.task_timeout, quiet).await.is_none() {
        report.unfinished_tasks = scope.tasks_used().map_or(0, TaskTracker::len);
        scope.ledger.each_attempt(|service, running| {
            report
                .unfinished_creations
                .push(scope.registry().name_of(service));
            if let Running::Owned { task, .. } = running
                && let Some(task) = task.get()
            {
                task.abort();
            }
        });
    }

    let open = children
        .into_iter()
        .filter(|child| child.ledger.state() != State::Closed);
    let closing = open.map(|child| {
        let disposal = close(&child, child.dispose_options);
        // It may have been closing before, with more time than there is here.
        hurry(&child, deadline.inside());
        disposal.report()
    });
    report.children = join_all(closing).await;

    let (created, observed) = scope.ledger.with(|books| {
        (
            books.created.clone(),
            books.observed.iter().copied().collect::<Vec<_>>(),
        )
    });
    report.services = plan(&scope, &created, &observed, options)
        .run(&deadline)
        .await;
    report.services.splice(
        0..0,
        scope.ledger.with(|books| std::mem::take(&mut books.late)),
    );
    report.elapsed = started.elapsed();
    scope.ledger.closed();
    report
}

/// Keeps the disposal of a scope that is closing, and those of the scopes inside, within `limit`.
///
/// A scope inside that is not closing yet is told by whoever closes it: the deadline here is
/// shortened before the scopes inside are looked at, and there it is read after closing them.
fn hurry(scope: &Arc<Inner>, limit: Limit) {
    let (deadline, children) = scope
        .ledger
        .with(|books| (books.deadline.clone(), scope.children.alive()));
    let Some(deadline) = deadline else {
        return;
    };
    deadline.shorten(limit);
    for child in children {
        hurry(&child, deadline.inside());
    }
}

/// Ends when no creation is in flight.
async fn settled(scope: &Inner) {
    while scope.ledger.in_flight() > 0 {
        // One permit is kept if the last one settles in between.
        scope.settled.notified().await;
    }
}

/// The disposers of what is in `created`, tied to the instances in the cells of the scope.
pub(crate) fn plan(
    scope: &Inner,
    created: &[Created],
    observed: &[(ServiceId, ServiceId)],
    options: DisposeOptions,
) -> Plan {
    let job = |created: &Created| {
        let registered = scope.registry().service(created.service);
        let view = scope.view(scope.registry().target_of(created.service));
        Job {
            service: registered.name.clone(),
            dispose: registered
                .dispose
                .as_ref()
                .zip(view)
                .map(|(bind, view)| bind(view)),
            timeout: registered
                .dispose_timeout
                .unwrap_or(options.service_timeout),
        }
    };
    let place = |service| {
        created
            .iter()
            .position(|created| created.service == service)
    };
    Plan {
        scope: scope.name.clone(),
        jobs: created.iter().map(job).collect(),
        edges: observed
            .iter()
            .filter_map(|(user, used)| Some((place(*user)?, place(*used)?)))
            .collect(),
        options,
    }
}

/// Disposes of an instance that was made for a scope which has closed meanwhile.
pub(crate) async fn dispose_late(scope: &Arc<Inner>, service: ServiceId, view: &View) {
    let registered = scope.registry().service(service);
    let Some(bind) = &registered.dispose else {
        return;
    };
    let limit = registered
        .dispose_timeout
        .unwrap_or(scope.dispose_options.service_timeout);
    // The disposer is spawned before the first await, so it ends even if its maker is dropped here.
    let patience = Patience::Alone(limit);
    let disposed = run(&scope.name, registered.name.clone(), bind(view), patience).await;
    if !matches!(disposed.outcome, Outcome::Clean) {
        tracing::warn!(
            scope = %scope.name,
            service = %disposed.service,
            outcome = %disposed.outcome,
            "a service created too late was not disposed of cleanly"
        );
    }
    scope
        .ledger
        .with(|books: &mut Books| books.late.push(disposed));
}

/// A moment so far away that it cannot be told stands for one that never comes.
pub(crate) fn after(moment: Instant, duration: Duration) -> Instant {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);
    moment
        .checked_add(duration)
        .unwrap_or_else(|| moment + YEAR)
}

fn has_disposers(scope: &Inner, created: &[Created]) -> bool {
    created
        .iter()
        .any(|created| scope.registry().service(created.service).dispose.is_some())
}
