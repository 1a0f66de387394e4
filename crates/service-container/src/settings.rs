//! What holds for the whole container.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::{DisposeOptions, LeakPolicy, Name};

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) name: Name,
    pub(crate) create_timeout: Duration,
    /// What was said about disposal, if anything was.
    pub(crate) dispose: Option<DisposeOptions>,
    /// What the container needs to be disposed of, as far as those who registered services know.
    pub(crate) dispose_takes: Duration,
    pub(crate) on_leak: LeakPolicy,
    pub(crate) runtime: Option<Handle>,
}

impl Settings {
    /// For the container itself.
    pub(crate) fn dispose_container(&self) -> DisposeOptions {
        self.dispose.unwrap_or_else(|| {
            let options = DisposeOptions::default();
            options.deadline(options.deadline.max(self.dispose_takes))
        })
    }

    /// For the scopes in it.
    pub(crate) fn dispose_scope(&self) -> DisposeOptions {
        self.dispose.unwrap_or_default()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: Name::from("container"),
            create_timeout: Duration::from_secs(30),
            dispose: None,
            dispose_takes: Duration::ZERO,
            on_leak: LeakPolicy::default(),
            runtime: None,
        }
    }
}
