//! Typed asynchronous dependency injection: lifetimes, scopes, ordered disposal, no global.
