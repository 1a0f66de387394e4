//! How long things took: distributions, their quantiles, and their buckets.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::clock::nanos;
use crate::engine::State;

/// A distribution of times, in milliseconds, to two significant digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Quantiles {
    /// How many times were recorded.
    pub count: u64,
    /// Half of them were at most this.
    pub p50: f64,
    /// Nine of ten were at most this.
    pub p90: f64,
    /// Ninety-nine of a hundred were at most this.
    pub p99: f64,
    /// None was longer.
    pub max: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let millis = |quantile| to_millis(histogram.value_at_quantile(quantile));
        Self {
            count: histogram.len(),
            p50: millis(0.5),
            p90: millis(0.9),
            p99: millis(0.99),
            max: to_millis(histogram.max()),
        }
    }
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a display value of two significant digits"
)]
pub(crate) fn to_millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// Times counted into buckets, for metrics that are added up over processes.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Buckets {
    /// How many times were at most the bound at the same place, one count for each bound. A time
    /// within one per cent of a bound may be counted on its other side.
    pub cumulative: Vec<u64>,
    /// How many times were recorded.
    pub count: u64,
    /// Their sum, to about one per cent.
    pub sum: Duration,
}

impl Buckets {
    fn of(histogram: &Histogram<u64>, bounds: &[Duration]) -> Self {
        let mut cumulative = Vec::with_capacity(bounds.len());
        let mut bounds = bounds.iter().map(|bound| nanos(*bound)).peekable();
        let (mut count, mut sum) = (0, 0_u128);
        for bin in histogram.iter_recorded() {
            let value = histogram.median_equivalent(bin.value_iterated_to());
            while bounds.next_if(|bound| *bound < value).is_some() {
                cumulative.push(count);
            }
            let times = bin.count_since_last_iteration();
            count += times;
            sum += u128::from(value) * u128::from(times);
        }
        cumulative.extend(bounds.map(|_| count));
        Self {
            cumulative,
            count,
            sum: Duration::from_nanos_u128(sum),
        }
    }
}

/// The distributions behind [`PoolMetrics`](crate::PoolMetrics), to be kept and compared.
///
/// # Example
///
/// ```no_run
/// # fn show<M: pool_core::ConnectionManager>(pool: &pool_core::Pool<M>) {
/// let before = pool.histograms();
/// // ... a second later
/// let last_second = pool.histograms().since(&before);
/// println!("p99 of the last second: {:?} ms", last_second.wait().p99);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Histograms {
    wait: Histogram<u64>,
    hold: Histogram<u64>,
    connect: Histogram<u64>,
}

impl Histograms {
    pub(crate) fn of<C>(state: &State<C>) -> Self {
        let [wait, hold, connect] = state
            .tally
            .histograms(state.flow.returns, state.slots.holders());
        Self {
            wait,
            hold,
            connect,
        }
    }

    /// The way that does not wait only counts; its zeros are added here.
    pub(crate) fn with_immediate(mut self, immediate: u64) -> Self {
        self.wait.saturating_record_n(0, immediate);
        self
    }

    /// How long callers waited in line. Those that did not wait count as zero.
    #[must_use]
    pub fn wait(&self) -> Quantiles {
        Quantiles::of(&self.wait)
    }

    /// How long connections were held.
    #[must_use]
    pub fn hold(&self) -> Quantiles {
        Quantiles::of(&self.hold)
    }

    /// How long successful connects took.
    #[must_use]
    pub fn connect(&self) -> Quantiles {
        Quantiles::of(&self.connect)
    }

    /// [`wait`](Self::wait) counted into buckets that end at `bounds`, which ascend.
    #[must_use]
    pub fn wait_buckets(&self, bounds: &[Duration]) -> Buckets {
        Buckets::of(&self.wait, bounds)
    }

    /// [`hold`](Self::hold) counted into buckets that end at `bounds`, which ascend.
    #[must_use]
    pub fn hold_buckets(&self, bounds: &[Duration]) -> Buckets {
        Buckets::of(&self.hold, bounds)
    }

    /// [`connect`](Self::connect) counted into buckets that end at `bounds`, which ascend.
    #[must_use]
    pub fn connect_buckets(&self, bounds: &[Duration]) -> Buckets {
        Buckets::of(&self.connect, bounds)
    }

    /// What has been recorded since `earlier`, a reading of the same pool.
    #[must_use]
    pub fn since(mut self, earlier: &Self) -> Self {
        let pairs = [
            (&mut self.wait, &earlier.wait),
            (&mut self.hold, &earlier.hold),
            (&mut self.connect, &earlier.connect),
        ];
        for (now, then) in pairs {
            // Fails only when `earlier` is not earlier; then the later reading stands.
            let _ = now.subtract(then);
        }
        self
    }
}
