//! What a suite promises, against what this run has measured.

use std::process::ExitCode;

use serde::Serialize;

use crate::Report;

/// A promised relation between two medians of one run.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// What is held to something.
    pub ours: Series,
    /// By which side of the bound it is met.
    pub bound: Bound,
    /// What the other median is multiplied by, or the bound itself where there is no other.
    pub factor: f64,
    /// What it is held against.
    pub of: Of,
}

/// One line of a table: whose, in which load, and what of it.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// As in `checkout/uncontended`.
    pub benchmark: &'static str,
    /// As in `pool-core`.
    pub subject: &'static str,
    /// As in `ns_per_op`.
    pub metric: &'static str,
}

/// Which side of the bound is the good one.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// More is better.
    AtLeast,
    /// Less is better.
    AtMost,
}

/// What a median is held against.
#[derive(Clone, Copy, Debug)]
pub enum Of {
    /// The same metric of the same load, of another subject.
    Subject(&'static str),
    /// Another metric of the same load and subject.
    Metric(&'static str),
    /// The same metric of the same subject, in another load.
    Benchmark(&'static str),
    /// Nothing: the factor is the bound, in the metric's unit.
    Unit(&'static str),
}

/// One target, judged.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The relation in words.
    pub target: String,
    /// What was measured for it.
    pub is: f64,
    /// Whether that is on the good side of the bound.
    pub met: bool,
}

impl Target {
    /// What the report says of it; none where a side of it did not run.
    fn judge(&self, report: &Report) -> Option<Verdict> {
        let Series {
            benchmark,
            subject,
            metric,
        } = self.ours;
        let ours = report.median(benchmark, subject, metric)?;
        let (theirs, of) = match self.of {
            Of::Subject(other) => (
                report.median(benchmark, other, metric)?,
                format!("× {other}"),
            ),
            Of::Metric(other) => (
                report.median(benchmark, subject, other)?,
                format!("× its {other}"),
            ),
            Of::Benchmark(other) => (report.median(other, subject, metric)?, format!("× {other}")),
            Of::Unit(unit) => (1.0, unit.to_owned()),
        };
        let is = ours / theirs;
        let (sign, met) = match self.bound {
            Bound::AtLeast => ("≥", is >= self.factor),
            Bound::AtMost => ("≤", is <= self.factor),
        };
        let target = format!(
            "{benchmark} {subject} {metric} {sign} {:.2} {of}",
            self.factor
        );
        Some(Verdict { target, is, met })
    }
}

/// Judges each target whose sides ran.
#[must_use]
pub fn judge(targets: &[Target], report: &Report) -> Vec<Verdict> {
    let verdicts = targets.iter().map(|target| target.judge(report));
    verdicts.flatten().collect()
}

/// Prints a line for each verdict.
pub fn print(verdicts: &[Verdict]) {
    println!();
    for Verdict { target, is, met } in verdicts {
        let verdict = if *met { "met" } else { "MISSED" };
        println!("target {target}: {is:.2}, {verdict}");
    }
}

/// What a run with `--check` ends with: a failure where a target was missed.
#[must_use]
pub fn verdict(verdicts: &[Verdict], check: bool) -> ExitCode {
    if check && verdicts.iter().any(|verdict| !verdict.met) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bound: Bound, factor: f64, of: Of, expected: Option<(f64, bool)>) {
        let mut report = Report::default();
        for (benchmark, subject, metric, value) in [
            ("load", "ours", "p50_us", 10.0),
            ("load", "ours", "p999_us", 40.0),
            ("load", "theirs", "p50_us", 20.0),
            ("load/more", "ours", "p50_us", 8.0),
        ] {
            report.add(benchmark, subject, metric, "µs", value);
        }
        let ours = Series {
            benchmark: "load",
            subject: "ours",
            metric: "p50_us",
        };
        let target = Target {
            ours,
            bound,
            factor,
            of,
        };
        let found = judge(&[target], &report);
        let found = found.first().map(|verdict| (verdict.is, verdict.met));
        assert_eq!(found, expected);
    }

    #[test]
    fn relations_are_judged_by_their_side() {
        check(Bound::AtMost, 0.5, Of::Subject("theirs"), Some((0.5, true)));
        check(
            Bound::AtMost,
            0.4,
            Of::Subject("theirs"),
            Some((0.5, false)),
        );
        check(
            Bound::AtLeast,
            0.6,
            Of::Subject("theirs"),
            Some((0.5, false)),
        );
        check(
            Bound::AtLeast,
            0.2,
            Of::Metric("p999_us"),
            Some((0.25, true)),
        );
        check(
            Bound::AtMost,
            1.2,
            Of::Benchmark("load/more"),
            Some((1.25, false)),
        );
        check(Bound::AtMost, 10.0, Of::Unit("µs"), Some((10.0, true)));
    }

    #[test]
    fn what_did_not_run_is_not_judged() {
        check(Bound::AtMost, 1.0, Of::Subject("nobody"), None);
    }

    #[test]
    fn a_missed_target_fails_only_when_asked_for() {
        let missed = Verdict {
            target: "load".to_owned(),
            is: 2.0,
            met: false,
        };
        assert_eq!(
            verdict(std::slice::from_ref(&missed), true),
            ExitCode::FAILURE
        );
        assert_eq!(verdict(&[missed], false), ExitCode::SUCCESS);
        assert_eq!(verdict(&[], true), ExitCode::SUCCESS);
    }
}
