//! Close and reopen tickets.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use kit::time::rfc3339_micros;
use kit::{ApiError, Caller, Mode};
use serde::{Deserialize, Serialize};

use super::{App, body, path};
use crate::tickets::state::Closing;

#[derive(Debug, Default, Deserialize)]
struct CloseRequest {
    #[serde(default)]
    reason: String,
    state_id: Option<i16>,
}

#[derive(Debug, Deserialize)]
struct ReopenRequest {
    #[serde(default)]
    reason: String,
}

#[derive(Debug, Serialize)]
struct Closed {
    closed_at: String,
    id: i64,
    reason: String,
    state: String,
    state_id: i16,
    success: bool,
}

#[derive(Debug, Serialize)]
struct Reopened {
    id: i64,
    reason: String,
    reopened_at: String,
    state: String,
    state_id: i16,
    success: bool,
}

/// `POST /api/v1/tickets/{id}/close`.
pub(super) async fn close(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mode: Mode,
    body: Bytes,
) -> Result<Response, ApiError> {
    let id = path::ticket_id(&id)?;
    let request: CloseRequest = if body.is_empty() {
        CloseRequest::default()
    } else {
        body::json(&body, "Invalid close request")?
    };
    let closing = match request.state_id {
        None => Closing::default(),
        Some(state_id) => Closing::from_state_id(state_id).ok_or_else(|| {
            let message = "Invalid close request: state_id must be 2 or 3";
            ApiError::refused(StatusCode::BAD_REQUEST, message)
        })?,
    };
    let reason = request.reason;
    let changed = app.tickets.close(&caller, id, (closing, &reason), mode).await?;
    let answer = Closed {
        closed_at: rfc3339_micros(changed.at),
        id,
        reason,
        state: changed.state,
        state_id: changed.state_id,
        success: true,
    };
    Ok((mode, Json(answer)).into_response())
}

/// `POST /api/v1/tickets/{id}/reopen`.
pub(super) async fn reopen(
    State(app): State<App>,
    caller: Caller,
    Path(id): Path<String>,
    mode: Mode,
    body: Bytes,
) -> Result<Response, ApiError> {
    let id = path::ticket_id(&id)?;
    let ReopenRequest { reason } = body::json(&body, "Invalid reopen request")?;
    if reason.is_empty() {
        let message = "Invalid reopen request: reason is required";
        return Err(ApiError::refused(StatusCode::BAD_REQUEST, message));
    }
    let changed = app.tickets.reopen(&caller, id, &reason, mode).await?;
    let answer = Reopened {
        id,
        reason,
        reopened_at: rfc3339_micros(changed.at),
        state: changed.state,
        state_id: changed.state_id,
        success: true,
    };
    Ok((mode, Json(answer)).into_response())
}
