//! The factory, the container and the operation context over real servers.

mod bad_input;
mod budget;
mod compat;
mod context;
mod examples;
mod factory;
mod migrating;
mod reload;
mod reload_more;
mod support;
