//! What can be seen of operations without a server.

mod children;
mod endings;
mod setup;
mod support;
