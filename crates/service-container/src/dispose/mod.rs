//! Ending a scope: what was created in it is disposed of, in order, in time, and accounted for.

mod close;
mod deadline;
mod options;
mod order;
mod plan;
mod report;

pub(crate) use close::{Disposal, after, close, dispose_late, plan};
pub(crate) use deadline::Deadline;
pub use options::DisposeOptions;
pub(crate) use plan::Plan;
pub use report::{DisposeError, DisposeReport, Disposed, Outcome};
