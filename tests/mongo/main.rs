//! Suites against a real MongoDB.
