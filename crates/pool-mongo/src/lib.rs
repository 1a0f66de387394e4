//! MongoDB connection pools as leases on the official driver, resizable while they run.
