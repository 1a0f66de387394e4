//! The stream of what happens, as server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt as _, stream};
use tokio::sync::broadcast::error::RecvError;

use super::answer::Refusal;
use super::monitor::Message;
use super::routes::Shared;

/// How long a browser waits before it connects again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) async fn stream(
    State(shared): State<Shared>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refusal> {
    let permit = shared.monitor.streams.clone().try_acquire_owned();
    let permit = permit.map_err(|_full| Refusal::TooMany)?;
    let (history, messages) = shared.monitor.follow();
    let first = stream::iter([Ok(event(&history).retry(RETRY))]);
    // The permit goes back when the stream is dropped.
    let rest = stream::unfold((messages, permit), |(mut messages, permit)| async move {
        loop {
            match messages.recv().await {
                Ok(message) => return Some((Ok(event(&message)), (messages, permit))),
                // A reader that was too slow goes on with what comes next.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let stopped = shared.stop.cancelled_owned();
    let events = first.chain(rest).take_until(stopped);
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

fn event(message: &Message) -> Event {
    Event::default().event(message.name).data(&*message.json)
}
