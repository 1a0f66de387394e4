//! A connection pool engine that can be resized while it runs, watches itself and explains itself.
