//! What several tests use.

use std::sync::{Arc, Mutex};

use service_container::{Container, sync};

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, event: impl Into<String>) {
        self.0.lock().unwrap().push(event.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// A scoped service that knows the scope that it was made for.
pub(crate) struct Part(pub(crate) String);

/// A container whose parts say when they are disposed of.
pub(crate) fn container(log: &Log) -> Container {
    let log = log.clone();
    let mut builder = Container::builder();
    builder
        .scoped(sync(|scope: service_container::ScopeInfo| {
            Part(scope.name.to_string())
        }))
        .on_dispose(move |part: Arc<Part>| {
            let log = log.clone();
            async move {
                tokio::task::yield_now().await;
                log.add(format!("end of {}", part.0));
            }
        });
    builder.build().unwrap()
}
