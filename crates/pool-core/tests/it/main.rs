//! The engine from outside, over scripted connections.
//!
//! The cases of other pools stand in a file named after the pool that met them first, under the
//! number of the report or the name of the test there. The rest is by contract.

mod support;

mod allowance;
mod bb8_cases;
mod close;
mod conformance;
mod deadpool;
mod dynamic_sizing;
mod errors;
mod growth;
mod hikari_life;
mod hikari_load;
mod hooks;
mod limits;
mod listeners;
mod liveness;
mod metrics;
mod mobc;
mod network;
mod operators;
mod outage;
mod pause;
mod pgxpool;
mod puddle;
mod queue;
mod runtime_settings;
mod send;
mod sizing_changes;
mod sizing_modes;
mod sizing_problems;
mod sqlx;
mod sqlx_runtime;
mod warmup;
