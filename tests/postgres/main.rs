//! Suites against a real PostgreSQL: what the pool says is compared with what the server says.

mod bad_input;
mod basics;
mod cancellation;
mod events;
mod executor;
mod resize;
mod server;
mod sizing;
mod transactions;
