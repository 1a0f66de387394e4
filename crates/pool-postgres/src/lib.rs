//! PostgreSQL connection pools over sqlx's connection, resizable while they run.
