//! Suites against a real MongoDB.

mod bad_input;
mod basics;
mod cancellation;
mod events;
mod resize;
mod sizing;
mod sockets;
mod support;
mod warmup;
