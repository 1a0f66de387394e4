//! The simulator against theory, and the policies against their promises.

mod engine;
mod promises;
mod validation;
