//! The real engine under the same workloads: what the simulator says of it is so.

use pool_sim::{Rate, Run, Subject, Workload, engine, run};

/// A step that is short enough for a test.
fn step() -> Workload {
    let mut step = Workload::all().remove(0);
    assert_eq!(step.name, "step");
    step.rate = Rate::Step {
        low: 200.0,
        high: 1_500.0,
        between: (5.0, 20.0),
    };
    (step.lasts, step.trouble) = (30.0, (5.0, 20.0));
    step
}

fn both(workload: &Workload, subject: Subject) -> [Run; 2] {
    [
        run(workload, subject, 16, 1),
        engine::run(workload, subject, 16, 1),
    ]
}

#[track_caller]
fn close(what: &str, [simulated, real]: [f64; 2], share: f64, slack: f64) {
    let most = simulated.abs().max(real.abs()) * share + slack;
    assert!(
        (simulated - real).abs() <= most,
        "{what}: {simulated} simulated, {real} real"
    );
}

/// The same callers come; waits and cost agree. Timers of the engine are as coarse as 50 µs of a
/// workload's time, and callers are not counted while a connect is handed from task to task.
#[test]
fn the_engine_does_what_the_simulator_says() {
    for subject in engine::SUBJECTS {
        if subject == Subject::FixedMin {
            // It drowns in both.
            continue;
        }
        let runs = both(&step(), subject);
        let of = |value: fn(&Run) -> f64| runs.each_ref().map(value);
        let name = subject.name();
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        let arrivals = of(|run| run.arrivals as f64);
        close(&format!("{name}: callers"), arrivals, 0.001, 0.0);
        close(
            &format!("{name}: p99 wait"),
            of(|run| run.wait[1]),
            0.2,
            0.001,
        );
        let cost = of(|run| run.connection_seconds);
        close(&format!("{name}: connection-seconds"), cost, 0.15, 0.0);
        close(
            &format!("{name}: peak"),
            of(|run| f64::from(run.peak)),
            0.2,
            2.0,
        );
        assert_eq!(runs[1].timeouts, 0, "{name}");
    }
}

/// 50 callers at once on 5 connections: served by returns, with one connect as insurance.
#[test]
fn a_spike_is_the_same_in_both() {
    let mut spike = Workload::all().remove(1);
    assert_eq!(spike.name, "spike50");
    spike.lasts = 10.0;
    let [simulated, real] = both(&spike, Subject::ThresholdReactive);
    close("p99 wait", [simulated.wait[1], real.wait[1]], 0.1, 0.001);
    assert!(
        simulated.peak <= 6 && real.peak <= 6,
        "{} {}",
        simulated.peak,
        real.peak
    );
}

/// Every connection dies and connects fail for a while: both are back as soon.
#[test]
fn a_failover_ends_in_both() {
    let mut failover = Workload::all()
        .into_iter()
        .find(|one| one.name == "failover")
        .unwrap();
    failover.lasts = 80.0;
    let [simulated, real] = both(&failover, Subject::ThresholdReactive);
    let after = |run: &Run| run.to_recover.unwrap();
    close("recovery", [after(&simulated), after(&real)], 0.5, 2.0);
}

/// Every workload of one instance, cut to a minute: waits, cost, size, timeouts and recovery are those
/// of the simulator. Where callers come again after a timeout (`retry_storm`), which is chaotic,
/// their number may differ a little as well.
#[test]
fn the_engine_agrees_in_every_workload_with_thresholds() {
    agrees_in_every_workload(Subject::ThresholdReactive);
}

#[test]
fn the_engine_agrees_in_every_workload_with_the_adaptive_policy() {
    agrees_in_every_workload(Subject::AdaptiveReactive);
}

fn agrees_in_every_workload(subject: Subject) {
    let workloads = Workload::all().into_iter();
    let workloads: Vec<_> = workloads.filter(|one| one.instances == 1).collect();
    assert_eq!(
        workloads.len(),
        13,
        "fleet20 has twenty pools at one server"
    );
    for workload in workloads {
        let workload = workload.within(60.0);
        let runs = both(&workload, subject);
        let of = |value: fn(&Run) -> f64| runs.each_ref().map(value);
        let what = |what| format!("{} {}: {what}", workload.name, subject.name());
        let repeated = if workload.retries > 0 { 0.03 } else { 0.0 };
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        {
            let arrivals = of(|run| run.arrivals as f64);
            close(&what("callers"), arrivals, repeated, 0.0);
            let timeouts = of(|run| run.timeouts as f64);
            close(&what("timeouts"), timeouts, 0.06, 0.0);
        }
        close(&what("p99 wait"), of(|run| run.wait[1]), 0.15, 0.004);
        let cost = of(|run| run.connection_seconds);
        close(&what("connection-seconds"), cost, 0.12, 0.0);
        close(&what("peak"), of(|run| f64::from(run.peak)), 0.1, 2.0);
        let recovered = runs.each_ref().map(|run| run.to_recover.is_some());
        assert_eq!(recovered[0], recovered[1], "{}", what("recovery"));
        let after = of(|run| run.to_recover.unwrap_or(0.0));
        close(&what("recovery"), after, 0.2, 0.5);
    }
}
