//! What the side-by-side benchmarks have in common.

pub mod report;
pub mod targets;

pub use report::Report;
pub use targets::{Bound, Of, Series, Target};
