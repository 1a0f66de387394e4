//! What holds for the whole container.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::{DisposeOptions, LeakPolicy, Name};

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: Name,
    pub(crate) create_timeout: Duration,
    pub(crate) dispose: DisposeOptions,
    pub(crate) on_leak: LeakPolicy,
    pub(crate) runtime: Option<Handle>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: Name::from("container"),
            create_timeout: Duration::from_secs(30),
            dispose: DisposeOptions::default(),
            on_leak: LeakPolicy::default(),
            runtime: None,
        }
    }
}
