//! What sizing by load promises on real servers.

use benches::targets::{Verdict, judge};
use benches::{Bound, Of, Report, Series, Target};

use crate::subjects::{MAX, RELEASED_WITHIN, SIZING, Subject};

/// Both databases are held to the same; on MongoDB also to the wait that the driver adds.
pub fn targets<S: Subject>() -> Vec<Target> {
    let (step, fall) = match S::DATABASE {
        "postgres" => ("sizing/postgres/step", "sizing/postgres/fall"),
        _ => ("sizing/mongo/step", "sizing/mongo/fall"),
    };
    let at_most = |benchmark, metric, factor, of| Target {
        ours: Series {
            benchmark,
            subject: "dynamic",
            metric,
        },
        bound: Bound::AtMost,
        factor,
        of,
    };
    let released = (SIZING.interval() * RELEASED_WITHIN).as_secs_f64() * 1e3;
    let released_of = Of::Unit("ms, three evaluation intervals");
    let mut targets = vec![
        at_most(step, "wait_p99_ms", 1.25, Of::Subject("fixed-max")),
        at_most(step, "connection_seconds", 0.45, Of::Subject("fixed-max")),
        at_most(step, "time_to_release_ms", released, released_of),
        at_most(fall, "time_to_release_ms", released, released_of),
        at_most(step, "flaps", 0.0, Of::Unit("on the plateau")),
        at_most(step, "errors", 0.0, Of::Unit("in all rounds")),
        at_most(
            step,
            "server_connections_peak",
            f64::from(MAX),
            Of::Unit("in all rounds"),
        ),
    ];
    if !S::TELLS_ALL_WAITS {
        targets.push(at_most(
            step,
            "over_hold_p99_ms",
            1.25,
            Of::Subject("fixed-max"),
        ));
    }
    targets
}

/// Judges what ran. What `dynamic` never did in a load that ran, such as returning to its minimum,
/// is a target that it missed.
pub fn verdicts<S: Subject>(report: &Report) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for target in targets::<S>() {
        let Series {
            benchmark,
            subject,
            metric,
        } = target.ours;
        let ran = report.median(benchmark, subject, "ops_per_s").is_some();
        let measured = report.median(benchmark, subject, metric).is_some();
        if ran && !measured {
            verdicts.push(Verdict {
                target: format!("{benchmark} {subject} {metric} is measured"),
                is: f64::NAN,
                met: false,
            });
        }
        verdicts.extend(judge(&[target], report));
    }
    verdicts
}
