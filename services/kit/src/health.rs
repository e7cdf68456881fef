//! `/health` (the process runs), `/ready` (it can answer), `/metrics`.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Serialize;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::error::Chain;
use crate::metrics::Metrics;

/// A database that needs longer for `select 1` is not one to send requests to.
const READY_TIMEOUT: Duration = Duration::from_secs(2);

/// What the operational endpoints look at.
#[derive(Debug, Clone)]
pub struct Operations {
    /// The pool whose database must answer for the service to be ready.
    pub pool: PgPool,
    /// The figures to show.
    pub metrics: Metrics,
    /// Once cancelled the service is no longer ready, though it finishes what it has.
    pub shutdown: CancellationToken,
}

#[derive(Serialize)]
struct Status {
    status: &'static str,
}

/// The three endpoints.
pub(crate) fn router(operations: Operations) -> Router {
    Router::new()
        .route("/health", get(async || Json(Status { status: "healthy" })))
        .route("/ready", get(ready))
        .route("/metrics", get(metrics))
        .with_state(operations)
}

async fn ready(State(operations): State<Operations>) -> Response {
    if operations.shutdown.is_cancelled() {
        return unready("shutting down");
    }
    let asked = sqlx::query("select 1").execute(&operations.pool);
    match tokio::time::timeout(READY_TIMEOUT, asked).await {
        Ok(Ok(_)) => Json(Status { status: "ready" }).into_response(),
        Ok(Err(error)) => {
            tracing::warn!(error = %Chain(&error), "database did not answer the readiness check");
            unready("database does not answer")
        }
        Err(_) => unready("database does not answer in time"),
    }
}

fn unready(status: &'static str) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, Json(Status { status })).into_response()
}

async fn metrics(State(operations): State<Operations>) -> Response {
    match operations.metrics.render() {
        Ok(text) => ([("content-type", prometheus::TEXT_FORMAT)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics could not be rendered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
