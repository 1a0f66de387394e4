//! Which path gives what, and the paths that only read.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use tokio_util::sync::CancellationToken;

use super::answer::Refusal;
use super::explain::{Explanation, explain};
use super::monitor::Monitor;
use super::token::Token;
use super::view::{PoolView, PoolsView};
use super::{assets, operations, stream};
use crate::TextFormat;
use crate::registry::Watched;

/// What every route can ask for.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) monitor: Arc<Monitor>,
    pub(super) token: Option<Token>,
    pub(super) stop: CancellationToken,
}

impl Shared {
    pub(super) fn pool(&self, name: &str) -> Result<Arc<Watched>, Refusal> {
        let mut watched = self.monitor.registry().watched().into_iter();
        watched
            .find(|watched| watched.name == name)
            .ok_or_else(|| Refusal::UnknownPool(name.to_owned()))
    }
}

pub(super) fn router(
    monitor: Arc<Monitor>,
    token: Option<Token>,
    stop: CancellationToken,
) -> Router {
    let shared = Shared {
        monitor,
        token,
        stop,
    };
    let changes = Router::new()
        .route("/api/pools/{name}/resize", post(operations::resize))
        .route("/api/pools/{name}/pause", post(operations::pause))
        .route("/api/pools/{name}/resume", post(operations::resume))
        .route("/api/pools/{name}/evict", post(operations::evict))
        .route("/api/pools/{name}/policy", post(operations::policy))
        // Before the body is read and before the pool is looked up.
        .route_layer(middleware::from_fn_with_state(
            shared.clone(),
            operations::only_with_token,
        ));
    Router::new()
        .merge(assets::routes())
        .merge(changes)
        .route("/metrics", get(metrics))
        .route("/api/pools", get(pools))
        .route("/api/pools/{name}", get(pool))
        .route("/api/pools/{name}/explain", get(explained))
        .route("/api/stream", get(stream::stream))
        .layer(middleware::map_response(harden))
        .with_state(shared)
}

/// The page loads nothing from elsewhere, is shown in no other page, and nothing is kept.
async fn harden(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
             img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn metrics(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT);
    let accept = accept.and_then(|accept| accept.to_str().ok());
    let format = accept.map_or(TextFormat::Classic, TextFormat::accepted);
    let (content_type, text) = format.render(&shared.monitor.registry().read());
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

async fn pools(State(shared): State<Shared>) -> Json<PoolsView> {
    Json(shared.monitor.view())
}

async fn pool(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<PoolView>, Refusal> {
    let pool = shared.pool(&name)?;
    Ok(Json(shared.monitor.view_of(&pool)))
}

async fn explained(
    State(shared): State<Shared>,
    Path(name): Path<String>,
) -> Result<Json<Explanation>, Refusal> {
    let pool = shared.pool(&name)?;
    let view = shared.monitor.view_of(&pool);
    Ok(Json(explain(&pool.pool.explain(), view)))
}
