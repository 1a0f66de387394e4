//! What is wrong with a configuration, all of it.

use std::fmt;

/// A configuration that cannot be used, with every reason at once.
///
/// Values are never part of the text: a password that stands in the wrong place stays unprinted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigError {
    /// Each reason with its place, in the order of the configuration.
    pub problems: Vec<ConfigProblem>,
}

/// One thing wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigProblem {
    /// The key as its source spells it, and the file, variable or line of code it comes from.
    pub place: String,
    /// What is wrong there.
    pub message: String,
}

impl ConfigError {
    pub(crate) fn check(mut problems: Vec<ConfigProblem>) -> Result<(), Self> {
        // A mistake among the defaults shows once for each service.
        let mut seen = Vec::new();
        problems.retain(|problem| {
            let new = !seen.contains(problem);
            if new {
                seen.push(problem.clone());
            }
            new
        });
        if problems.is_empty() {
            Ok(())
        } else {
            Err(Self { problems })
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configuration: ")?;
        for (at, problem) in self.problems.iter().enumerate() {
            if at > 0 {
                write!(f, "; ")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
