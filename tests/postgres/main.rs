//! Suites against a real PostgreSQL: what the pool says is compared with what the server says.

mod bad_input;
mod basics;
mod bb8_manager;
mod busy_runtime;
mod cancellation;
mod cluster;
mod conformance;
mod dirty;
mod events;
mod executor;
mod failover;
mod macros;
mod network;
mod outage;
mod own_server;
mod pgbouncer;
mod resize;
mod server;
mod settings;
mod share;
mod side;
mod sizing;
mod third_party;
mod tls;
mod transactions;
