//! A backend that does as it is told.

mod act;
mod connection;
mod manager;
mod script;

pub use self::act::{Act, Answer};
pub use self::connection::ScriptedConnection;
pub use self::manager::{ScriptedError, ScriptedManager};
pub use self::script::Script;
