//! The container, tested from outside.

mod auto_traits;
mod build;
mod creation;
mod deadlines;
mod fork;
mod graph;
mod health;
mod properties;
mod rules;
mod scopes;
mod support;
mod warm_up;
