//! What a scenario has shown.

use std::time::Duration;

/// The figures of one subject in one scenario.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// Operations that ended well.
    pub successes: u64,
    /// Callers that were told of an error.
    pub failures: u64,
    /// Operations that their callers gave up.
    pub given_up: u64,
    /// Acknowledged writes that are not there afterwards.
    pub lost_writes: u64,
    /// Reads of an acknowledged row that found another value, or none.
    pub wrong_reads: u64,
    /// Acquires that took longer than their timeout and the slack.
    pub late_acquires: u64,
    /// The longest acquire.
    pub slowest_acquire: Duration,
    /// From the moment when the server took writes again to the first that was acknowledged; `None`
    /// where nothing had to be recovered from, or nothing recovered.
    pub recovery: Option<Duration>,
    /// Whether there was something to recover from.
    pub was_down: bool,
    /// Once nobody uses it: the difference between the server's count of connections and the
    /// subject's own, and what the subject takes for in use or waited for.
    pub leaked_connections: u32,
    /// Connections begun a second while the server was not there; `None` where nobody counts.
    pub attempts_per_s: Option<f64>,
    /// How many of them there may be; `None` for a subject that promises nothing.
    pub attempts_allowed: Option<f64>,
    /// Errors that say no more than that a time was over, by their text.
    pub errors_without_cause: Vec<String>,
    /// The last error.
    pub last_failure: Option<String>,
}

impl Outcome {
    /// What must not have happened, and did.
    #[must_use]
    pub fn complaints(&self, recovers_within: Duration) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut none = |what: &str, count: u64| {
            if count > 0 {
                complaints.push(format!("{what} {count}"));
            }
        };
        none("lost_writes", self.lost_writes);
        none("wrong_reads", self.wrong_reads);
        none("late_acquires", self.late_acquires);
        none("leaked_connections", self.leaked_connections.into());
        none(
            "errors_without_cause",
            self.errors_without_cause.len() as u64,
        );
        none("no success at all", (self.successes == 0).into());
        match self.recovery {
            Some(recovery) if recovery <= recovers_within => {}
            Some(recovery) => complaints.push(format!("recovery took {recovery:?}")),
            None if self.was_down => complaints.push("never recovered".to_owned()),
            None => {}
        }
        if let (Some(attempts), Some(allowed)) = (self.attempts_per_s, self.attempts_allowed)
            && attempts > allowed
        {
            complaints.push(format!(
                "connect_attempts_per_s {attempts:.1}, more than {allowed:.1}"
            ));
        }
        complaints
    }
}
