//! What one operation of a service works with: its pools on demand, a span, and an end.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod context;
mod error;
mod setup;

pub use crate::context::{OperationContext, OperationId};
pub use crate::error::{OperationError, OperationErrorKind};
pub use crate::setup::{SetupError, register_pools, setup_service_container};
