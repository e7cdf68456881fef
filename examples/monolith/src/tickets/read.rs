//! `GET /api/v1/tickets/{id}`.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use sqlx::FromRow;

use super::ticket_id;
use crate::app::App;
use crate::auth::{Caller, Permission};
use crate::error::ApiError;
use crate::request::{Success, success};
use crate::timestamp::Seconds;

/// One ticket with the names of what it refers to.
#[derive(Debug, Serialize, FromRow)]
pub(crate) struct Detail {
    article_count: i64,
    change_time: Seconds,
    pub(crate) create_time: Seconds,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) customer_user_id: Option<String>,
    #[serde(skip)]
    group_id: i32,
    pub(crate) id: i64,
    owner_user_id: i32,
    pub(crate) priority: String,
    priority_id: i16,
    pub(crate) queue: String,
    queue_id: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    responsible_user_id: Option<i32>,
    pub(crate) state: String,
    state_id: i16,
    pub(crate) ticket_number: String,
    pub(crate) title: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    type_id: Option<i16>,
}

/// `GET /api/v1/tickets/{id}`.
pub(crate) async fn get(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Success<Detail>>, ApiError> {
    Ok(success(fetch(&app, &caller, ticket_id(&id)?).await?))
}

/// The ticket, if the caller may read it.
pub(crate) async fn fetch(app: &App, caller: &Caller, id: i64) -> Result<Detail, ApiError> {
    let found: Option<Detail> = sqlx::query_as(
        "SELECT t.id, t.tn AS ticket_number, COALESCE(t.title, '') AS title,
                t.ticket_state_id AS state_id, COALESCE(s.name, '') AS state,
                t.ticket_priority_id AS priority_id, COALESCE(p.name, '') AS priority,
                t.queue_id, COALESCE(q.name, '') AS queue, t.user_id AS owner_user_id,
                t.create_time, t.change_time, t.type_id, t.customer_id, t.customer_user_id,
                t.responsible_user_id,
                CASE WHEN q.valid_id = 1 THEN q.group_id ELSE 0 END AS group_id,
                (SELECT count(*) FROM article a WHERE a.ticket_id = t.id) AS article_count
         FROM ticket t
         LEFT JOIN queue q ON q.id = t.queue_id
         LEFT JOIN ticket_state s ON s.id = t.ticket_state_id
         LEFT JOIN ticket_priority p ON p.id = t.ticket_priority_id
         WHERE t.id = $1",
    )
    .bind(id)
    .fetch_optional(&app.pool)
    .await?;
    let ticket = found.ok_or_else(ApiError::no_ticket)?;
    caller.require(Permission::Read, ticket.group_id)?;
    Ok(ticket)
}
