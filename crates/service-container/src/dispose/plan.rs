//! Disposing of the services of one scope.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;
use tracing::Instrument;

use super::Deadline;
use super::order::Order;
use crate::error::Panic;
use crate::registered::Bound;
use crate::{DisposeOptions, Disposed, Name, Outcome, ServiceName};

/// The disposers of one scope, tied to their instances, and who used whom.
///
/// It needs nothing of the scope it came from, which may be gone.
pub(crate) struct Plan {
    pub(crate) scope: Name,
    /// In order of creation.
    pub(crate) jobs: Vec<Job>,
    /// `(a, b)`: the job `a` used the job `b`.
    pub(crate) edges: Vec<(usize, usize)>,
    pub(crate) options: DisposeOptions,
}

pub(crate) struct Job {
    pub(crate) service: ServiceName,
    /// `None` for a service that has nothing to do but holds its place in the order.
    pub(crate) dispose: Option<Bound>,
    pub(crate) timeout: Duration,
}

impl Plan {
    /// The services with a disposer.
    pub(crate) fn pending(&self) -> impl Iterator<Item = &ServiceName> {
        self.jobs
            .iter()
            .filter(|job| job.dispose.is_some())
            .map(|job| &job.service)
    }

    /// Runs every disposer: in order until the deadline, then all that are left at once.
    pub(crate) async fn run(self, deadline: &Deadline) -> Vec<Disposed> {
        let Self {
            scope,
            mut jobs,
            edges,
            options,
        } = self;
        let mut order = Order::new(jobs.len(), edges);
        let mut disposed = Vec::new();
        let mut running = FuturesUnordered::new();
        while !deadline.has_passed() {
            while running.len() < options.max_concurrent.get()
                && let Some(next) = order.next()
            {
                let job = &mut jobs[next];
                let Some(dispose) = job.dispose.take() else {
                    order.gone(next);
                    continue;
                };
                let (service, limit) = (job.service.clone(), job.timeout);
                let scope = &scope;
                running.push(async move {
                    let patience = Patience::Until(deadline, limit);
                    (next, run(scope, service, dispose, patience).await)
                });
            }
            let Some((done, outcome)) = running.next().await else {
                return disposed;
            };
            order.gone(done);
            disposed.push(outcome);
        }
        // Those begun before end at the deadline, which is now.
        while let Some((_, outcome)) = running.next().await {
            disposed.push(outcome);
        }
        let rest = order.rest().into_iter().filter_map(|index| {
            let job = &mut jobs[index];
            Some(run(
                &scope,
                job.service.clone(),
                job.dispose.take()?,
                Patience::Grace(deadline),
            ))
        });
        disposed.extend(join_all(rest).await.into_iter().map(|mut late| {
            if matches!(late.outcome, Outcome::TimedOut) {
                late.outcome = Outcome::SkippedDeadline;
            }
            late
        }));
        disposed
    }
}

/// How long to wait for one disposer.
pub(super) enum Patience<'d> {
    Alone(Duration),
    Grace(&'d Deadline),
    Until(&'d Deadline, Duration),
}

impl Patience<'_> {
    async fn wait<T>(self, work: impl Future<Output = T>) -> Option<T> {
        match self {
            Self::Alone(limit) => tokio::time::timeout(limit, work).await.ok(),
            Self::Grace(deadline) => deadline.wait_in_grace(work).await,
            Self::Until(deadline, limit) => deadline.wait(limit, work).await,
        }
    }
}

/// Runs one disposer for as long as there is patience.
///
/// It runs in a task of its own, so that one that blocks its thread is given up on all the same.
pub(super) async fn run(
    scope: &Name,
    service: ServiceName,
    dispose: Bound,
    patience: Patience<'_>,
) -> Disposed {
    let started = Instant::now();
    let span = tracing::debug_span!("container.dispose", %service, %scope);
    let mut task = tokio::spawn(async move { dispose().await }.instrument(span));
    let outcome = match patience.wait(&mut task).await {
        Some(Ok(Ok(()))) => Outcome::Clean,
        Some(Ok(Err(error))) => Outcome::Failed(error.into()),
        Some(Err(error)) => match error.try_into_panic() {
            Ok(payload) => Outcome::Panicked(Panic::new(&*payload).0),
            Err(cancelled) => Outcome::Failed(std::sync::Arc::new(cancelled)),
        },
        None => {
            task.abort();
            Outcome::TimedOut
        }
    };
    Disposed {
        service,
        elapsed: started.elapsed(),
        outcome,
    }
}
