//! What several tests use.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span;

/// What happened, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    pub(crate) fn add(&self, event: impl Into<String>) {
        self.0.lock().unwrap().push(event.into());
    }

    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// An error with a message.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Oops(pub(crate) &'static str);

/// The name of a span, and that of the one it began in.
pub(crate) type SpanSeen = (String, Option<String>);

/// A tracing subscriber that keeps every event and the names of spans with their parents.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trace {
    pub(crate) events: Log,
    pub(crate) spans: Arc<Mutex<Vec<SpanSeen>>>,
    stack: Arc<Mutex<Vec<u64>>>,
    last: Arc<AtomicU64>,
}

impl tracing::Subscriber for Trace {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("service_container") || metadata.target().starts_with("it")
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut spans = self.spans.lock().unwrap();
        let current = self.stack.lock().unwrap().last().copied();
        let parent = current.map(|id| spans[usize::try_from(id).unwrap() - 1].0.clone());
        spans.push((span.metadata().name().to_owned(), parent));
        span::Id::from_u64(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Fields(String);
        impl Visit for Fields {
            fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
                self.0.push_str(&format!(" {}={value:?}", field.name()));
            }
        }
        let mut fields = Fields(event.metadata().level().to_string());
        event.record(&mut fields);
        self.events.add(fields.0);
    }

    fn enter(&self, span: &span::Id) {
        self.stack.lock().unwrap().push(span.into_u64());
    }

    fn exit(&self, span: &span::Id) {
        let mut stack = self.stack.lock().unwrap();
        if let Some(index) = stack.iter().rposition(|id| *id == span.into_u64()) {
            stack.remove(index);
        }
    }
}
