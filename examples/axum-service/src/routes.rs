//! The service's addresses.
//!
//! | | |
//! |---|---|
//! | `GET /prices/{symbol}` | a price |
//! | `POST /prices` | sets one: `{"symbol": "AAPL", "price": 223.02}` |
//! | `GET /prices/{symbol}/changes` | how often it was set |
//! | `GET /report?millis=500` | something that takes its time at the database |
//! | `GET /health` | whether the servers answer: 200 or 503 |
//! | `GET /pools` | the numbers of the pools, and how budgets are divided |

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};
use connection_factory::ConnectionFactory;
use serde::Deserialize;
use serde_json::{Value, json};
use service_container::Container;

use crate::error::Failure;
use crate::operation::{Operation, one_for_each_request};
use crate::prices::{Price, Prices};

pub(crate) fn app(container: &Container) -> Router {
    Router::new()
        .route("/prices", post(set))
        .route("/prices/{symbol}", get(price))
        .route("/prices/{symbol}/changes", get(changes))
        .route("/report", get(report))
        .route_layer(middleware::from_fn_with_state(
            container.clone(),
            one_for_each_request,
        ))
        // Those who look after the service need no operation.
        .route("/health", get(health))
        .route("/pools", get(pools))
        .with_state(container.clone())
}

async fn price(operation: Operation, Path(symbol): Path<String>) -> Result<Response, Failure> {
    let prices = operation.0.service::<Prices>().await?;
    Ok(match prices.of(&symbol).await? {
        Some(price) => Json(price).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

async fn set(operation: Operation, Json(price): Json<Price>) -> Result<StatusCode, Failure> {
    let prices = operation.0.service::<Prices>().await?;
    prices.set(&price).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn changes(operation: Operation, Path(symbol): Path<String>) -> Result<Json<u64>, Failure> {
    let prices = operation.0.service::<Prices>().await?;
    Ok(Json(prices.changes(&symbol).await?))
}

#[derive(Deserialize)]
struct Effort {
    millis: u32,
}

async fn report(operation: Operation, Query(effort): Query<Effort>) -> Result<Json<i64>, Failure> {
    // Taken here, so that this line is named if it does not come back.
    let mut connection = operation.0.postgres().await?.acquire().await?;
    let rows = sqlx::query_scalar("select count(*) from prices, pg_sleep($1)")
        .bind(f64::from(effort.millis) / 1_000.0)
        .fetch_one(&mut *connection)
        .await?;
    Ok(Json(rows))
}

async fn health(State(container): State<Container>) -> (StatusCode, String) {
    let report = container.health(Duration::from_secs(2)).await;
    let status = if report.is_healthy() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, report.to_string())
}

async fn pools(State(container): State<Container>) -> Result<Json<Value>, Failure> {
    let factory = container.get::<ConnectionFactory>().await?;
    let (pools, budgets) = (factory.pool_metrics(), factory.budgets());
    Ok(Json(json!({ "pools": pools, "budgets": budgets })))
}
