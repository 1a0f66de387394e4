//! How the services are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::ServiceName;
use crate::error::Panic;
use crate::inner::Inner;
use crate::registered::Bound;
use crate::service::SharedError;

/// How the services of a scope are, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HealthReport {
    /// The services that exist and have a check, in the order in which they were created.
    pub services: Vec<ServiceHealth>,
    /// How long asking took.
    pub elapsed: Duration,
}

/// How one service is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServiceHealth {
    /// The service.
    pub service: ServiceName,
    /// What its check said.
    pub status: HealthStatus,
    /// How long its check took.
    pub elapsed: Duration,
}

/// What a check said.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum HealthStatus {
    /// All is well.
    Healthy,
    /// Nothing: it panicked, with this message.
    Panicked(String),
    /// Nothing in time.
    TimedOut,
    /// This is wrong.
    Unhealthy(SharedError),
}

impl HealthReport {
    /// Whether every service asked is healthy.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        self.services
            .iter()
            .all(|service| matches!(service.status, HealthStatus::Healthy))
    }
}

impl fmt::Display for HealthReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let healthy = if self.is_healthy() {
            "healthy"
        } else {
            "unhealthy"
        };
        write!(
            f,
            "{healthy}, {} services asked in {:.3?}",
            self.services.len(),
            self.elapsed
        )?;
        for service in &self.services {
            write!(
                f,
                "\n  {} {} after {:.3?}",
                service.service, service.status, service.elapsed
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Healthy => f.write_str("healthy"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::TimedOut => f.write_str("timed out"),
            Self::Unhealthy(error) => write!(f, "unhealthy: {error}"),
        }
    }
}

pub(crate) async fn check(scope: &Arc<Inner>, timeout: Duration) -> HealthReport {
    let started = Instant::now();
    let checks: Vec<(ServiceName, Bound)> = scope
        .created()
        .iter()
        .filter_map(|created| {
            let registered = scope.registry().service(created.service);
            let view = scope.view(scope.registry().target_of(created.service))?;
            Some((registered.name.clone(), registered.health.as_ref()?(view)))
        })
        .collect();
    let asked = checks
        .into_iter()
        .map(|(service, check)| ask(service, check, timeout));
    let services = join_all(asked).await;
    HealthReport {
        services,
        elapsed: started.elapsed(),
    }
}

async fn ask(service: ServiceName, check: Bound, timeout: Duration) -> ServiceHealth {
    let started = Instant::now();
    let check = std::panic::AssertUnwindSafe(async move { check().await }).catch_unwind();
    let status = match tokio::time::timeout(timeout, check).await {
        Ok(Ok(Ok(()))) => HealthStatus::Healthy,
        Ok(Ok(Err(error))) => HealthStatus::Unhealthy(error.into()),
        Ok(Err(payload)) => HealthStatus::Panicked(Panic::new(&*payload).0),
        Err(_) => HealthStatus::TimedOut,
    };
    ServiceHealth {
        service,
        status,
        elapsed: started.elapsed(),
    }
}
