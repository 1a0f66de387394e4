//! What can be seen of a factory without a server.

mod drain;
