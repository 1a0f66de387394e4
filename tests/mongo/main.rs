//! Suites against a real MongoDB.

mod authority;
mod bad_input;
mod basics;
mod cancellation;
mod conformance;
mod events;
mod failover;
mod faults;
mod hazards;
mod members;
mod nesting;
mod own_tls;
mod reconfigure;
mod resize;
mod retries;
mod sessions;
mod sizing;
mod soak;
mod sockets;
mod support;
mod tls;
mod warmup;
