//! What several tests use.

use std::cell::RefCell;
use std::fmt;
use std::sync::{Arc, Mutex, Once};

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

/// What was traced on this thread while it was recording.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) events: Vec<String>,
    pub(crate) spans: Vec<SpanSeen>,
    stack: Vec<usize>,
}

thread_local! {
    static TRACE: RefCell<Option<Trace>> = const { RefCell::new(None) };
}

impl Trace {
    /// Begins to record on this thread.
    ///
    /// The subscriber is the one of the process: with one for each test, what is traced first on
    /// another thread would be switched off for all of them.
    pub(crate) fn record() {
        static INSTALLED: Once = Once::new();
        INSTALLED.call_once(|| {
            tracing::subscriber::set_global_default(Recorder).unwrap();
            tracing::callsite::rebuild_interest_cache();
        });
        TRACE.set(Some(Self::default()));
    }

    /// What has been recorded since the last call.
    pub(crate) fn take() -> Self {
        TRACE
            .replace(Some(Self::default()))
            .expect("`record` was called on this thread")
    }
}

struct Recorder;

fn recording(act: impl FnOnce(&mut Trace)) {
    TRACE.with_borrow_mut(|trace| trace.as_mut().map(act));
}

fn index(span: &span::Id) -> usize {
    usize::try_from(span.into_u64()).unwrap() - 1
}

impl tracing::Subscriber for Recorder {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("service_container") || metadata.target().starts_with("it")
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        let mut id = 1;
        recording(|trace| {
            let parent = trace
                .stack
                .last()
                .map(|parent| trace.spans[*parent].0.clone());
            trace
                .spans
                .push((span.metadata().name().to_owned(), parent));
            id = u64::try_from(trace.spans.len()).unwrap();
        });
        span::Id::from_u64(id)
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
        recording(|trace| trace.events.push(fields.0));
    }

    fn enter(&self, span: &span::Id) {
        recording(|trace| trace.stack.push(index(span)));
    }

    fn exit(&self, span: &span::Id) {
        recording(|trace| {
            let at = trace
                .stack
                .iter()
                .rposition(|entered| *entered == index(span));
            if let Some(at) = at {
                trace.stack.remove(at);
            }
        });
    }
}
