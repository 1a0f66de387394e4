//! The promises of `docs/sizing.md`, under every workload but the longest: `cargo xtask simulate`
//! runs that one as well.

use pool_sim::{Gate, Subject, Workload, campaign, gates, run, steady};

fn workloads(names: &[&str]) -> Vec<Workload> {
    let mut workloads = Workload::all();
    workloads.retain(|workload| names.contains(&workload.name));
    assert_eq!(workloads.len(), names.len());
    workloads
}

#[track_caller]
fn kept(gates: &[Gate], promises: usize) {
    assert_eq!(gates.len(), promises, "{gates:#?}");
    let broken: Vec<_> = gates.iter().filter(|gate| !gate.holds).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn there_are_fourteen_workloads_and_twelve_subjects() {
    assert_eq!((Workload::all().len(), Subject::ALL.len()), (14, 12));
}

#[test]
fn thresholds_with_the_reactive_path_never_wait_longer_than_inline_connects() {
    let mut workloads = Workload::all();
    workloads.retain(|workload| workload.name != "diurnal");
    let subjects = [Subject::SqlxLike, Subject::ThresholdReactive];
    kept(&gates(&campaign_without_oracle(&workloads, &subjects)), 13);
}

#[test]
fn a_constant_load_does_not_flap() {
    kept(&[steady(1)], 1);
}

#[test]
fn the_adaptive_policy_is_near_hindsight() {
    let subjects = [Subject::FixedOracle, Subject::AdaptiveReactive];
    kept(
        &gates(&campaign(&workloads(&["step", "burst"]), &subjects, 1)),
        4,
    );
}

#[test]
fn the_adaptive_policy_stops_at_the_knee_and_recovers() {
    let subjects = [Subject::FixedMax, Subject::AdaptiveReactive];
    let workloads = workloads(&["db_knee", "failover", "retry_storm"]);
    kept(&gates(&campaign_without_oracle(&workloads, &subjects)), 3);
}

fn campaign_without_oracle(workloads: &[Workload], subjects: &[Subject]) -> Vec<pool_sim::Outcome> {
    pool_sim::campaign_with(workloads, subjects, 1, |_| 20)
}

/// A pool that starts into an overload has seen nothing else: its experiments find the knee.
#[test]
fn a_cold_start_into_overload_finds_the_knee_as_well() {
    let mut workload = Workload::steady(4_000.0, 120.0);
    workload.patience = 1.0;
    let seen = run(&workload, Subject::AdaptiveReactive, 20, 1);
    assert!(seen.overload < 0.15 * workload.lasts, "{} s", seen.overload);
}
