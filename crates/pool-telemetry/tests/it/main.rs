//! The crate from outside, over scripted connections.

#[cfg(feature = "http")]
mod listener;
#[cfg(feature = "http")]
mod operations;
#[cfg(feature = "http")]
mod stream;
#[cfg(feature = "http")]
mod support;
#[cfg(feature = "prometheus")]
mod text;
