//! What others see of the pools: a real Prometheus, promtool, a real browser, and nobody a password.

mod canary;
mod page;
mod prometheus;
mod rules;
mod support;
