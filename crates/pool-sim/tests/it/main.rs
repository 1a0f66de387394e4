//! The simulator against theory, and the policies against their promises.

mod document;
mod engine;
mod plot;
mod promises;
mod validation;
