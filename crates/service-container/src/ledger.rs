//! The close race, decided in one place.
//!
//! A ledger answers three questions under one lock: may a creation of this service start here, may
//! its result be published, and who closes. Because the answer and its consequence (the attempt
//! entered, the value stored, the state changed) happen under the same lock, a value is either in
//! the books when closing takes them, or handed back to its maker to be disposed of in place. There
//! is no third case and no `.await` in which one could arise.
//!
//! Nothing here is asynchronous and nothing here knows what is created, which is what lets
//! `tests/loom_ledger.rs` try every interleaving.

use std::collections::BTreeMap;

use crate::sync::{AtomicU8, Mutex, Ordering, lock};

/// Where a scope is in its life. The order is the only order.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum State {
    /// Services can be resolved.
    Open,
    /// Disposal has begun: nothing more can be resolved.
    Closing,
    /// Disposal has ended.
    Closed,
}

impl State {
    fn from_raw(raw: u8) -> Self {
        match raw {
            0 => Self::Open,
            1 => Self::Closing,
            _ => Self::Closed,
        }
    }
}

/// A way to wait for an attempt that somebody else started.
pub(crate) trait Joinable {
    /// What the waiter holds.
    type Joined;

    /// A handle on the attempt, or `None` when everybody who drove it has gone.
    fn join(&self) -> Option<Self::Joined>;
}

/// What [`Ledger::begin`] decided.
#[derive(Debug)]
pub(crate) enum Begin<W> {
    /// The scope is closing or closed.
    Closed,
    /// The service exists already.
    Created,
    /// An attempt is running: wait for it.
    Join(W),
    /// The caller starts this attempt and must end it with [`Ledger::settle`].
    Started(W),
}

/// See the module's documentation. `J` is how running attempts are joined; `B` is what else the
/// lock guards.
#[derive(Debug)]
pub(crate) struct Ledger<J, B> {
    /// Written under the lock; read without it by those who only want to turn away early.
    state: AtomicU8,
    entries: Mutex<Entries<J, B>>,
}

#[derive(Debug)]
struct Entries<J, B> {
    /// Attempts running, by service. The number tells an attempt from a later one.
    attempts: BTreeMap<u32, (u64, J)>,
    started: u64,
    in_flight: usize,
    books: B,
}

impl<J: Joinable, B> Ledger<J, B> {
    /// An open ledger.
    pub(crate) fn new(books: B) -> Self {
        Self {
            state: AtomicU8::new(State::Open as u8),
            entries: Mutex::new(Entries {
                attempts: BTreeMap::new(),
                started: 0,
                in_flight: 0,
                books,
            }),
        }
    }

    /// The state a moment ago.
    #[inline]
    pub(crate) fn state(&self) -> State {
        State::from_raw(self.state.load(Ordering::Acquire))
    }

    /// Whether the state was `Open` a moment ago.
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.state.load(Ordering::Acquire) == State::Open as u8
    }

    /// Joins the attempt running for `service`, or enters a new one made by `start`.
    pub(crate) fn begin(
        &self,
        service: u32,
        created: impl FnOnce() -> bool,
        start: impl FnOnce(u64) -> (J, J::Joined),
    ) -> Begin<J::Joined> {
        let mut entries = lock(&self.entries);
        if !self.is_open() {
            return Begin::Closed;
        }
        if created() {
            return Begin::Created;
        }
        if let Some((_, running)) = entries.attempts.get(&service)
            && let Some(joined) = running.join()
        {
            return Begin::Join(joined);
        }
        entries.started += 1;
        entries.in_flight += 1;
        let attempt = entries.started;
        let (running, joined) = start(attempt);
        entries.attempts.insert(service, (attempt, running));
        Begin::Started(joined)
    }

    /// Enters the value of an attempt through `enter`, or gives `enter` back when the ledger is no
    /// longer open and the value has to be disposed of by its maker.
    pub(crate) fn publish<E: FnOnce(&mut B)>(
        &self,
        service: u32,
        attempt: u64,
        enter: E,
    ) -> Result<(), E> {
        let mut entries = lock(&self.entries);
        if !self.is_open() {
            return Err(enter);
        }
        enter(&mut entries.books);
        Self::remove(&mut entries, service, attempt);
        Ok(())
    }

    /// Ends an attempt, however it went. Returns whether it was the last one in flight.
    pub(crate) fn settle(&self, service: u32, attempt: u64) -> bool {
        let mut entries = lock(&self.entries);
        Self::remove(&mut entries, service, attempt);
        entries.in_flight -= 1;
        entries.in_flight == 0
    }

    /// Moves from `Open` to `Closing`, once: `close` runs for the one caller who did it.
    pub(crate) fn close<R>(&self, close: impl FnOnce(&mut B, usize) -> R) -> Option<R> {
        let mut entries = lock(&self.entries);
        if !self.is_open() {
            return None;
        }
        self.state.store(State::Closing as u8, Ordering::Release);
        let in_flight = entries.in_flight;
        Some(close(&mut entries.books, in_flight))
    }

    /// Ends the closing begun by [`Ledger::close`].
    pub(crate) fn closed(&self) {
        let _entries = lock(&self.entries);
        self.state.store(State::Closed as u8, Ordering::Release);
    }

    /// Attempts that have begun and not yet settled.
    pub(crate) fn in_flight(&self) -> usize {
        lock(&self.entries).in_flight
    }

    /// Looks at each running attempt.
    pub(crate) fn each_attempt(&self, mut visit: impl FnMut(u32, &J)) {
        let entries = lock(&self.entries);
        for (service, (_, running)) in &entries.attempts {
            visit(*service, running);
        }
    }

    /// Reads or writes the books in whatever state the ledger is.
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut B) -> R) -> R {
        act(&mut lock(&self.entries).books)
    }

    /// Reads or writes the books if the ledger is open, and keeps it open meanwhile.
    pub(crate) fn with_open<R>(&self, act: impl FnOnce(&mut B) -> R) -> Option<R> {
        let mut entries = lock(&self.entries);
        self.is_open().then(|| act(&mut entries.books))
    }

    /// A later attempt at the same service keeps its entry.
    fn remove(entries: &mut Entries<J, B>, service: u32, attempt: u64) {
        if entries
            .attempts
            .get(&service)
            .is_some_and(|(running, _)| *running == attempt)
        {
            entries.attempts.remove(&service);
        }
    }
}
