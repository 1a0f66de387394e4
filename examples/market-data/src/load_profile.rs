//! How many operations run at once, from the beginning of a run to its end.

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Rise,
    Steady,
    Burst,
    Fall,
    Quiet,
}

impl Phase {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Rise => "rise",
            Self::Steady => "steady",
            Self::Burst => "burst",
            Self::Fall => "fall",
            Self::Quiet => "quiet",
        }
    }
}

/// The load when nothing much happens, on a usual day and in a burst.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadProfile {
    pub(crate) quiet: u32,
    pub(crate) steady: u32,
    pub(crate) burst: u32,
}

impl LoadProfile {
    /// The phase and the number of concurrent operations when `progress` of the run, from 0 to 1,
    /// is over.
    pub(crate) fn at(&self, progress: f64) -> (Phase, u32) {
        let Self {
            quiet,
            steady,
            burst,
        } = *self;
        let between = |from: u32, to: u32, begin: f64, end: f64| {
            let part = ((progress - begin) / (end - begin)).clamp(0.0, 1.0);
            let value = f64::from(from) + (f64::from(to) - f64::from(from)) * part;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between two values of u32"
            )]
            let value = value.round() as u32;
            value
        };
        match progress {
            ..0.25 => (Phase::Rise, between(quiet, steady, 0.0, 0.25)),
            ..0.40 => (Phase::Steady, steady),
            ..0.55 => (Phase::Burst, burst),
            ..0.65 => (Phase::Fall, between(burst, quiet, 0.55, 0.65)),
            _ => (Phase::Quiet, quiet),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_load_rises_bursts_and_falls() {
        let profile = LoadProfile {
            quiet: 2,
            steady: 18,
            burst: 48,
        };
        let seen: Vec<_> = [0.0, 0.125, 0.3, 0.4, 0.54, 0.6, 0.65, 0.99, 1.5]
            .map(|progress| profile.at(progress))
            .into();
        assert_eq!(
            seen,
            [
                (Phase::Rise, 2),
                (Phase::Rise, 10),
                (Phase::Steady, 18),
                (Phase::Burst, 48),
                (Phase::Burst, 48),
                (Phase::Fall, 25),
                (Phase::Quiet, 2),
                (Phase::Quiet, 2),
                (Phase::Quiet, 2),
            ]
        );
    }
}
