//! However the work of an operation ends, its scope and those of its parts are disposed of.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use operation_context::{OperationContext, OperationErrorKind};
use service_container::{Container, infallible};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::support::{Log, Part, container};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ending {
    Cancelled,
    Error,
    Panic,
    Success,
}

async fn end(ending: Ending, working: &Notify) -> Result<u32, AnyError> {
    working.notify_one();
    match ending {
        Ending::Cancelled => std::future::pending().await,
        Ending::Error => Err("the work failed".into()),
        Ending::Panic => panic!("the work panicked"),
        Ending::Success => Ok(42),
    }
}

#[tokio::test]
async fn run_disposes_of_the_operation_and_its_parts() {
    for ending in [
        Ending::Cancelled,
        Ending::Error,
        Ending::Panic,
        Ending::Success,
    ] {
        let log = Log::default();
        let container = container(&log);
        let context = OperationContext::create("quotes", "import").container(&container);
        let working = Arc::new(Notify::new());
        let running = tokio::spawn({
            let (log, working) = (log.clone(), Arc::clone(&working));
            context.run(async move |context| {
                context.service::<Part>().await?;
                let part = context.child("part");
                let kept = context.child("kept");
                kept.service::<Part>().await?;
                let outcome = part
                    .run(async |part| {
                        part.service::<Part>().await?;
                        end(ending, &working).await
                    })
                    .await;
                log.add(format!(
                    "{:?}",
                    outcome.as_ref().map_err(ToString::to_string)
                ));
                drop(kept.service::<Part>().await?);
                outcome
            })
        });
        working.notified().await;
        if ending == Ending::Cancelled {
            running.abort();
        }
        let outcome = running.await;
        // What is disposed of in the background is disposed of before the container is.
        container.dispose().await.unwrap();
        let mut seen = log.take();
        let (said, wanted) = match ending {
            Ending::Success => (Some("Ok(42)"), "Ok(Ok(42))"),
            Ending::Error => (
                Some("Err(\"the work failed\")"),
                "Ok(Err(\"the work failed\"))",
            ),
            Ending::Panic => (None, "panicked"),
            Ending::Cancelled => (None, "cancelled"),
        };
        let outcome = match outcome {
            Ok(outcome) => format!("Ok({:?})", outcome.map_err(|error| error.to_string())),
            Err(error) if error.is_panic() => "panicked".to_owned(),
            Err(_) => "cancelled".to_owned(),
        };
        assert_eq!(outcome, wanted, "{ending:?}");
        if let Some(said) = said {
            // The part ended before its outcome was known.
            assert_eq!(seen[..2], ["end of quotes.part", said], "{ending:?}");
            seen.remove(1);
        }
        assert_eq!(
            seen.pop().as_deref(),
            Some("end of quotes.import"),
            "{ending:?}"
        );
        seen.sort();
        assert_eq!(
            seen,
            ["end of quotes.kept", "end of quotes.part"],
            "{ending:?}"
        );
        assert_eq!(container.leaked_scopes(), 0, "{ending:?}");
    }
}

/// Takes its time to be made.
struct Slow;

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_does_not_spoil_it_for_the_next() {
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    let mut builder = Container::builder();
    builder.singleton(infallible(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        async {
            sleep(Duration::from_secs(5)).await;
            Slow
        }
    }));
    let container = builder.build().unwrap();
    let first = OperationContext::create("quotes", "impatient").container(&container);
    let second = OperationContext::create("quotes", "patient").container(&container);
    let gave_up = timeout(
        Duration::from_secs(1),
        first.run(async |context| {
            context.service::<Slow>().await?;
            Ok::<_, AnyError>(())
        }),
    );
    let (gave_up, waited) = tokio::join!(gave_up, second.service::<Slow>());
    assert!(gave_up.is_err() && waited.is_ok());
    assert_eq!(made.load(Ordering::Relaxed), 1);

    // Disposing of an operation while it waits for a service tells the waiter.
    let container = container.fork().build().unwrap();
    let waiting = OperationContext::create("quotes", "waiting").container(&container);
    let (asked, disposed) = tokio::join!(waiting.service::<Slow>(), async {
        sleep(Duration::from_secs(1)).await;
        waiting.dispose().await
    });
    disposed.unwrap();
    match asked {
        // It is a singleton: whoever waits for it gets it.
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), OperationErrorKind::Disposed),
    }
    assert_eq!(made.load(Ordering::Relaxed), 2);
}
