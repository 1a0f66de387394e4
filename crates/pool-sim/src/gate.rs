//! What the policies have to show, each as a comparison of two figures of one campaign.

use std::fmt;

use crate::campaign::Outcome;
use crate::subject::Subject;
use crate::workload::Workload;
use crate::world::run;

/// How many times as many callers may meet the timeout where the quantile of waits is the timeout:
/// in an overload two pools of one size differ by less.
const TIE: f64 = 1.01;

/// One promise and what was seen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Gate {
    /// Whether it is kept.
    pub holds: bool,
    /// The promise.
    pub promise: String,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.holds { "ok  " } else { "FAIL" };
        write!(f, "{mark} {}: {}", self.promise, self.seen)
    }
}

/// Pools by thresholds under steady loads from a tenth to three quarters of what the database can.
#[must_use]
pub fn steady(seed: u64) -> Gate {
    let rates = [100.0, 200.0, 400.0, 800.0, 1_600.0, 2_400.0];
    let flaps = rates.map(|rate| {
        let workload = Workload::steady(rate, 300.0);
        let run = run(&workload, Subject::ThresholdReactive, 1, seed);
        run.flaps.max(run.reversals)
    });
    Gate {
        holds: flaps.iter().all(|flaps| *flaps == 0),
        promise: "a constant load of 100/s to 2,400/s: threshold+reactive flaps 0, and takes no \
                  step back"
            .to_owned(),
        seen: format!("{flaps:?}"),
    }
}

/// Whether every run adds up: nobody is lost, and Little's law holds.
#[must_use]
pub fn sound(workloads: &[Workload], outcomes: &[Outcome]) -> Gate {
    let wrong: Vec<_> = outcomes
        .iter()
        .filter_map(|one| {
            let workload = workloads
                .iter()
                .find(|workload| workload.name == one.workload)?;
            let why = one.run.adds_up(workload).err()?;
            Some(format!("{} {}: {why}", one.workload, one.subject.name()))
        })
        .collect();
    Gate {
        holds: wrong.is_empty(),
        promise: "nobody is lost, and L = λ·W".to_owned(),
        seen: if wrong.is_empty() {
            format!("in {} of {} runs", outcomes.len(), outcomes.len())
        } else {
            wrong.join("; ")
        },
    }
}

/// Looks up what is there, and judges it. Pairs that were not run are left out.
#[must_use]
pub fn gates(outcomes: &[Outcome]) -> Vec<Gate> {
    use Subject::{AdaptiveReactive, FixedMax, FixedOracle, SqlxLike, ThresholdReactive};
    let find = |workload: &str, subject| {
        outcomes
            .iter()
            .find(|one| one.workload == workload && one.subject == subject)
    };
    let mut gates = Vec::new();
    for ours in outcomes
        .iter()
        .filter(|one| one.subject == ThresholdReactive)
    {
        let Some(sqlx) = find(ours.workload, SqlxLike) else {
            continue;
        };
        let [ours_p99, sqlx_p99] = [ours, sqlx].map(|one| one.run.wait[1] * 1e3);
        let [few, many] = [ours, sqlx].map(|one| one.run.timeouts);
        // A quantile that is the timeout itself says nothing of how many ran into it.
        let tie = ours_p99 == sqlx_p99 && few.min(many) > 0;
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        let as_few = !tie || few as f64 <= TIE * many as f64;
        let timeouts = if tie {
            format!("; a tie at the timeout, which {few} met against {many}")
        } else {
            String::new()
        };
        gates.push(Gate {
            holds: ours_p99 <= sqlx_p99 && as_few,
            promise: format!("{}: threshold+reactive p99 wait ≤ sqlx-like", ours.workload),
            seen: format!("{ours_p99:.2} ms against {sqlx_p99:.2} ms{timeouts}"),
        });
    }
    for workload in ["step", "burst", "diurnal"] {
        let (Some(ours), Some(oracle)) = (
            find(workload, AdaptiveReactive),
            find(workload, FixedOracle),
        ) else {
            continue;
        };
        let (p99, best) = (ours.run.wait[1] * 1e3, oracle.run.wait[1] * 1e3);
        gates.push(Gate {
            holds: p99 <= 1.25 * best,
            promise: format!("{workload}: adaptive+reactive p99 wait ≤ 1.25 × fixed-oracle"),
            seen: format!("{p99:.2} ms against {best:.2} ms"),
        });
        let (cost, least) = (ours.run.connection_seconds, oracle.run.connection_seconds);
        gates.push(Gate {
            holds: cost <= 1.5 * least,
            promise: format!(
                "{workload}: adaptive+reactive connection-seconds ≤ 1.5 × fixed-oracle"
            ),
            seen: format!("{cost:.0} against {least:.0} ({:.2} ×)", cost / least),
        });
    }
    if let (Some(ours), Some(most)) = (find("db_knee", AdaptiveReactive), find("db_knee", FixedMax))
    {
        let (seconds, worst) = (ours.run.overload, most.run.overload);
        gates.push(Gate {
            holds: seconds <= 0.05 * worst,
            promise: "db_knee: adaptive+reactive overload seconds ≤ 5 % of fixed-max".to_owned(),
            seen: format!(
                "{seconds:.1} s against {worst:.1} s ({:.1} %)",
                100.0 * seconds / worst
            ),
        });
    }
    for workload in ["retry_storm", "failover"] {
        if let Some(ours) = find(workload, AdaptiveReactive) {
            let after = ours.run.to_recover;
            gates.push(Gate {
                holds: after.is_some(),
                promise: format!("{workload}: adaptive+reactive recovers"),
                seen: after
                    .map_or_else(|| "never".to_owned(), |after| format!("after {after:.1} s")),
            });
        }
    }
    gates
}
