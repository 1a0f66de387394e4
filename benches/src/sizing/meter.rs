//! What callers experience, one by one.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use pool_sim::measured::{Lapse, between};

/// The callers of one run.
#[derive(Debug, Default)]
pub struct Meter {
    waiting: AtomicI64,
    holding: AtomicI64,
    waits: Mutex<Vec<Lapse>>,
    beyond: Mutex<Vec<Lapse>>,
    failures: Mutex<Failures>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    first: Option<String>,
}

/// A caller in line; no longer, when dropped.
pub struct InLine<'m> {
    meter: &'m Meter,
    asked: Instant,
}

/// A caller with a connection; no longer, when dropped.
pub struct Holding<'m>(&'m Meter);

impl Meter {
    /// A caller asks for a connection.
    pub fn asks(&self) -> InLine<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        InLine {
            meter: self,
            asked: Instant::now(),
        }
    }

    /// For a pool that tells of its callers: one more in line, or one fewer.
    pub fn in_line(&self, change: i64) {
        self.waiting.fetch_add(change, Ordering::Relaxed);
    }

    /// For a pool that tells of its callers: one more with a connection, or one fewer.
    pub fn held(&self, change: i64) {
        self.holding.fetch_add(change, Ordering::Relaxed);
    }

    /// A caller was given a connection after this time.
    pub fn waited(&self, asked: Instant, lasted: Duration) {
        self.waits.lock().push(Lapse { asked, lasted });
    }

    /// An operation is over, and took so much longer than the server held it.
    pub fn done(&self, asked: Instant, beyond: Duration) {
        let lasted = beyond;
        self.beyond.lock().push(Lapse { asked, lasted });
    }

    pub fn failed(&self, error: &anyhow::Error) {
        let mut failures = self.failures.lock();
        failures.count += 1;
        failures.first.get_or_insert_with(|| format!("{error:#}"));
    }

    /// Callers with a connection and callers in line, now.
    pub fn now(&self) -> (i64, i64) {
        let holding = self.holding.load(Ordering::Relaxed);
        (holding, self.waiting.load(Ordering::Relaxed))
    }

    /// How many operations failed, and the first one's reason.
    pub fn failures(&self) -> (u32, Option<String>) {
        let failures = self.failures.lock();
        (failures.count, failures.first.clone())
    }

    /// What those waited for a connection that asked between these moments.
    pub fn waits(&self, from: Instant, until: Instant) -> Vec<Lapse> {
        between(&self.waits.lock(), from, until)
    }

    /// How much longer operations took than the server held them, of those begun between these
    /// moments.
    pub fn beyond(&self, from: Instant, until: Instant) -> Vec<Lapse> {
        between(&self.beyond.lock(), from, until)
    }
}

impl<'m> InLine<'m> {
    /// The caller has a connection now.
    pub fn served(self) -> Holding<'m> {
        let meter = self.meter;
        meter.waited(self.asked, self.asked.elapsed());
        meter.holding.fetch_add(1, Ordering::Relaxed);
        Holding(meter)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.meter.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Holding<'_> {
    fn drop(&mut self) {
        self.0.holding.fetch_sub(1, Ordering::Relaxed);
    }
}
