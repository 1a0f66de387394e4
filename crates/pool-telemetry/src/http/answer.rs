//! What goes wrong with a request, as JSON.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// A request that cannot be carried out; nothing was changed.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The body is not what the path takes.
    Body(JsonRejection),
    /// The pool says no.
    Pool(String),
    /// Too many streams are open.
    TooMany,
    /// The token is missing or another one.
    Unauthorized,
    /// No pool has this name.
    UnknownPool(String),
}

impl From<JsonRejection> for Refusal {
    fn from(rejection: JsonRejection) -> Self {
        Self::Body(rejection)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, text) = match self {
            Self::Body(rejection) => (rejection.status(), rejection.body_text()),
            Self::Pool(error) => (StatusCode::UNPROCESSABLE_ENTITY, error),
            Self::TooMany => (
                StatusCode::SERVICE_UNAVAILABLE,
                "as many streams are open as this listener keeps".to_owned(),
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "this changes a pool: send the listener's token as `Authorization: Bearer`, if it \
                 was started with one"
                    .to_owned(),
            ),
            Self::UnknownPool(name) => (
                StatusCode::NOT_FOUND,
                format!("no pool has the name `{name}`"),
            ),
        };
        let body = Json(serde_json::json!({ "error": text }));
        let mut response = (status, body).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
