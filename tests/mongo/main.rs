//! Suites against a real MongoDB.

mod bad_input;
mod basics;
mod cancellation;
mod chaos;
mod conformance;
mod events;
mod failover;
mod faults;
mod nesting;
mod reconfigure;
mod resize;
mod sessions;
mod sizing;
mod soak;
mod sockets;
mod support;
mod tls;
mod warmup;
