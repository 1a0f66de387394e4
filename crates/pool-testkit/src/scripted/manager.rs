//! The client's side of the scripted server.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use pool_core::{ConnectFault, ConnectionManager, ReleaseCheck, ServerState};

use super::script::Server;
use super::{Script, ScriptedConnection};

/// A manager whose server follows a [`Script`].
#[derive(Debug)]
pub struct ScriptedManager {
    server: Arc<Server>,
}

impl ScriptedManager {
    /// A manager and the script that it follows. At first everything works at once.
    #[must_use]
    #[allow(clippy::new_ret_no_self, reason = "one is of no use without the other")]
    pub fn new() -> (Self, Script) {
        let server = Server::new();
        let script = Script::of(Arc::clone(&server));
        (Self { server }, script)
    }

    /// Another manager of the same server.
    #[must_use]
    pub fn another(&self) -> Self {
        let server = Arc::clone(&self.server);
        Self { server }
    }
}

/// What the scripted server answers when it does not do as it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptedError {
    /// The line is cut.
    #[error("the line is cut")]
    Cut,
    /// The script wants it so.
    #[error("{}", told(.0))]
    Told(ConnectFault),
}

const fn told(fault: &ConnectFault) -> &'static str {
    match fault {
        ConnectFault::Permanent => "wrong password, says the script",
        ConnectFault::Saturated => "too many connections, says the script",
        _ => "connection refused, says the script",
    }
}

impl ConnectionManager for ScriptedManager {
    type Connection = ScriptedConnection;
    type Error = ScriptedError;

    fn servers(&self) -> Vec<ServerState> {
        let below = self.server.below.lock();
        below.unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn connect(&self) -> Result<ScriptedConnection, ScriptedError> {
        self.server.connect.play().await?;
        Ok(ScriptedConnection::open(&self.server))
    }

    async fn validate(&self, connection: &mut ScriptedConnection) -> Result<(), ScriptedError> {
        self.server.validate.play().await?;
        connection.look()
    }

    fn release_check(&self, connection: &mut ScriptedConnection) -> ReleaseCheck {
        if self.server.release_panics.load(Ordering::SeqCst) {
            // Without a report: it is wanted.
            std::panic::resume_unwind(Box::new("the script wants a panic"));
        }
        if connection.failed {
            ReleaseCheck::Broken
        } else if connection.soiled {
            ReleaseCheck::Dirty
        } else {
            ReleaseCheck::Clean
        }
    }

    async fn recycle(&self, connection: &mut ScriptedConnection) -> Result<(), ScriptedError> {
        self.server.recycle.play().await?;
        connection.look()?;
        connection.soiled = false;
        Ok(())
    }

    async fn close(&self, connection: ScriptedConnection) {
        // The server counts it until the goodbye is over, or dropped.
        let _ = self.server.close.play().await;
        drop(connection);
    }

    fn error_code(&self, error: &ScriptedError) -> Option<String> {
        let code = match error {
            ScriptedError::Cut => "cut",
            ScriptedError::Told(ConnectFault::Permanent) => "password",
            ScriptedError::Told(ConnectFault::Saturated) => "full",
            ScriptedError::Told(_) => "refused",
        };
        Some(code.to_owned())
    }

    fn classify(&self, error: &ScriptedError) -> ConnectFault {
        match error {
            ScriptedError::Told(fault) => *fault,
            ScriptedError::Cut => ConnectFault::Transient,
        }
    }
}
