//! Operations that are parts of others.

use std::io;
use std::sync::{Arc, Mutex};

use connection_factory::{ConnectionFactory, FactoryConfig};
use operation_context::{OperationContext, OperationErrorKind};
use service_container::{DisposeError, State};

use crate::support::{Log, Part, container};

#[tokio::test]
async fn a_child_has_the_names_and_the_notes_of_its_parent_and_a_number_of_its_own() {
    let parent = OperationContext::create("quotes", "import").with_metadata("source", "feed");
    assert_eq!(
        (parent.parent_id(), parent.metadata("parent_id")),
        (None, None)
    );
    let child = parent.child("parse").with_metadata("line", "7");
    assert_eq!((child.handler(), child.operation()), ("quotes", "parse"));
    assert_eq!(child.parent_id(), Some(parent.id()));
    assert_ne!(child.id(), parent.id());
    let notes = ["source", "line", "parent_id"].map(|key| child.metadata(key));
    let id = parent.id().to_string();
    assert_eq!(notes, [Some("feed"), Some("7"), Some(id.as_str())]);
    assert_eq!(parent.metadata("line"), None);

    let grandchild = child.child("check");
    assert_eq!(grandchild.parent_id(), Some(child.id()));
    assert_eq!(
        grandchild.metadata("parent_id"),
        Some(child.id().to_string().as_str())
    );
}

#[tokio::test]
async fn a_parent_ends_its_children_before_itself() {
    let log = Log::default();
    let container = container(&log);
    let parent = OperationContext::create("quotes", "import").container(&container);
    let [first, second, unused] = ["first", "second", "unused"].map(|name| parent.child(name));
    let inner = second.child("inner");
    // The child that asks first opens the scopes around it.
    assert_eq!(inner.service::<Part>().await.unwrap().0, "quotes.inner");
    assert_eq!(first.service::<Part>().await.unwrap().0, "quotes.first");
    assert_eq!(parent.service::<Part>().await.unwrap().0, "quotes.import");
    assert_eq!(second.service::<Part>().await.unwrap().0, "quotes.second");

    // One that ends by itself leaves the others.
    first.dispose().await.unwrap();
    assert_eq!(log.take(), ["end of quotes.first"]);
    assert!(parent.service::<Part>().await.is_ok() && inner.service::<Part>().await.is_ok());

    let report = parent.dispose().await.unwrap().unwrap();
    assert_eq!(
        log.take(),
        [
            "end of quotes.inner",
            "end of quotes.second",
            "end of quotes.import"
        ]
    );
    assert_eq!(report.children.len(), 1, "{report}");
    for ended in [&first, &second, &inner, &unused] {
        let error = ended.service::<Part>().await.map(drop).unwrap_err();
        assert_eq!(error.kind(), OperationErrorKind::Disposed, "{error}");
        assert!(error.to_string().contains(ended.operation()), "{error}");
    }
    // What was disposed of with the parent has its report, and what never began has none.
    assert_eq!(second.dispose().await.unwrap().unwrap().services.len(), 1);
    assert!(unused.dispose().await.unwrap().is_none());
    assert_eq!(container.state(), State::Open);
    container.dispose().await.unwrap();
}

#[tokio::test]
async fn a_child_of_an_operation_with_pools_of_its_own_uses_those() {
    let config = FactoryConfig::sources()
        .set("services.a.postgres.url", "postgres://app@127.0.0.1:9/a")
        .load()
        .unwrap();
    let parent = OperationContext::create("quotes", "import").config(config);
    let child = parent.child("parse");
    let factory = child.service::<ConnectionFactory>().await.unwrap();
    let same = parent.service::<ConnectionFactory>().await.unwrap();
    assert!(Arc::ptr_eq(&factory, &same));
    child.dispose().await.unwrap();
    assert!(!factory.is_drained(), "they are its parent's");
    parent.dispose().await.unwrap();
    assert!(factory.is_drained());
}

#[tokio::test]
async fn a_child_cannot_begin_anything_once_its_parent_is_gone() {
    let log = Log::default();
    let container = container(&log);
    let parent = OperationContext::create("quotes", "import").container(&container);
    let child = parent.child("parse");
    drop(parent);
    let error = child.service::<Part>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), OperationErrorKind::Disposed);

    let parent = OperationContext::create("quotes", "import").container(&container);
    let child = parent.child("parse");
    child.service::<Part>().await.unwrap();
    parent.service::<Part>().await.unwrap();
    drop(parent);
    // It is ended in the background; so is its child, before it.
    container.dispose().await.unwrap();
    assert_eq!(log.take(), ["end of quotes.parse", "end of quotes.import"]);
    let error = child.service::<Part>().await.map(drop).unwrap_err();
    assert_eq!(error.kind(), OperationErrorKind::Disposed);
}

/// What a subscriber has written.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_span_of_a_child_is_inside_that_of_its_parent_and_has_its_number() {
    let written = Written::default();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .without_time()
        .with_writer({
            let written = written.clone();
            move || written.clone()
        })
        .finish();
    // That of the process: with one for this thread alone, spans that another thread begins first are
    // switched off for all.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    tracing::callsite::rebuild_interest_cache();
    let parent = OperationContext::create("quotes", "import");
    let (id, child) = (parent.id(), parent.child("parse"));
    let child_id = child.id();
    child
        .run(async |_| {
            tracing::info!("at work");
            Ok::<_, DisposeError>(())
        })
        .await
        .unwrap();
    let written = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let wanted = format!(
        "operation{{handler=quotes operation=import id={id}}}:\
         operation{{handler=quotes operation=parse id={child_id} parent_id={id}}}:"
    );
    let line = written.lines().find(|line| line.contains("at work"));
    let line = line.expect("the event was written");
    assert!(line.contains(&wanted), "{line}: want {wanted}");
}
