//! What pool-postgres promises, against what this run has measured.

use benches::Report;

/// The promised relation to a subject.
struct Target {
    benchmark: &'static str,
    metric: &'static str,
    to: &'static str,
    factor: f64,
    better: Better,
}

enum Better {
    Higher,
    Lower,
}

const TARGETS: &[Target] = &[
    Target {
        benchmark: "postgres/select1-50x10",
        metric: "ops_per_s",
        to: "sqlx",
        factor: 2.0,
        better: Better::Higher,
    },
    Target {
        benchmark: "postgres/select1-50x10",
        metric: "ops_per_s",
        to: "sqlx-no-ping",
        factor: 1.5,
        better: Better::Higher,
    },
    Target {
        benchmark: "postgres/select1-50x10",
        metric: "ops_per_s",
        to: "pinned",
        factor: 0.97,
        better: Better::Higher,
    },
    Target {
        benchmark: "postgres/select1-sequential",
        metric: "us_per_op",
        to: "sqlx",
        factor: 0.55,
        better: Better::Lower,
    },
];

/// Prints a line for each target whose benchmark ran.
pub fn print(report: &Report) {
    println!();
    for target in TARGETS {
        let Target {
            benchmark,
            metric,
            to,
            factor,
            ref better,
        } = *target;
        let ours = report.median(benchmark, "pool-postgres", metric);
        let theirs = report.median(benchmark, to, metric);
        let (Some(ours), Some(theirs)) = (ours, theirs) else {
            continue;
        };
        let is = ours / theirs;
        let (sign, met) = match better {
            Better::Higher => ("≥", is >= factor),
            Better::Lower => ("≤", is <= factor),
        };
        let verdict = if met { "met" } else { "MISSED" };
        println!("target {benchmark} {metric} {sign} {factor:.2} × {to}: {is:.2}, {verdict}");
    }
}
