//! The machine's Chromium without a window, for tests of pages and pictures of them.
//!
//! Speaks the browser's own protocol over one socket, as little of it as a test of one page needs:
//! drivers that know all of it take longer to compile than the rest of the workspace.
//!
//! ```no_run
//! use test_browser::Browser;
//!
//! # fn main() -> Result<(), test_browser::BrowserError> {
//! let mut browser = Browser::start()?;
//! browser.open("http://127.0.0.1:9464/")?;
//! let title = browser.evaluate("document.title")?;
//! assert_eq!(browser.errors()?, Vec::<String>::new());
//! # Ok(())
//! # }
//! ```

mod launch;
mod protocol;

use std::path::Path;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::{Value, json};

use crate::launch::Launched;
use crate::protocol::Connection;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one tab. It ends with this value.
#[derive(Debug)]
pub struct Browser {
    connection: Connection,
    // Dropped last: the socket goes before the program does.
    _process: Launched,
}

/// Something went wrong between the test and the browser.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrowserError {
    /// There is no Chromium on this machine.
    #[error("no Chromium on this machine (Debian: apt-get install chromium)")]
    Missing,
    /// It did not start.
    #[error("Chromium did not start: {0}")]
    Start(String),
    /// It said no.
    #[error("Chromium: {method}: {message}")]
    #[non_exhaustive]
    Refused {
        /// What it was asked.
        method: String,
        /// What it said.
        message: String,
    },
    /// The condition did not come true in time.
    #[error("did not come true within {PATIENCE:?}: {0}")]
    TooLate(String),
    /// The line to it broke.
    #[error("lost Chromium")]
    Line(#[from] tungstenite::Error),
    /// A file could not be written.
    #[error("could not write the picture")]
    Write(#[from] std::io::Error),
}

impl Browser {
    /// Starts the machine's Chromium with an empty tab.
    ///
    /// # Errors
    ///
    /// There is none, or it does not start.
    pub fn start() -> Result<Self, BrowserError> {
        let process = Launched::start()?;
        let mut connection = Connection::to(process.address())?;
        let tab = connection.call("Target.createTarget", json!({ "url": "about:blank" }))?;
        let attach = json!({ "targetId": tab["targetId"], "flatten": true });
        let session = connection.call("Target.attachToTarget", attach)?;
        connection.talk_to(session["sessionId"].as_str().unwrap_or_default());
        for domain in ["Page", "Runtime", "Network", "Log"] {
            connection.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(Self {
            connection,
            _process: process,
        })
    }

    /// Sets how large the page is, in pixels, and whether it is that of a phone.
    ///
    /// # Errors
    ///
    /// The browser is gone.
    pub fn resize(&mut self, width: u32, height: u32, phone: bool) -> Result<(), BrowserError> {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone,
        });
        self.connection
            .call("Emulation.setDeviceMetricsOverride", size)
            .map(drop)
    }

    /// Has the page believe that the user prefers a dark or a light page.
    ///
    /// # Errors
    ///
    /// The browser is gone.
    pub fn prefer_dark(&mut self, dark: bool) -> Result<(), BrowserError> {
        let value = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.connection
            .call("Emulation.setEmulatedMedia", media)
            .map(drop)
    }

    /// Opens a page.
    ///
    /// # Errors
    ///
    /// It cannot be reached.
    pub fn open(&mut self, url: &str) -> Result<(), BrowserError> {
        let opened = self
            .connection
            .call("Page.navigate", json!({ "url": url }))?;
        match opened["errorText"].as_str() {
            None => self.until("document.readyState === 'complete'").map(drop),
            Some(error) => Err(BrowserError::Refused {
                method: format!("open {url}"),
                message: error.to_owned(),
            }),
        }
    }

    /// The value of an expression in the page; a promise is waited for.
    ///
    /// # Errors
    ///
    /// It throws.
    pub fn evaluate(&mut self, expression: &str) -> Result<Value, BrowserError> {
        let evaluate = json!({
            "expression": expression, "returnByValue": true, "awaitPromise": true,
        });
        let mut outcome = self.connection.call("Runtime.evaluate", evaluate)?;
        match outcome.get("exceptionDetails") {
            None => Ok(outcome["result"]["value"].take()),
            Some(thrown) => Err(BrowserError::Refused {
                method: expression.to_owned(),
                message: thrown.to_string(),
            }),
        }
    }

    /// Waits until an expression is truthy; its value.
    ///
    /// # Errors
    ///
    /// It throws, or a minute is over.
    pub fn until(&mut self, expression: &str) -> Result<Value, BrowserError> {
        let began = Instant::now();
        loop {
            // While a page is being replaced there is nothing to ask.
            match self.evaluate(expression) {
                Ok(Value::Null | Value::Bool(false)) | Err(BrowserError::Refused { .. }) => {}
                Ok(value) if value == json!(0) || value == json!("") => {}
                other => return other,
            }
            if began.elapsed() > PATIENCE {
                return Err(BrowserError::TooLate(expression.to_owned()));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Presses a key, such as `Tab`, `Enter` or a letter.
    ///
    /// # Errors
    ///
    /// The browser is gone.
    pub fn press(&mut self, key: &str) -> Result<(), BrowserError> {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            other => (0, other),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({
                "type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code,
            });
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.connection.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// Writes a picture of the page as PNG, of its whole height.
    ///
    /// # Errors
    ///
    /// The browser is gone, or the file cannot be written.
    pub fn picture(&mut self, file: &Path) -> Result<(), BrowserError> {
        let how = json!({ "format": "png", "captureBeyondViewport": true });
        let taken = self.connection.call("Page.captureScreenshot", how)?;
        let data = taken["data"].as_str().unwrap_or_default();
        let bytes = BASE64.decode(data.as_bytes());
        std::fs::write(file, bytes.map_err(std::io::Error::other)?)?;
        Ok(())
    }

    /// What has gone wrong in the page so far: exceptions, errors on the console, and what the
    /// browser itself complains about.
    ///
    /// # Errors
    ///
    /// The browser is gone.
    pub fn errors(&mut self) -> Result<Vec<String>, BrowserError> {
        // What has happened before this answer has been told before it.
        self.evaluate("0")?;
        let events = self.connection.events().iter();
        let text = |event: &Value| event["params"].to_string();
        Ok(events
            .filter(|event| match event["method"].as_str() {
                Some("Runtime.exceptionThrown") => true,
                Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
                Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
                _ => false,
            })
            .map(text)
            .collect())
    }

    /// Every address that the page has asked for so far.
    ///
    /// # Errors
    ///
    /// The browser is gone.
    pub fn requests(&mut self) -> Result<Vec<String>, BrowserError> {
        self.evaluate("0")?;
        let events = self.connection.events().iter();
        Ok(events
            .filter(|event| event["method"] == "Network.requestWillBeSent")
            .filter_map(|event| event["params"]["request"]["url"].as_str())
            .map(str::to_owned)
            .collect())
    }

    /// Forgets the errors and requests so far.
    pub fn forget(&mut self) {
        self.connection.forget();
    }
}
