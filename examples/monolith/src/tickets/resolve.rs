//! `POST /api/v1/tickets/{id}/close` and `…/reopen`.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{FromRow, PgConnection};

use super::history::{Change, record};
use super::{LockedTicket, ticket_id};
use crate::app::App;
use crate::articles::NewArticle;
use crate::auth::{Caller, Permission};
use crate::error::ApiError;
use crate::request::json_body;
use crate::timestamp::Micros;

const CLOSED_SUCCESSFUL: i16 = 2;
const CLOSED_UNSUCCESSFUL: i16 = 3;
const OPEN: i16 = 4;
const MERGED: i16 = 9;

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
pub(crate) struct Closed {
    closed_at: Micros,
    id: i64,
    reason: String,
    state: String,
    state_id: i16,
    success: bool,
}

#[derive(Debug, FromRow)]
struct Moved {
    state_name: String,
    change_time: Micros,
}

/// `POST /api/v1/tickets/{id}/close`, with an optional body.
pub(crate) async fn close(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Closed>, ApiError> {
    let id = ticket_id(&id)?;
    let request = match body.is_empty() {
        true => CloseRequest::default(),
        false => json_body(&body, "Invalid close request")?,
    };
    let state_id = request.state_id.unwrap_or(CLOSED_SUCCESSFUL);
    if ![CLOSED_SUCCESSFUL, CLOSED_UNSUCCESSFUL].contains(&state_id) {
        return Err(ApiError::invalid("Invalid close request: state_id must be 2 or 3"));
    }
    let mut transaction = app.pool.begin().await?;
    let before = LockedTicket::lock(&mut transaction, id, &caller, Permission::Write).await?;
    if [CLOSED_SUCCESSFUL, CLOSED_UNSUCCESSFUL, MERGED].contains(&before.ticket_state_id) {
        return Err(ApiError::invalid("Ticket is already closed"));
    }
    let note = ("Ticket Closed", request.reason.as_str());
    let moved = move_to(&mut transaction, (id, &before), state_id, note, caller.id()).await?;
    transaction.commit().await?;
    Ok(Json(Closed {
        closed_at: moved.change_time,
        id,
        reason: request.reason,
        state: moved.state_name,
        state_id,
        success: true,
    }))
}

/// `POST /api/v1/tickets/{id}/reopen`; a reason is required.
pub(crate) async fn reopen(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    let id = ticket_id(&id)?;
    let request: ReopenRequest = json_body(&body, "Invalid reopen request")?;
    if request.reason.is_empty() {
        return Err(ApiError::invalid("Invalid reopen request: reason is required"));
    }
    let mut transaction = app.pool.begin().await?;
    let before = LockedTicket::lock(&mut transaction, id, &caller, Permission::Write).await?;
    if ![CLOSED_SUCCESSFUL, CLOSED_UNSUCCESSFUL].contains(&before.ticket_state_id) {
        return Err(ApiError::invalid("Ticket is not closed"));
    }
    let note = ("Ticket Reopened", request.reason.as_str());
    let moved = move_to(&mut transaction, (id, &before), OPEN, note, caller.id()).await?;
    transaction.commit().await?;
    Ok(Json(json!({
        "id": id,
        "reason": request.reason,
        "reopened_at": moved.change_time,
        "state": "open",
        "state_id": OPEN,
        "success": true,
    })))
}

/// Changes the state and says so in an internal note and the history. A ticket that changes hands like this waits
/// for nothing and is not archived.
async fn move_to(
    transaction: &mut PgConnection,
    (id, before): (i64, &LockedTicket),
    state_id: i16,
    (subject, body): (&str, &str),
    user_id: i32,
) -> Result<Moved, sqlx::Error> {
    let moved: Moved = sqlx::query_as(
        "UPDATE ticket SET ticket_state_id = $2, until_time = 0, archive_flag = 0,
                           change_time = now() AT TIME ZONE 'UTC', change_by = $3
         WHERE id = $1
         RETURNING change_time, (SELECT name FROM ticket_state WHERE id = $2) AS state_name",
    )
    .bind(id)
    .bind(state_id)
    .bind(user_id)
    .fetch_one(&mut *transaction)
    .await?;
    let note = NewArticle { subject, ..NewArticle::notice(id, body, user_id) };
    note.insert(&mut *transaction).await?;
    let change = Change::State { from: &before.state_name, to: &moved.state_name };
    record(transaction, id, &change, user_id).await?;
    Ok(moved)
}
