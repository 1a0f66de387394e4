//! What an operator can do to a pool, given the token.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use pool_core::DynamicPoolConfig;
use pool_core::sizing::SizingMode;
use serde::Deserialize;

use super::answer::Refusal;
use super::routes::Shared;
use super::view::PoolView;

/// What each operation answers: the pool after it.
type Done = Result<Json<PoolView>, Refusal>;

/// Lets nobody pass who does not send the token.
pub(super) async fn only_with_token(
    State(shared): State<Shared>,
    request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let header = request.headers().get(header::AUTHORIZATION);
    let bears = |token: &super::token::Token| {
        let header = header.and_then(|header| header.to_str().ok());
        header.is_some_and(|header| token.is_in(header))
    };
    if shared.token.as_ref().is_some_and(bears) {
        Ok(next.run(request).await)
    } else {
        tracing::warn!(path = %request.uri().path(), "an operation without the token was refused");
        Err(Refusal::Unauthorized)
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Resize {
    min: u32,
    max: u32,
}

pub(super) async fn resize(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    body: Result<Json<Resize>, JsonRejection>,
) -> Done {
    let watched = shared.pool(&name)?;
    let Json(Resize { min, max }) = body?;
    let resized = watched.pool.resize(min, max);
    resized.map_err(|error| Refusal::Pool(error.to_string()))?;
    shared
        .monitor
        .operated(&name, format!("resized to {min}..={max}"));
    Ok(Json(shared.monitor.view_of(&watched)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pause {
    seconds: f64,
}

pub(super) async fn pause(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    body: Result<Json<Pause>, JsonRejection>,
) -> Done {
    /// A pause that its operator forgets ends by itself.
    const LONGEST: f64 = 3_600.0;

    let watched = shared.pool(&name)?;
    let Json(Pause { seconds }) = body?;
    if !(seconds > 0.0 && seconds <= LONGEST) {
        let text = format!("seconds is {seconds}: want more than 0 and at most {LONGEST}");
        return Err(Refusal::Pool(text));
    }
    watched.pool.pause(Duration::from_secs_f64(seconds));
    shared
        .monitor
        .operated(&name, format!("paused for {seconds} s"));
    Ok(Json(shared.monitor.view_of(&watched)))
}

pub(super) async fn resume(State(shared): State<Shared>, Path(name): Path<String>) -> Done {
    let watched = shared.pool(&name)?;
    watched.pool.resume();
    shared.monitor.operated(&name, "resumed".to_owned());
    Ok(Json(shared.monitor.view_of(&watched)))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Evict {
    which: Which,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Which {
    All,
    Idle,
}

pub(super) async fn evict(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    body: Result<Json<Evict>, JsonRejection>,
) -> Done {
    let watched = shared.pool(&name)?;
    let Json(Evict { which }) = body?;
    let done = match which {
        Which::All => {
            watched.pool.soft_evict();
            "evicted every connection".to_owned()
        }
        Which::Idle => format!("evicted {} idle connections", watched.pool.evict_idle()),
    };
    shared.monitor.operated(&name, done);
    Ok(Json(shared.monitor.view_of(&watched)))
}

/// What is to be done with dynamic sizing; one of the two or both.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    /// What becomes of decisions.
    mode: Option<SizingMode>,
    /// The eight fields.
    sizing: Option<DynamicPoolConfig>,
}

pub(super) async fn policy(
    State(shared): State<Shared>,
    Path(name): Path<String>,
    body: Result<Json<Policy>, JsonRejection>,
) -> Done {
    let watched = shared.pool(&name)?;
    let Json(Policy { mode, sizing }) = body?;
    if mode.is_none() && sizing.is_none() {
        return Err(Refusal::Pool("want `mode`, `sizing` or both".to_owned()));
    }
    let adopt = |config: DynamicPoolConfig| -> Result<(), Refusal> {
        let set = watched.pool.set_dynamic_pool_config(config);
        set.map_err(|error| Refusal::Pool(error.to_string()))?;
        let state = if config.enabled { "on" } else { "off" };
        let (min, max) = (config.min_size, config.max_size);
        let done = format!("dynamic sizing {state}, {min}..={max}");
        shared.monitor.operated(&name, done);
        Ok(())
    };
    let enter = |mode| {
        watched.pool.set_sizing_mode(mode);
        let done = match mode {
            SizingMode::Apply => "decisions are applied",
            SizingMode::Advise => "decisions are only advice",
            SizingMode::Freeze => "the target is frozen",
        };
        shared.monitor.operated(&name, done.to_owned());
    };
    match (mode, sizing) {
        // What is to be advice only is not put in force on the way there.
        (Some(mode @ (SizingMode::Advise | SizingMode::Freeze)), Some(config)) => {
            let valid = config.validate();
            valid.map_err(|error| Refusal::Pool(error.to_string()))?;
            enter(mode);
            adopt(config)?;
        }
        (mode, sizing) => {
            sizing.map_or(Ok(()), adopt)?;
            mode.into_iter().for_each(enter);
        }
    }
    Ok(Json(shared.monitor.view_of(&watched)))
}
