//! The end of a log, for the error of a server that did not come up.

use std::fmt;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

const BYTES: u64 = 8 * 1024;
const LINES: usize = 20;

/// The last lines of a log, kept because the log goes with the server's folder.
#[derive(Debug)]
pub struct LogEnd(Box<(PathBuf, String)>);

impl LogEnd {
    pub(crate) fn of(path: PathBuf) -> Self {
        let lines = tail(&path);
        Self(Box::new((path, lines)))
    }

    /// Where the log was.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.0
    }

    /// What it said last.
    #[must_use]
    pub fn lines(&self) -> &str {
        &self.0.1
    }
}

impl fmt::Display for LogEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the end of {}:\n{}", self.path().display(), self.lines())
    }
}

/// The last lines of `path`, or why they cannot be read.
pub(crate) fn tail(path: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
        let mut end = Vec::new();
        file.read_to_end(&mut end)?;
        Ok(String::from_utf8_lossy(&end).into_owned())
    };
    match read() {
        Ok(text) if text.trim().is_empty() => "(it is empty)".to_owned(),
        Ok(text) => {
            let lines: Vec<&str> = text.trim_end().lines().collect();
            lines[lines.len().saturating_sub(LINES)..].join("\n")
        }
        Err(error) => format!("(it cannot be read: {error})"),
    }
}
