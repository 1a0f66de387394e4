//! Every subject under every workload.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(feature = "engine")]
use crate::engine;
use crate::oracle::oracle;
use crate::score::Run;
use crate::subject::Subject;
use crate::workload::Workload;
use crate::world::run;

/// One subject under one workload.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Outcome {
    /// The workload's name.
    pub workload: &'static str,
    /// Who.
    pub subject: Subject,
    /// The size that hindsight knows for the workload.
    pub oracle: u32,
    /// The connection-seconds of that size.
    pub least: f64,
    /// How long the run was, in seconds.
    pub lasts: f64,
    /// What came of it.
    pub run: Run,
}

/// Runs every pair, on every core. The order of the result is that of the arguments.
#[must_use]
pub fn campaign(workloads: &[Workload], subjects: &[Subject], seed: u64) -> Vec<Outcome> {
    campaign_with(workloads, subjects, seed, |workload| oracle(workload, seed))
}

/// The same with sizes for `fixed-oracle` that need no search.
#[must_use]
pub fn campaign_with(
    workloads: &[Workload],
    subjects: &[Subject],
    seed: u64,
    oracle: impl Fn(&Workload) -> u32 + Sync,
) -> Vec<Outcome> {
    pairs(workloads, subjects, oracle, |workload, subject, oracle| {
        run(workload, subject, oracle, seed)
    })
}

/// The same on the real engine, under paused time: [`engine::SUBJECTS`] and workloads of one
/// instance only. What hindsight knows is the simulator's.
///
/// # Panics
///
/// As [`engine::run`].
#[must_use]
#[cfg(feature = "engine")]
pub fn campaign_on_engine(workloads: &[Workload], subjects: &[Subject], seed: u64) -> Vec<Outcome> {
    let hindsight = |workload: &Workload| {
        if subjects.contains(&Subject::FixedOracle) {
            oracle(workload, seed)
        } else {
            workload.limits.0
        }
    };
    pairs(
        workloads,
        subjects,
        hindsight,
        |workload, subject, oracle| engine::run(workload, subject, oracle, seed),
    )
}

fn pairs(
    workloads: &[Workload],
    subjects: &[Subject],
    oracle: impl Fn(&Workload) -> u32 + Sync,
    run: impl Fn(&Workload, Subject, u32) -> Run + Sync,
) -> Vec<Outcome> {
    let oracles = each(workloads, oracle);
    let pairs: Vec<_> = workloads
        .iter()
        .zip(oracles)
        .flat_map(|(workload, oracle)| {
            subjects
                .iter()
                .map(move |subject| (workload, *subject, oracle))
        })
        .collect();
    each(&pairs, |&(workload, subject, oracle)| Outcome {
        workload: workload.name,
        subject,
        oracle,
        least: f64::from(oracle * workload.instances) * workload.lasts,
        lasts: workload.lasts,
        run: run(workload, subject, oracle),
    })
}

/// Calls `work` for each item, on every core.
fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads.min(items.len()) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(at) else { return };
                    let result = work(item);
                    let mut done = done
                        .lock()
                        .unwrap_or_else(std::sync::PoisonError::into_inner);
                    done.push((at, result));
                }
            });
        }
    });
    let mut done = done
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}
