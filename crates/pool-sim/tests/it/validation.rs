//! The simulator says what queueing theory knows, before it is asked what theory does not know.

use pool_core::sizing::queueing;
use pool_sim::{Duration, Random, Run, Subject, Workload, run, run_fixed};

/// Waits at a fixed pool under a Poisson load with exponential holds are Erlang's. Eight runs; the
/// theory lies within the 99 % confidence interval of their mean (Student, 7 degrees), and the
/// interval is narrower than 15 % of it.
#[test]
fn waits_at_a_fixed_pool_are_erlangs() {
    for (servers, load) in [(2, 1.2), (10, 8.0), (40, 36.0)] {
        let hold = 0.010;
        let workload = Workload::constant(
            load / hold,
            Duration::Exponential(hold),
            200_000.0 * hold / load,
        );
        let waits: Vec<_> = (1..=8)
            .map(|seed| run_fixed(&workload, servers, seed).mean_wait)
            .collect();
        let (mean, interval) = confidence(&waits, 3.499);
        let theory = queueing::erlang_c(servers, load) * hold / (f64::from(servers) - load);
        assert!(
            (mean - theory).abs() <= interval,
            "{servers} servers: {mean} ± {interval} is not {theory}"
        );
        assert!(
            interval < 0.15 * theory,
            "{servers} servers: ± {interval} of {theory}"
        );
    }
}

fn confidence(values: &[f64], t: f64) -> (f64, f64) {
    let n = f64::from(u32::try_from(values.len()).unwrap());
    let mean = values.iter().sum::<f64>() / n;
    let variance = values
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>()
        / (n - 1.0);
    (mean, t * (variance / n).sqrt())
}

/// The 99 % quantile of waits is Erlang's within 5 %.
#[test]
fn the_quantile_of_waits_is_erlangs() {
    let (servers, load, hold) = (10, 8.0, 0.010);
    let workload = Workload::constant(load / hold, Duration::Exponential(hold), 2_000.0);
    let seen = run_fixed(&workload, servers, 1).wait[1];
    let theory = queueing::wait_quantile(servers, load, 0.99) * hold;
    assert!((seen / theory - 1.0).abs() < 0.05, "{seen} is not {theory}");
}

/// A pool that is always full does what the law says its size can do, within 1.5 %.
#[test]
fn a_full_pool_has_the_throughput_of_the_law() {
    for size in [1, 10, 44, 100] {
        let mut workload = Workload::steady(5_000.0, 60.0);
        workload.patience = 0.5;
        let run = run_fixed(&workload, size, 1);
        #[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
        let seen = run.served as f64 / workload.lasts;
        let law = workload.law.throughput(f64::from(size)) / workload.query.mean();
        assert!(
            (seen / law - 1.0).abs() < 0.015,
            "{size}: {seen}/s is not {law}/s"
        );
    }
}

/// Every workload, a day within 100 s as well, each on `each` of the subjects: over all of them
/// every subject has its turn.
fn small_runs(each: usize) -> impl Iterator<Item = (Workload, Subject, Run)> {
    let workloads = Workload::all().into_iter().enumerate();
    workloads
        .flat_map(move |(at, workload)| {
            let subjects = Subject::ALL.into_iter().cycle().skip(at * each);
            let workload = workload.within(100.0);
            subjects.take(each).map(move |one| (workload.clone(), one))
        })
        .map(|(workload, subject)| {
            let run = run(&workload, subject, 20, 1);
            (workload, subject, run)
        })
}

/// `L = λ·W`, counted by time and caller by caller, and everybody who asked is accounted for. The
/// command asks this of every run that it prints.
#[test]
fn littles_law_and_conservation_hold_in_every_workload() {
    for (workload, subject, run) in small_runs(5) {
        let name = format!("{} {}", workload.name, subject.name());
        assert_eq!(run.adds_up(&workload), Ok(()), "{name}");
        assert!(run.arrivals >= 50, "{name}");
    }
}

/// What does not add up is said.
#[test]
fn a_run_that_loses_somebody_does_not_add_up() {
    let workload = Workload::steady(400.0, 20.0);
    let run = run(&workload, Subject::ThresholdReactive, 20, 1);
    let check = |change: fn(&mut Run), said: &str| {
        let mut changed = run.clone();
        change(&mut changed);
        let wrong = changed.adds_up(&workload).unwrap_err();
        assert!(wrong.contains(said), "{wrong}");
    };
    check(|run| run.served -= 1, "asked");
    check(|run| run.little[1].0 += 10.0, "holding are");
    check(|run| run.little[0].1 += 1.0, "in line are");
    check(|run| run.peak = 10_000, "10000 were open");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for (workload, subject, first) in small_runs(1) {
        let again = run(&workload, subject, 20, 1);
        assert_eq!(
            first.digest,
            again.digest,
            "{} {}",
            workload.name,
            subject.name()
        );
        if first.arrivals > 100 {
            let other = run(&workload, subject, 20, 2);
            assert_ne!(first.digest, other.digest, "{}", workload.name);
        }
    }
}

/// What is drawn has the mean that was asked for, within 1 %.
#[test]
fn durations_have_their_means() {
    for duration in [
        Duration::Constant(0.5),
        Duration::Exponential(0.5),
        Duration::LogNormal(0.5, 0.3),
        Duration::LogNormal(0.5, 1.0),
    ] {
        let mut random = Random::new(1, 1);
        let draws = 400_000;
        let sum: f64 = (0..draws).map(|_| random.seconds(duration)).sum();
        let mean = sum / f64::from(draws);
        assert!(
            (mean / duration.mean() - 1.0).abs() < 0.01,
            "{duration:?}: {mean}"
        );
    }
}
