//! Readers and writers that note what happens to them.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::subject::{Failure, Subject, value_of};

/// How long callers wait.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Patience {
    /// For a connection: what the pool is built with.
    pub acquire: Duration,
    /// For an operation: a caller's own limit, because no driver here sets one.
    pub operation: Duration,
    /// What a machine may add to `acquire` before it counts as late.
    pub slack: Duration,
}

impl Patience {
    /// A second for a connection, a second and a half for an operation.
    #[must_use]
    pub const fn with_slack(slack: Duration) -> Self {
        Self {
            acquire: Duration::from_secs(1),
            operation: Duration::from_millis(1_500),
            slack,
        }
    }
}

/// Callers in a loop until they are told to stop.
#[derive(Debug)]
pub struct Load {
    notes: Arc<Notes>,
    tasks: JoinSet<()>,
}

/// What all callers of a load write down.
#[derive(Debug)]
pub(crate) struct Notes {
    patience: Patience,
    stop: AtomicBool,
    next: AtomicI64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
pub(crate) struct Kept {
    pub(crate) acknowledged: Vec<i64>,
    /// When each of them was.
    pub(crate) acknowledged_at: Vec<Instant>,
    /// Operations that ended well.
    pub(crate) successes: u64,
    pub(crate) wrong_reads: u64,
    pub(crate) late_acquires: u64,
    pub(crate) slowest_acquire: Duration,
    pub(crate) failures: u64,
    /// Operations that their caller gave up.
    pub(crate) given_up: u64,
    pub(crate) without_cause: Vec<String>,
    pub(crate) last_failure: Option<String>,
}

impl Notes {
    pub(crate) fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// A row that nobody has written yet.
    pub(crate) fn next_row(&self) -> i64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn failed(&self, failure: Failure) {
        let mut kept = self.kept();
        kept.failures += 1;
        if !failure.has_cause {
            kept.without_cause.push(failure.text.clone());
        }
        kept.last_failure = Some(failure.text);
    }

    /// The server's word that a row is there.
    pub(crate) fn acknowledged(&self, row: i64) {
        let mut kept = self.kept();
        kept.acknowledged.push(row);
        kept.acknowledged_at.push(Instant::now());
    }

    /// A row that was acknowledged.
    fn some_row(&self) -> Option<i64> {
        let kept = self.kept();
        let rows = &kept.acknowledged;
        (!rows.is_empty()).then(|| rows[fastrand::usize(..rows.len())])
    }
}

impl Load {
    /// Starts so many readers, and as many writers; rows are counted from `first` on.
    pub fn begin<S: Subject>(subject: &Arc<S>, pairs: u32, first: i64, patience: Patience) -> Self {
        let notes = Arc::new(Notes {
            patience,
            stop: AtomicBool::new(false),
            next: AtomicI64::new(first),
            kept: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..pairs {
            tasks.spawn(work(Arc::clone(subject), Arc::clone(&notes), Kind::Write));
            tasks.spawn(work(Arc::clone(subject), Arc::clone(&notes), Kind::Read));
        }
        Self { notes, tasks }
    }

    pub(crate) fn notes(&self) -> &Arc<Notes> {
        &self.notes
    }

    /// Waits for the operations that are under way, and hands over the notes.
    pub(crate) async fn end(mut self) -> Arc<Notes> {
        self.notes.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no caller panics");
        }
        self.notes
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Read,
    Write,
}

async fn work<S: Subject>(subject: Arc<S>, notes: Arc<Notes>, kind: Kind) {
    while !notes.is_stopped() {
        if once(&*subject, &notes, kind).await.is_err() {
            // Nobody asks again without a pause.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn once<S: Subject>(subject: &S, notes: &Notes, kind: Kind) -> Result<(), ()> {
    let patience = notes.patience;
    let row = match kind {
        Kind::Write => notes.next_row(),
        Kind::Read => notes.some_row().ok_or(())?,
    };
    let began = Instant::now();
    let acquired = subject.acquire().await;
    let waited = began.elapsed();
    {
        let mut kept = notes.kept();
        kept.slowest_acquire = kept.slowest_acquire.max(waited);
        kept.late_acquires += u64::from(waited > patience.acquire + patience.slack);
    }
    let mut guard = acquired.map_err(|failure| notes.failed(failure))?;
    let operation = async {
        match kind {
            Kind::Write => subject.write(&mut guard, row).await.map(|()| None),
            Kind::Read => subject.read(&mut guard, row).await.map(Some),
        }
    };
    let Ok(outcome) = tokio::time::timeout(patience.operation, operation).await else {
        notes.kept().given_up += 1;
        return Err(());
    };
    let read = outcome.map_err(|failure| notes.failed(failure))?;
    if read.is_none() {
        notes.acknowledged(row);
    }
    let mut kept = notes.kept();
    kept.successes += 1;
    if let Some(value) = read {
        kept.wrong_reads += u64::from(value != Some(value_of(row)));
    }
    drop(kept);
    Ok(())
}
