//! One operation, with a scope of its own, for each request.

use std::sync::Arc;

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use operation_context::OperationContext;
use service_container::Container;
use tracing::Instrument as _;

/// The operation that a request is, as an argument of its handler.
#[derive(Clone)]
pub(crate) struct Operation(pub(crate) Arc<OperationContext>);

/// Begins an operation, runs the rest of the request in its span, and ends it. A client that goes
/// away drops this future, and the operation with it, which ends in the background.
pub(crate) async fn one_for_each_request(
    State(container): State<Container>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or("unknown", MatchedPath::as_str).to_owned();
    let name = format!("{} {path}", request.method());
    let context = OperationContext::create("http", name).container(&container);
    let operation = Operation(Arc::new(context));
    request.extensions_mut().insert(operation.clone());
    let span = operation.0.span().clone();
    let response = next.run(request).instrument(span).await;
    if let Err(unclean) = operation.0.dispose().await {
        tracing::warn!(%unclean, "not everything of a request was disposed of");
    }
    response
}

impl<S: Sync> FromRequestParts<S> for Operation {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let operation = parts.extensions.get::<Self>();
        operation.cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}
