//! Why a pool has the size that it has.

use pool_core::{PoolMetrics, PoolState};
use serde::Serialize;

use super::view::{DecisionView, PoolView};

/// The answer, in words and in numbers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Explanation {
    name: String,
    /// Sentences for people.
    why: Vec<String>,
    /// What is to be expected of the configuration that nobody wants.
    warnings: Vec<String>,
    /// The latest decisions of the sizing policy, newest first.
    decisions: Vec<DecisionView>,
}

/// The pool's own explanation, and what its numbers add.
pub(super) fn explain(own: &pool_core::sizing::Explanation, view: PoolView) -> Explanation {
    let mut why = vec![own.to_string()];
    why.extend(queue(&view.metrics));
    why.extend(trouble(&view.metrics));
    Explanation {
        why,
        warnings: own.warnings.iter().map(ToString::to_string).collect(),
        name: view.metrics.name,
        decisions: view.decisions,
    }
}

fn queue(metrics: &PoolMetrics) -> Option<String> {
    if metrics.waiting_requests == 0 {
        return None;
    }
    let oldest = metrics.oldest_wait;
    let cause = if metrics.state == PoolState::Paused {
        "the pool is paused"
    } else if metrics.connecting > 0 {
        "connections are being opened"
    } else if metrics.total_connections >= metrics.max {
        "all connections are in use and the maximum is reached"
    } else if metrics.ceiling < metrics.max {
        "all connections are in use and growth is held back"
    } else {
        "a return is expected sooner than a connect would take"
    };
    Some(format!(
        "The oldest caller has waited for {oldest:.0} ms: {cause}."
    ))
}

fn trouble(metrics: &PoolMetrics) -> Option<String> {
    let error = metrics.last_error.as_ref()?;
    Some(format!("The last error: {error}."))
}
