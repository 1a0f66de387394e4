//! What it costs two processors to pass a piece of memory to and fro, with no pool at all.

use std::hint::spin_loop;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use benches::Report;
use hdrhistogram::Histogram;

/// For how long round trips are counted before their mean is taken: long beside one, short beside what
/// disturbs them.
const INTERVAL: Duration = Duration::from_micros(250);

/// How many round trips go without a reading of the clock.
const TRIPS: u32 = 64;

/// What has its cache line, and the one beside it, for itself.
#[repr(align(128))]
struct Alone<T>(T);

/// Two threads write one cache line in turn. What is reported is how long a round trip takes, in each
/// [`INTERVAL`] on average.
pub fn passed(report: &mut Report, time: Duration) -> anyhow::Result<()> {
    let (line, ended) = (Alone(AtomicU64::new(0)), Alone(AtomicBool::new(false)));
    let (line, ended) = (&line.0, &ended.0);
    let mut trips = Histogram::<u64>::new_with_max(1_000_000_000, 3)?;
    thread::scope(|scope| {
        // Answers each even number with the next odd one.
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) {
                let number = line.load(Ordering::Acquire);
                if number % 2 == 1 {
                    line.store(number + 1, Ordering::Release);
                } else {
                    spin_loop();
                }
            }
        });
        let began = Instant::now();
        let (mut since, mut count, mut number) = (began, 0, 0);
        while began.elapsed() < time {
            for _ in 0..TRIPS {
                line.store(number + 1, Ordering::Release);
                number += 2;
                while line.load(Ordering::Acquire) != number {
                    spin_loop();
                }
            }
            count += TRIPS;
            let elapsed = since.elapsed();
            if elapsed >= INTERVAL {
                let each = elapsed / count;
                trips.saturating_record(u64::try_from(each.as_nanos()).unwrap_or(u64::MAX));
                (since, count) = (Instant::now(), 0);
            }
        }
        ended.store(true, Ordering::Relaxed);
    });
    for (metric, quantile) in [("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99)] {
        let trip = trips.value_at_quantile(quantile) as f64;
        report.add("checkout/line", "two threads", metric, "ns", trip);
    }
    Ok(())
}
