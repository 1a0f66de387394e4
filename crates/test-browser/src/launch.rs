//! Finds Chromium, starts it, and ends it.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::BrowserError;

/// The names that it goes by.
const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];

/// A running browser with a profile of its own.
#[derive(Debug)]
pub(crate) struct Launched {
    process: Child,
    address: String,
    profile: PathBuf,
}

impl Launched {
    pub(crate) fn start() -> Result<Self, BrowserError> {
        static STARTED: AtomicU32 = AtomicU32::new(0);

        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let profile = format!("test-browser-{}-{number}", std::process::id());
        let profile = std::env::temp_dir().join(profile);
        for name in NAMES {
            let spawned = Command::new(name)
                .args([
                    "--headless",
                    "--remote-debugging-port=0",
                    "--remote-allow-origins=*",
                    "--disable-gpu",
                    "--disable-extensions",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    "--hide-scrollbars",
                    "--no-default-browser-check",
                    "--no-first-run",
                    // Only pages of the tests are opened, and root has no sandbox.
                    "--no-sandbox",
                    "--disable-dev-shm-usage",
                ])
                .arg(format!("--user-data-dir={}", profile.display()))
                .arg("about:blank")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn();
            let Ok(process) = spawned else { continue };
            let mut launched = Self {
                process,
                address: String::new(),
                profile,
            };
            launched.read_address()?;
            return Ok(launched);
        }
        Err(BrowserError::Missing)
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// It says on standard error where it listens; the rest of that is read and thrown away, so
    /// that it never stops at a full pipe.
    fn read_address(&mut self) -> Result<(), BrowserError> {
        let Some(errors) = self.process.stderr.take() else {
            return Err(BrowserError::Start("no standard error".to_owned()));
        };
        let mut lines = BufReader::new(errors).lines();
        let mut said = String::new();
        for line in lines.by_ref() {
            let Ok(line) = line else { break };
            if let Some(address) = line.strip_prefix("DevTools listening on ") {
                address.clone_into(&mut self.address);
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(());
            }
            said.push_str(&line);
        }
        Err(BrowserError::Start(said))
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        // It has nothing to save.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
