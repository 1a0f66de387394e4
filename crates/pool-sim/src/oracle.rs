//! What hindsight knows: the best fixed size.

use pool_core::sizing::queueing;

use crate::workload::Workload;
use crate::world::run_fixed;

/// The wait that 99 % of callers are not to exceed, in seconds: the target of the adaptive policy.
pub const WAIT_TARGET: f64 = 0.005;

/// The smallest fixed size at which 99 % of callers wait no longer than [`WAIT_TARGET`]; where no
/// size does that, the one with the shortest mean wait.
#[must_use]
pub fn oracle(workload: &Workload, seed: u64) -> u32 {
    let (_, max) = workload.limits;
    let meets = |size| run_fixed(workload, size, seed).wait[1] <= WAIT_TARGET;
    // Good sizes are an interval: below it there are too few, above it the database suffers.
    let most = if meets(max) {
        max
    } else {
        best(workload, seed)
    };
    if most < max && !meets(most) {
        return most;
    }
    let (mut low, mut high) = (1, most);
    while low < high {
        let middle = low + (high - low) / 2;
        if meets(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

/// By thirds to the shortest mean wait; the smaller one where two are alike.
fn best(workload: &Workload, seed: u64) -> u32 {
    let wait = |size| run_fixed(workload, size, seed).mean_wait;
    let (mut low, mut high) = (1, workload.limits.1);
    while high - low > 2 {
        let (left, right) = (low + (high - low) / 3, high - (high - low) / 3);
        if wait(left) <= wait(right) {
            high = right;
        } else {
            low = left;
        }
    }
    (low..=high)
        .map(|size| (size, wait(size)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(high, |(size, _)| size)
}

/// How many connections the calm after trouble needs, by Erlang.
pub(crate) fn need(workload: &Workload) -> f64 {
    let alone = workload.query.mean();
    let (share, holds_on) = workload.long;
    let alone = alone + share * holds_on;
    // Hold time depends on concurrency and concurrency on hold time.
    let mut load = workload.calm * alone;
    for _ in 0..100 {
        let slowdown = workload.law.slowdown(load.max(1.0));
        load = (load + workload.calm * alone * slowdown) / 2.0;
        load = load.min(workload.law.knee().min(f64::from(workload.limits.1)));
    }
    let hold = if workload.calm > 0.0 {
        load / workload.calm
    } else {
        alone
    };
    let instances = f64::from(workload.instances);
    let each = queueing::servers_for(
        load / instances,
        WAIT_TARGET / hold,
        0.99,
        workload.limits.1,
    );
    f64::from(each) * instances
}
