//! Suites against a real PostgreSQL.
