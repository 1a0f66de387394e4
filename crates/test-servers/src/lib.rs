//! PostgreSQL and MongoDB servers for demonstrations and test suites: found, fetched, started, stopped.
