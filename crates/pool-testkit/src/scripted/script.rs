//! The hands of the author: what the server is to do, and what it has seen.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pool_core::ServerState;

use super::Act;
use super::connection::Line;

/// Tells the scripted server what to do, and what it has seen. Clones are the same script.
#[derive(Clone, Debug)]
pub struct Script {
    server: Arc<Server>,
}

/// The scripted server.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) connect: Act,
    pub(super) validate: Act,
    pub(super) recycle: Act,
    pub(super) close: Act,
    pub(super) release_panics: AtomicBool,
    pub(super) below: Mutex<Vec<ServerState>>,
    book: Mutex<Book>,
}

/// Who is connected.
#[derive(Debug, Default)]
struct Book {
    lines: BTreeMap<u64, Arc<Line>>,
    opened: u64,
    closed: u64,
    peak: usize,
}

impl Server {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            connect: Act::new(),
            validate: Act::new(),
            recycle: Act::new(),
            close: Act::new(),
            release_panics: AtomicBool::new(false),
            below: Mutex::new(Vec::new()),
            book: Mutex::default(),
        })
    }

    pub(super) fn opened(&self, line: &Arc<Line>) -> u64 {
        let mut book = self.book();
        book.opened += 1;
        let id = book.opened;
        book.lines.insert(id, Arc::clone(line));
        book.peak = book.peak.max(book.lines.len());
        id
    }

    pub(super) fn closed(&self, id: u64) {
        let mut book = self.book();
        book.lines.remove(&id);
        book.closed += 1;
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Script {
    /// What is below the connections from now on, for whoever asks the pool's
    /// [`servers`](pool_core::PoolControl::servers). Nothing at first.
    pub fn set_servers(&self, servers: Vec<ServerState>) {
        let below = self.server.below.lock();
        *below.unwrap_or_else(PoisonError::into_inner) = servers;
    }

    pub(super) const fn of(server: Arc<Server>) -> Self {
        Self { server }
    }

    /// Opening a connection.
    #[must_use]
    pub fn connect(&self) -> &Act {
        &self.server.connect
    }

    /// Checking an idle connection.
    #[must_use]
    pub fn validate(&self) -> &Act {
        &self.server.validate
    }

    /// Cleaning a connection that came back dirty.
    #[must_use]
    pub fn recycle(&self) -> &Act {
        &self.server.recycle
    }

    /// Saying goodbye to a connection. What it answers makes no difference, but when does.
    #[must_use]
    pub fn close(&self) -> &Act {
        &self.server.close
    }

    /// Whether the look at a connection that comes back panics.
    pub fn release_check_panics(&self, panics: bool) {
        self.server.release_panics.store(panics, Ordering::SeqCst);
    }

    /// Cuts every connection that is open, without telling anybody.
    pub fn cut_all(&self) {
        self.server
            .book()
            .lines
            .values()
            .for_each(|line| line.cut());
    }

    /// Connections open now, at the server.
    #[must_use]
    pub fn open(&self) -> usize {
        self.server.book().lines.len()
    }

    /// The most connections that were open at once.
    #[must_use]
    pub fn peak_open(&self) -> usize {
        self.server.book().peak
    }

    /// Connections ever opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.server.book().opened
    }

    /// Connections ever closed.
    #[must_use]
    pub fn closed(&self) -> u64 {
        self.server.book().closed
    }

    /// The numbers of the connections that are open, oldest first.
    #[must_use]
    pub fn ids(&self) -> Vec<u64> {
        self.server.book().lines.keys().copied().collect()
    }
}
