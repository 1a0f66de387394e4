//! What became of everything.

use std::error::Error;
use std::fmt;
use std::time::Duration;

use crate::service::SharedError;
use crate::{Name, ServiceName};

/// What became of a scope and of everything in it. Complete whatever went wrong.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DisposeReport {
    /// The scope.
    pub scope: Name,
    /// How long its disposal took.
    pub elapsed: Duration,
    /// The services with a disposer, in the order in which they ended.
    pub services: Vec<Disposed>,
    /// The scopes that were still open in it, disposed of before its own services.
    pub children: Vec<Self>,
    /// How many tracked tasks were still running when waiting for them ended.
    pub unfinished_tasks: usize,
    /// Services whose creation was given up because it was still running when waiting ended.
    pub unfinished_creations: Vec<ServiceName>,
    /// Whether the runtime shut down before the disposal had ended. Nothing else is known then.
    pub interrupted: bool,
}

/// What became of one service.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Disposed {
    /// The service.
    pub service: ServiceName,
    /// How long its disposer ran.
    pub elapsed: Duration,
    /// How it ended.
    pub outcome: Outcome,
}

/// How a disposer ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// As it should.
    Clean,
    /// With an error.
    Failed(SharedError),
    /// With a panic, of which this is the message.
    Panicked(String),
    /// Begun when the deadline had passed, and not done within the grace period.
    SkippedDeadline,
    /// Not within its timeout, or not by the deadline.
    TimedOut,
}

impl Outcome {
    /// Whether it ended as it should.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        matches!(self, Self::Clean)
    }
}

impl DisposeReport {
    pub(crate) fn new(scope: Name) -> Self {
        Self {
            scope,
            elapsed: Duration::ZERO,
            services: Vec::new(),
            children: Vec::new(),
            unfinished_tasks: 0,
            unfinished_creations: Vec::new(),
            interrupted: false,
        }
    }

    /// Whether everything ended as it should, in the scopes inside too.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.interrupted
            && self.unfinished_tasks == 0
            && self.unfinished_creations.is_empty()
            && self
                .services
                .iter()
                .all(|service| service.outcome.is_clean())
            && self.children.iter().all(Self::is_clean)
    }

    /// The services that did not end as they should, in the scopes inside too.
    #[must_use]
    pub fn failures(&self) -> Vec<&Disposed> {
        let own = self
            .services
            .iter()
            .filter(|service| !service.outcome.is_clean());
        self.children
            .iter()
            .flat_map(Self::failures)
            .chain(own)
            .collect()
    }

    pub(crate) fn into_result(self) -> Result<Self, DisposeError> {
        if self.is_clean() {
            Ok(self)
        } else {
            Err(DisposeError {
                report: Box::new(self),
            })
        }
    }

    fn write_problems(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scope = &self.scope;
        for child in &self.children {
            child.write_problems(f)?;
        }
        if self.interrupted {
            write!(
                f,
                "\n  scope `{scope}`: the runtime shut down before the end"
            )?;
        }
        if self.unfinished_tasks > 0 {
            write!(
                f,
                "\n  scope `{scope}`: {} tasks still running",
                self.unfinished_tasks
            )?;
        }
        for service in &self.unfinished_creations {
            write!(f, "\n  scope `{scope}`: {service} was still being created")?;
        }
        for service in self
            .services
            .iter()
            .filter(|service| !service.outcome.is_clean())
        {
            write!(f, "\n  scope `{scope}`: {service}")?;
        }
        Ok(())
    }

    fn write_at(&self, f: &mut fmt::Formatter<'_>, depth: usize) -> fmt::Result {
        let indent = depth * 2;
        write!(
            f,
            "{:indent$}scope `{}` disposed of in {:.3?}",
            "", self.scope, self.elapsed
        )?;
        for child in &self.children {
            f.write_str("\n")?;
            child.write_at(f, depth + 1)?;
        }
        if self.interrupted {
            write!(f, "\n{:indent$}  the runtime shut down before the end", "")?;
        }
        if self.unfinished_tasks > 0 {
            write!(
                f,
                "\n{:indent$}  {} tasks still running",
                "", self.unfinished_tasks
            )?;
        }
        for service in &self.unfinished_creations {
            write!(f, "\n{:indent$}  {service} was still being created", "")?;
        }
        for service in &self.services {
            write!(f, "\n{:indent$}  {service}", "")?;
        }
        Ok(())
    }
}

impl fmt::Display for DisposeReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_at(f, 0)
    }
}

impl fmt::Display for Disposed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} after {:.3?}",
            self.service, self.outcome, self.elapsed
        )
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clean => f.write_str("clean"),
            Self::Failed(error) => {
                write!(f, "failed: {error}")?;
                let mut source = error.source();
                while let Some(error) = source {
                    write!(f, ": {error}")?;
                    source = error.source();
                }
                Ok(())
            }
            Self::Panicked(message) => write!(f, "panicked: {message}"),
            Self::SkippedDeadline => f.write_str("skipped: the deadline had passed"),
            Self::TimedOut => f.write_str("timed out"),
        }
    }
}

/// Something did not end as it should; everything else was disposed of all the same.
#[derive(Clone)]
pub struct DisposeError {
    report: Box<DisposeReport>,
}

impl DisposeError {
    /// What became of everything.
    #[must_use]
    pub fn report(&self) -> &DisposeReport {
        &self.report
    }

    /// What became of everything, without the error around it.
    #[must_use]
    pub fn into_report(self) -> DisposeReport {
        *self.report
    }
}

impl fmt::Display for DisposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "scope `{}` was not disposed of cleanly",
            self.report.scope
        )?;
        self.report.write_problems(f)
    }
}

impl fmt::Debug for DisposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DisposeError")
            .field("report", &self.report)
            .finish()
    }
}

impl Error for DisposeError {
    /// The first error a disposer returned, if one did.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.report
            .failures()
            .into_iter()
            .find_map(|service| match &service.outcome {
                Outcome::Failed(error) => Some(&**error as &(dyn Error + 'static)),
                _ => None,
            })
    }
}
