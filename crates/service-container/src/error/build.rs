//! Everything wrong with a set of registrations.

use std::error::Error;
use std::fmt;
use std::panic::Location;

use crate::name::write_path;
use crate::{Name, ServiceName};

/// Why a container could not be built: every problem, not the first.
#[derive(Debug)]
pub struct BuildError {
    container: Name,
    problems: Vec<BuildProblem>,
}

/// One thing wrong with a set of registrations.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum BuildProblem {
    /// A dependency has several providers and no name to choose by.
    #[non_exhaustive]
    Ambiguous {
        /// The service that depends on it.
        service: ServiceName,
        /// What it depends on.
        dependency: ServiceName,
        /// Who provides that.
        providers: Vec<ServiceName>,
        /// Where the service is registered.
        location: &'static Location<'static>,
    },
    /// A singleton would keep a scoped service past the end of its scope.
    #[non_exhaustive]
    Captive {
        /// From the singleton to the scoped service, through transient ones if there are any.
        path: Vec<ServiceName>,
        /// Where the singleton is registered.
        location: &'static Location<'static>,
    },
    /// Services need each other to be created.
    #[non_exhaustive]
    Cycle {
        /// The services, the first repeated at the end.
        path: Vec<ServiceName>,
        /// Where the first of them is registered.
        location: &'static Location<'static>,
    },
    /// A type is registered twice under the same name, or twice without one.
    #[non_exhaustive]
    Duplicate {
        /// The service.
        service: ServiceName,
        /// Where it is registered first.
        first: &'static Location<'static>,
        /// Where it is registered again.
        second: &'static Location<'static>,
    },
    /// A dependency is registered nowhere.
    #[non_exhaustive]
    Missing {
        /// The service that depends on it.
        service: ServiceName,
        /// What it depends on.
        dependency: ServiceName,
        /// The names under which that type is registered, if it is under any.
        names: Vec<Name>,
        /// Where the service is registered.
        location: &'static Location<'static>,
    },
    /// A service was to be replaced that is not registered.
    #[non_exhaustive]
    NothingToReplace {
        /// The service.
        service: ServiceName,
        /// Where it was to be replaced.
        location: &'static Location<'static>,
    },
}

impl BuildError {
    pub(crate) fn new(container: Name, problems: Vec<BuildProblem>) -> Self {
        Self {
            container,
            problems,
        }
    }

    /// Every problem there is. Never empty.
    #[must_use]
    pub fn problems(&self) -> &[BuildProblem] {
        &self.problems
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(
            f,
            "cannot build container `{}`: {count} {noun}",
            self.container
        )?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for BuildProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ambiguous {
                service,
                dependency,
                providers,
                location,
            } => {
                write!(f, "ambiguous: {service} needs {dependency}, provided by")?;
                for (index, provider) in providers.iter().enumerate() {
                    write!(f, "{} {provider}", if index == 0 { "" } else { "," })?;
                }
                write!(f, " ({location})")
            }
            Self::Captive { path, location } => {
                f.write_str("captive: a singleton would keep a scoped service: ")?;
                write_path(f, path)?;
                write!(f, " ({location})")
            }
            Self::Cycle { path, location } => {
                f.write_str("cycle: ")?;
                write_path(f, path)?;
                write!(f, " ({location})")
            }
            Self::Duplicate {
                service,
                first,
                second,
            } => {
                write!(
                    f,
                    "duplicate: {service} is registered at {first} and again at {second}"
                )
            }
            Self::Missing {
                service,
                dependency,
                names,
                location,
            } => {
                write!(
                    f,
                    "missing: {service} needs {dependency}, which nothing provides"
                )?;
                for (index, name) in names.iter().enumerate() {
                    write!(
                        f,
                        "{} {name}",
                        if index == 0 { "; names it has:" } else { "," }
                    )?;
                }
                write!(f, " ({location})")
            }
            Self::NothingToReplace { service, location } => {
                write!(
                    f,
                    "nothing to replace: {service} is not registered ({location})"
                )
            }
        }
    }
}

impl Error for BuildError {}
