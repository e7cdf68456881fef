//! Whether this process is there, and what it has been doing.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::app::App;

/// `GET /health`: 200 as long as the process answers; it says nothing about the database.
pub(crate) async fn brief() -> Json<Value> {
    Json(json!({ "status": "healthy" }))
}

/// `GET /health/detailed`: with the database's answer and the counters of the auto-close job.
pub(crate) async fn detailed(State(app): State<Arc<App>>) -> Json<Value> {
    let database = sqlx::query("SELECT 1").execute(&app.pool).await;
    Json(json!({
        "auto_close_closed": app.auto_close.closed(),
        "auto_close_refused": app.auto_close.refused(),
        "database": if database.is_ok() { "reachable" } else { "unreachable" },
        "status": "healthy",
    }))
}
