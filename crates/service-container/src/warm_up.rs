//! Creating everything before the first caller.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use crate::inner::Inner;
use crate::registry::{Registry, ServiceId};
use crate::{Lifetime, ResolveError, ServiceName, create, validate};

/// What warming up created.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WarmUpReport {
    /// Every singleton, in the order in which creation ended.
    pub services: Vec<Warmed>,
    /// How long it all took.
    pub elapsed: Duration,
}

/// One singleton that exists.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Warmed {
    /// The service.
    pub service: ServiceName,
    /// How long its factory took, not counting its arguments.
    pub took: Duration,
}

/// Why warming up did not create everything.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct WarmUpError {
    /// The services that failed, each once.
    pub failures: Vec<ResolveError>,
    /// The services not begun, because one they need failed.
    pub blocked: Vec<ServiceName>,
    /// The singletons that exist all the same.
    pub report: WarmUpReport,
}

impl fmt::Display for WarmUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (failed, created) = (self.failures.len(), self.report.services.len());
        write!(f, "cannot warm up: {failed} failed, {created} created")?;
        for failure in &self.failures {
            write!(f, "\n  {failure}")?;
            let mut source = failure.source();
            while let Some(error) = source {
                write!(f, ": {error}")?;
                source = error.source();
            }
        }
        for blocked in &self.blocked {
            write!(f, "\n  {blocked} was not begun")?;
        }
        Ok(())
    }
}

impl Error for WarmUpError {
    /// The first failure.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.failures
            .first()
            .map(|failure| failure as &(dyn Error + 'static))
    }
}

pub(crate) async fn run(root: &Arc<Inner>) -> Result<WarmUpReport, WarmUpError> {
    let started = Instant::now();
    let registry = root.registry();
    let mut waiting: BTreeMap<ServiceId, BTreeSet<ServiceId>> = (0..)
        .zip(&registry.services)
        .filter(|(_, registered)| registered.lifetime == Lifetime::Singleton)
        .map(|(service, _)| (service, needed(registry, service)))
        .collect();
    let mut failures: Vec<ResolveError> = Vec::new();
    let mut running = FuturesUnordered::new();
    loop {
        let ready: Vec<_> = waiting
            .iter()
            .filter(|(_, needs)| needs.is_empty())
            .map(|(id, _)| *id)
            .collect();
        for service in ready {
            waiting.remove(&service);
            running.push(async move { (service, create::ensure(root, service, None).await) });
        }
        // What is still waiting when nothing runs needs something that failed.
        let Some((service, outcome)) = running.next().await else {
            break;
        };
        match outcome {
            Ok(()) => waiting.values_mut().for_each(|needs| {
                needs.remove(&service);
            }),
            // One failure may come back through several that found it while running.
            Err(error)
                if failures
                    .iter()
                    .any(|known| known.service() == error.service()) => {}
            Err(error) => failures.push(error),
        }
    }
    let created = root.created().into_iter();
    let report = WarmUpReport {
        services: created
            .map(|created| (registry.service(created.service), created.took))
            .filter(|(registered, _)| registered.lifetime == Lifetime::Singleton)
            .map(|(registered, took)| Warmed {
                service: registered.name.clone(),
                took,
            })
            .collect(),
        elapsed: started.elapsed(),
    };
    if failures.is_empty() {
        return Ok(report);
    }
    let blocked = waiting
        .into_keys()
        .map(|service| registry.name_of(service))
        .collect();
    Err(WarmUpError {
        failures,
        blocked,
        report,
    })
}

/// The singletons that must exist before this one, itself or through transient services.
fn needed(registry: &Registry, service: ServiceId) -> BTreeSet<ServiceId> {
    let mut needed = BTreeSet::new();
    let mut seen = BTreeSet::new();
    let mut unvisited = vec![service];
    while let Some(service) = unvisited.pop() {
        for dependency in validate::eager(registry, service) {
            match registry.service(dependency).lifetime {
                Lifetime::Singleton => {
                    needed.insert(dependency);
                }
                Lifetime::Transient if seen.insert(dependency) => unvisited.push(dependency),
                _ => {}
            }
        }
    }
    needed
}
