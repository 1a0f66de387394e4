//! The fourteen workloads.

use crate::database::Scalability;
use crate::random::Duration;

/// The database of most workloads: the highest throughput is 3,136 queries a second, at 44.
const DATABASE: Scalability = Scalability {
    sigma: 0.02,
    kappa: 0.0005,
};

/// A query alone takes 5 ms on average.
const QUERY: Duration = Duration::Exponential(0.005);

/// A connect takes 15 ms on average.
const CONNECT: Duration = Duration::LogNormal(0.015, 0.3);

/// What happens to pools and their database, and for how long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Workload {
    /// Its name on the command line and in tables.
    pub name: &'static str,
    /// What it is, in a few words.
    pub what: &'static str,
    /// In seconds.
    pub lasts: f64,
    /// Callers a second, over all instances.
    pub rate: Rate,
    /// Callers that come at one moment: when, and how many.
    pub crowd: Option<(f64, u32)>,
    /// What a query takes alone.
    pub query: Duration,
    /// The share of callers that keep their connection for longer, and for how many seconds.
    pub long: (f64, f64),
    /// What a connect takes.
    pub connect: Duration,
    /// How the database bears concurrency.
    pub law: Scalability,
    /// Connections that the database accepts.
    pub accepts: u32,
    /// The limits of each instance's pool.
    pub limits: (u32, u32),
    /// How long a caller waits for a connection, in seconds.
    pub patience: f64,
    /// How often a caller asks again that has waited in vain.
    pub retries: u32,
    /// What is done to it, and when.
    pub events: Vec<(f64, Act)>,
    /// Every so many seconds a connection is lost by its caller.
    pub leak: Option<f64>,
    /// How many instances there are, each with a share of the load by rank (1, 1/2, 1/3 …).
    pub instances: u32,
    /// When the load rises for good or trouble begins, and when it is over, in seconds.
    pub trouble: (f64, f64),
    /// The load after trouble in callers a second.
    pub calm: f64,
}

/// What is done to a database or a fleet.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums, reason = "the simulator's own")]
pub enum Act {
    /// Everything takes this many times as long from now on.
    Slow(f64),
    /// Every connection dies, and connects fail from now on.
    Down,
    /// Connects succeed again.
    Up,
    /// As many instances again start beside the old ones and take their load.
    Deploy,
    /// The old instances end.
    Retire,
}

/// Callers a second over time.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(clippy::exhaustive_enums, reason = "the simulator's own")]
pub enum Rate {
    /// The same all the time.
    Constant(f64),
    /// One rate, another between two moments, the first again.
    Step {
        /// Before and after.
        low: f64,
        /// Between.
        high: f64,
        /// From when to when, in seconds.
        between: (f64, f64),
    },
    /// Ten times the rate for half a second every thirty seconds.
    Burst(f64),
    /// A day: from the first to the second and back, with noise of 10 % every ten seconds.
    Day(f64, f64),
    /// A ramp from the first to the second that falls back at once, with periods of 5, 10, 20 and
    /// 30 s for 120 s each.
    Sawtooth(f64, f64),
}

impl Rate {
    /// Callers a second at a moment of a run that `lasts` so many seconds.
    #[must_use]
    pub fn at(self, t: f64, lasts: f64) -> f64 {
        match self {
            Self::Constant(rate) => rate,
            Self::Step { low, high, between } => {
                if between.0 <= t && t < between.1 {
                    high
                } else {
                    low
                }
            }
            Self::Burst(rate) => {
                // The first one comes after fifteen seconds.
                if (t + 15.0) % 30.0 < 0.5 {
                    rate * 10.0
                } else {
                    rate
                }
            }
            Self::Day(low, high) => {
                let sun = (1.0 - (t / lasts * std::f64::consts::TAU).cos()) / 2.0;
                // Noise that is the same in every run: the golden ratio's multiples.
                let noise = ((t / 10.0).floor() * 0.618_033_988_75).fract() * 2.0 - 1.0;
                (low + (high - low) * sun) * (1.0 + 0.1 * noise)
            }
            Self::Sawtooth(low, high) => {
                let period = match t {
                    t if t < 120.0 => 5.0,
                    t if t < 240.0 => 10.0,
                    t if t < 360.0 => 20.0,
                    _ => 30.0,
                };
                low + (high - low) * (t % period) / period
            }
        }
    }

    /// No moment has more.
    #[must_use]
    pub fn most(self) -> f64 {
        match self {
            Self::Constant(rate) => rate,
            Self::Step { low, high, .. } => f64::max(low, high),
            Self::Burst(rate) => rate * 10.0,
            Self::Day(_, high) => high * 1.1,
            Self::Sawtooth(_, high) => high,
        }
    }
}

impl Workload {
    fn named(name: &'static str, what: &'static str, lasts: f64, rate: Rate) -> Self {
        Self {
            name,
            what,
            lasts,
            rate,
            crowd: None,
            query: QUERY,
            long: (0.0, 0.0),
            connect: CONNECT,
            law: DATABASE,
            accepts: 500,
            limits: (5, 100),
            patience: 5.0,
            retries: 0,
            events: Vec::new(),
            leak: None,
            instances: 1,
            trouble: (0.0, lasts),
            calm: rate.at(lasts, lasts),
        }
    }

    fn step(name: &'static str, what: &'static str, low: f64, high: f64) -> Self {
        let between = (60.0, 180.0);
        Self {
            trouble: between,
            ..Self::named(name, what, 240.0, Rate::Step { low, high, between })
        }
    }

