//! A server found by its run folder, from another process than the one that started it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::runs::Record;
use crate::url::Redacted;

/// A server that some process started and that still runs.
pub struct Running {
    folder: PathBuf,
    record: Record,
}

impl Running {
    /// Looks the server up; none when it is gone.
    #[must_use]
    pub fn open(folder: &Path) -> Option<Self> {
        let record = Record::read(folder)?;
        record.server_is_alive().then(|| Self {
            folder: folder.to_owned(),
            record,
        })
    }

    /// The URL with the password in it.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.record.url
    }

    /// Where the server comes from, in words.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.record.origin
    }

    /// The server's process; none for a container.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.record.processes.first().map(|process| process.pid)
    }

    /// The process that will end the server; none for a detached one.
    #[must_use]
    pub fn owner(&self) -> Option<i32> {
        self.record
            .owner
            .as_ref()
            .filter(|owner| owner.is_alive())
            .map(|owner| owner.pid)
    }

    /// Ends the server and removes its folder. An owner that waits in the foreground is told to
    /// end, and ends its server with it.
    pub fn end(self) {
        if let Some(owner) = &self.record.owner
            && owner.signal(Signal::TERM).is_ok()
        {
            owner.wait_until_ended(Duration::from_secs(15));
        }
        self.record.end(&self.folder);
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("folder", &self.folder)
            .field("url", &Redacted(&self.record.url).to_string())
            .field("origin", &self.record.origin)
            .finish_non_exhaustive()
    }
}
