//! Questions and answers over one socket, and the events between them.

use std::net::TcpStream;

use serde_json::{Value, json};
use tungstenite::stream::MaybeTlsStream;
use tungstenite::{Message, WebSocket};

use crate::{BrowserError, PATIENCE};

/// The line to the browser.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: WebSocket<MaybeTlsStream<TcpStream>>,
    session: Option<String>,
    asked: u64,
    events: Vec<Value>,
}

impl Connection {
    pub(crate) fn to(address: &str) -> Result<Self, BrowserError> {
        let (socket, _answer) = tungstenite::connect(address)?;
        if let MaybeTlsStream::Plain(stream) = socket.get_ref() {
            stream.set_read_timeout(Some(PATIENCE))?;
        }
        Ok(Self {
            socket,
            session: None,
            asked: 0,
            events: Vec::new(),
        })
    }

    /// What is asked from now on is asked of this tab.
    pub(crate) fn talk_to(&mut self, session: &str) {
        self.session = Some(session.to_owned());
    }

    /// Asks, and waits for the answer; events that come before it are kept.
    #[allow(clippy::needless_pass_by_value, reason = "made for the call")]
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Result<Value, BrowserError> {
        self.asked += 1;
        let id = self.asked;
        let mut question = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = &self.session {
            question["sessionId"] = json!(session);
        }
        self.socket.send(Message::text(question.to_string()))?;
        loop {
            let Message::Text(text) = self.socket.read()? else {
                continue;
            };
            let mut message: Value = serde_json::from_str(&text).unwrap_or_default();
            if message["id"] != json!(id) {
                self.events.push(message);
                continue;
            }
            return match message.get("error") {
                None => Ok(message["result"].take()),
                Some(error) => Err(BrowserError::Refused {
                    method: method.to_owned(),
                    message: error.to_string(),
                }),
            };
        }
    }

    pub(crate) fn events(&self) -> &[Value] {
        &self.events
    }

    pub(crate) fn forget(&mut self) {
        self.events.clear();
    }
}
