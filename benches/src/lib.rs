//! What the side-by-side benchmarks have in common.

pub mod report;

pub use report::Report;
