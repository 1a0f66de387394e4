//! A connection to the scripted server.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::script::Server;
use super::{Script, ScriptedError};

/// A connection that its server counts for as long as it exists.
#[derive(Debug)]
pub struct ScriptedConnection {
    id: u64,
    server: Arc<Server>,
    line: Arc<Line>,
    /// Its owner has met an error on it.
    pub(super) failed: bool,
    /// An answer is unread, or a transaction is open.
    pub(super) soiled: bool,
}

/// What both ends of a connection know.
#[derive(Debug, Default)]
pub(super) struct Line {
    cut: AtomicBool,
}

impl Line {
    pub(super) fn cut(&self) {
        self.cut.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::SeqCst)
    }
}

impl ScriptedConnection {
    pub(super) fn open(server: &Arc<Server>) -> Self {
        let line = Arc::new(Line::default());
        let id = server.opened(&line);
        Self {
            id,
            server: Arc::clone(server),
            line,
            failed: false,
            soiled: false,
        }
    }

    /// The server's number for it, from 1.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    /// The script of its server.
    #[must_use]
    pub fn script(&self) -> Script {
        Script::of(Arc::clone(&self.server))
    }

    /// Asks the server something that takes it `time`.
    ///
    /// # Errors
    ///
    /// The line is cut; the connection knows that it is broken from now on.
    ///
    /// # Cancel safety
    ///
    /// As with a real protocol: a dropped query leaves an unread answer, and the connection is
    /// dirty until it has been recycled.
    pub async fn query(&mut self, time: Duration) -> Result<(), ScriptedError> {
        self.soiled = true;
        if !time.is_zero() {
            tokio::time::sleep(time).await;
        }
        self.look()?;
        self.soiled = false;
        Ok(())
    }

    /// Leaves something over that has to be cleaned before the next one uses it.
    pub const fn soil(&mut self) {
        self.soiled = true;
    }

    /// Breaks it in a way that its owner notices.
    pub fn break_off(&mut self) {
        self.line.cut();
        self.failed = true;
    }

    /// Cuts the line; nobody is told.
    pub fn cut(&self) {
        self.line.cut();
    }

    /// Notices whether the line is cut.
    pub(super) fn look(&mut self) -> Result<(), ScriptedError> {
        if self.line.is_cut() {
            self.failed = true;
            return Err(ScriptedError::Cut);
        }
        Ok(())
    }
}

impl Drop for ScriptedConnection {
    fn drop(&mut self) {
        self.server.closed(self.id);
    }
}