    /// The same story within `seconds`: what happens at a moment happens sooner by as much. The
    /// pace of callers, queries and connects stays, and so do the periods of bursts and sawteeth.
    #[must_use]
    pub fn within(mut self, seconds: f64) -> Self {
        let share = seconds / self.lasts;
        if share >= 1.0 {
            return self;
        }
        let sooner = |(from, to): (f64, f64)| (from * share, to * share);
        if let Rate::Step { between, .. } = &mut self.rate {
            *between = sooner(*between);
        }
        for (at, _) in &mut self.events {
            *at *= share;
        }
        if let Some((at, _)) = &mut self.crowd {
            *at *= share;
        }
        if let Some(every) = &mut self.leak {
            *every *= share;
        }
        self.trouble = sooner(self.trouble);
        self.lasts = seconds;
        self
    }

    /// What the database can do at its best: queries a second, and how many at once that takes.
    #[must_use]
    pub fn best(&self) -> (f64, f64) {
        let knee = self.law.knee().round();
        (self.law.throughput(knee) / self.query.mean(), knee)
    }

    /// A steady load on the database of most workloads.
    #[must_use]
    pub fn steady(rate: f64, lasts: f64) -> Self {
        Self::named("steady", "a steady load", lasts, Rate::Constant(rate))
    }

    /// A steady load on a database on which queries do not feel each other: what theory knows.
    #[must_use]
    pub fn constant(rate: f64, query: Duration, lasts: f64) -> Self {
        Self {
            query,
            law: Scalability::PERFECT,
            ..Self::named("constant", "a steady load", lasts, Rate::Constant(rate))
        }
    }

    /// Every workload, in the order of tables.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let constant =
            |name, what, lasts, rate| Self::named(name, what, lasts, Rate::Constant(rate));
        vec![
            Self::step("step", "200/s, 2,000/s from 60 s to 180 s", 200.0, 2_000.0),
            Self {
                crowd: Some((5.0, 50)),
                query: Duration::Constant(0.002),
                connect: Duration::Constant(0.150),
                law: Scalability::PERFECT,
                trouble: (5.0, 5.0),
                ..constant("spike50", "50 callers at once on 5 connections", 15.0, 0.0)
            },
            Self {
                trouble: (15.0, 15.5),
                ..Self::named(
                    "burst",
                    "200/s, ten times that for 0.5 s every 30 s",
                    600.0,
                    Rate::Burst(200.0),
                )
            },
            Self::named(
                "diurnal",
                "24 h in 24 min, 200/s to 2,000/s, noise of 10 %",
                1_440.0,
                Rate::Day(200.0, 2_000.0),
            ),
            Self::named(
                "sawtooth",
                "200/s to 1,800/s, periods of 5, 10, 20 and 30 s",
                480.0,
                Rate::Sawtooth(200.0, 1_800.0),
            ),
            Self {
                events: vec![(60.0, Act::Slow(5.0)), (120.0, Act::Slow(1.0))],
                trouble: (60.0, 120.0),
                ..constant(
                    "db_slow",
                    "400/s, queries take 5 times as long from 60 s to 120 s",
                    240.0,
                    400.0,
                )
            },
            Self {
                patience: 1.0,
                ..Self::step(
                    "db_knee",
                    "800/s, 4,000/s from 60 s to 180 s: more than the database can",
                    800.0,
                    4_000.0,
                )
            },
            Self {
                connect: Duration::LogNormal(0.5, 0.3),
                ..Self::step(
                    "slow_connect",
                    "200/s, 1,000/s from 60 s to 180 s, a connect takes 500 ms",
                    200.0,
                    1_000.0,
                )
            },
            Self {
                query: Duration::LogNormal(0.005, 2.0),
                long: (0.01, 5.0),
                ..constant(
                    "heavy_tail",
                    "200/s, lognormal queries (σ = 2), 1 % hold 5 s",
                    300.0,
                    200.0,
                )
            },
            Self {
                leak: Some(10.0),
                ..constant(
                    "leak",
                    "500/s, a connection is lost every 10 s",
                    300.0,
                    500.0,
                )
            },
            Self {
                events: vec![(60.0, Act::Down), (63.0, Act::Up)],
                trouble: (60.0, 63.0),
                ..constant(
                    "failover",
                    "800/s, every connection dies at 60 s, connects fail for 3 s",
                    180.0,
                    800.0,
                )
            },
            Self {
                events: vec![(60.0, Act::Slow(10.0)), (70.0, Act::Slow(1.0))],
                patience: 1.0,
                retries: 3,
                trouble: (60.0, 70.0),
                ..constant(
                    "retry_storm",
                    "2,600/s, 10 times slower from 60 s to 70 s, callers ask 4 times",
                    240.0,
                    2_600.0,
                )
            },
            Self {
                trouble: (10.0, 40.0),
                ..Self::named(
                    "trickle",
                    "2,000/s from 10 s to 40 s, then one a second",
                    300.0,
                    Rate::Step {
                        low: 1.0,
                        high: 2_000.0,
                        between: (10.0, 40.0),
                    },
                )
            },
            Self {
                events: vec![(60.0, Act::Deploy), (90.0, Act::Retire)],
                accepts: 100,
                limits: (1, 20),
                instances: 20,
                trouble: (60.0, 90.0),
                ..constant(
                    "fleet20",
                    "20 instances, 1,500/s by rank, 100 connections accepted, all deployed anew at 60 s",
                    180.0,
                    1_500.0,
                )
            },
        ]
    }
}
