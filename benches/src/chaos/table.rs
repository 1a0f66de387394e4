//! The outcomes as a Markdown table.

use pool_chaos::{Outcome, Scenario};

type Row = (Scenario, &'static str, Option<Outcome>);

/// All outcomes in the order in which they came.
#[derive(Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds one; `None` where the scenario does not apply.
    pub fn add(&mut self, scenario: Scenario, subject: &'static str, outcome: Option<Outcome>) {
        self.0.push((scenario, subject, outcome));
    }

    pub fn rows(&self) -> &[Row] {
        &self.0
    }

    pub fn print(&self) {
        println!(
            "| scenario | subject | successes | errors | given up | lost writes | wrong reads | \
             late acquires | slowest acquire ms | recovery ms | leaked | connects/s while down | \
             without cause |"
        );
        println!("|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
        let mut last = None;
        for (scenario, subject, outcome) in &self.0 {
            let name = if last == Some(scenario) {
                ""
            } else {
                scenario.name()
            };
            last = Some(scenario);
            let Some(outcome) = outcome else {
                println!("| {name} | {subject} |  |  |  |  |  |  |  |  |  |  |  |");
                continue;
            };
            let recovery = match outcome.recovery {
                Some(recovery) => format!("{:.0}", recovery.as_secs_f64() * 1e3),
                None if outcome.was_down => "never".to_owned(),
                None => String::new(),
            };
            let attempts = outcome.attempts_per_s;
            println!(
                "| {name} | {subject} | {} | {} | {} | {} | {} | {} | {:.0} | {recovery} | {} | {} \
                 | {} |",
                outcome.successes,
                outcome.failures,
                outcome.given_up,
                outcome.lost_writes,
                outcome.wrong_reads,
                outcome.late_acquires,
                outcome.slowest_acquire.as_secs_f64() * 1e3,
                outcome.leaked_connections,
                attempts.map_or_else(String::new, |attempts| format!("{attempts:.1}")),
                outcome.errors_without_cause.len(),
            );
        }
    }
}
