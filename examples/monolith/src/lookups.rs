//! Reference data over HTTP: queues, states, priorities.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use sqlx::FromRow;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiError;
use crate::request::{Success, path_id, success};
use crate::timestamp::Micros;

#[derive(Debug, Serialize, FromRow)]
pub(crate) struct QueueRow {
    change_time: Micros,
    comment: String,
    create_time: Micros,
    follow_up_id: i16,
    follow_up_lock: i16,
    group_id: i32,
    group_name: String,
    #[sqlx(skip)]
    groups: [(); 0],
    id: i32,
    name: String,
    system_address_id: i16,
    unlock_timeout: i32,
    valid: bool,
    valid_id: i16,
}

#[derive(Debug, Serialize, FromRow)]
pub(crate) struct QueueDetail {
    comments: String,
    follow_up_id: i16,
    follow_up_lock: i16,
    group_id: i32,
    #[sqlx(skip)]
    groups: [(); 0],
    id: i32,
    name: String,
    salutation_id: i16,
    signature_id: i16,
    system_address_id: i16,
    unlock_timeout: i32,
    valid_id: i16,
}

#[derive(Debug, Serialize, FromRow)]
pub(crate) struct StateRow {
    id: i16,
    name: String,
    valid_id: i16,
}

#[derive(Debug, Serialize, FromRow)]
pub(crate) struct PriorityRow {
    color: String,
    id: i16,
    name: String,
    valid_id: i16,
}

/// `GET /api/v1/queues`: all of them, for everybody who is signed in.
pub(crate) async fn queues(
    State(app): State<Arc<App>>,
    _caller: Caller,
) -> Result<Json<Success<Vec<QueueRow>>>, ApiError> {
    let rows = sqlx::query_as(
        "SELECT q.id, q.name, q.group_id, COALESCE(g.name, '') AS group_name, q.system_address_id,
                COALESCE(q.unlock_timeout, 0) AS unlock_timeout, q.follow_up_id, q.follow_up_lock,
                COALESCE(q.comments, '') AS comment, q.valid_id, q.valid_id = 1 AS valid,
                q.create_time, q.change_time
         FROM queue q LEFT JOIN groups g ON g.id = q.group_id ORDER BY q.name",
    )
    .fetch_all(&app.pool)
    .await?;
    Ok(success(rows))
}

/// `GET /api/v1/queues/{id}`.
pub(crate) async fn queue(
    State(app): State<Arc<App>>,
    _caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Success<QueueDetail>>, ApiError> {
    let id: i32 = path_id(&id, "Invalid queue ID")?;
    let found: Option<QueueDetail> = sqlx::query_as(
        "SELECT id, name, group_id, valid_id, system_address_id, salutation_id, signature_id,
                COALESCE(comments, '') AS comments, COALESCE(unlock_timeout, 0) AS unlock_timeout,
                follow_up_id, follow_up_lock
         FROM queue WHERE id = $1",
    )
    .bind(id)
    .fetch_optional(&app.pool)
    .await?;
    found.map(success).ok_or(ApiError::NotFound("Queue not found"))
}

/// `GET /api/v1/states`.
pub(crate) async fn states(
    State(app): State<Arc<App>>,
    _caller: Caller,
) -> Result<Json<Success<Vec<StateRow>>>, ApiError> {
    let rows = sqlx::query_as("SELECT id, name, valid_id FROM ticket_state ORDER BY id");
    Ok(success(rows.fetch_all(&app.pool).await?))
}

/// `GET /api/v1/priorities`.
pub(crate) async fn priorities(
    State(app): State<Arc<App>>,
    _caller: Caller,
) -> Result<Json<Success<Vec<PriorityRow>>>, ApiError> {
    let rows = sqlx::query_as("SELECT id, name, valid_id, color FROM ticket_priority ORDER BY id");
    Ok(success(rows.fetch_all(&app.pool).await?))
}
