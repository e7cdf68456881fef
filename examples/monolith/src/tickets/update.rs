//! `PUT /api/v1/tickets/{id}`: any of a ticket's columns, without asking whether the change makes sense.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, json};
use sqlx::{FromRow, PgConnection};

use super::history::{Change, record};
use super::{LockedTicket, TITLE_BYTES_MAX, mark_seen, ticket_id};
use crate::app::App;
use crate::auth::{Caller, Permission};
use crate::error::ApiError;
use crate::request::{json_body, success};
use crate::timestamp::Micros;

#[derive(Debug, Deserialize)]
struct Fields {
    title: Option<String>,
    queue_id: Option<i32>,
    type_id: Option<i16>,
    state_id: Option<i16>,
    priority_id: Option<i16>,
    customer_user_id: Option<String>,
    customer_id: Option<String>,
    user_id: Option<i32>,
    /// Given as null, it is passed on as null, which the database refuses.
    #[serde(default, deserialize_with = "given")]
    responsible_user_id: Option<Option<i32>>,
    ticket_lock_id: Option<i16>,
}

#[derive(Debug, Serialize, FromRow)]
struct Updated {
    change_by: i32,
    change_time: Micros,
    create_by: i32,
    create_time: Micros,
    customer_id: String,
    customer_user_id: String,
    id: i64,
    priority_id: i16,
    queue_id: i32,
    responsible_user_id: i32,
    state_id: i16,
    ticket_lock_id: i16,
    title: Option<String>,
    tn: String,
    type_id: Option<i16>,
    user_id: i32,
}

/// What the ids of the request stand for.
#[derive(Debug, FromRow)]
struct Referenced {
    queue_exists: bool,
    priority_exists: bool,
    type_exists: bool,
    state_name: Option<String>,
    owner_name: Option<String>,
}

/// `PUT /api/v1/tickets/{id}`.
pub(crate) async fn update(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, ApiError> {
    let id = ticket_id(&id)?;
    let given: Map<String, Value> = json_body(&body, "Invalid request body")?;
    let is_empty = given.is_empty();
    let fields: Fields = serde_json::from_value(Value::Object(given))
        .map_err(|error| ApiError::invalid(format!("Invalid request body: {error}")))?;

    let mut transaction = app.pool.begin().await?;
    let before = LockedTicket::lock(&mut transaction, id, &caller, Permission::Write).await?;
    if is_empty {
        return Err(ApiError::invalid("No fields to update"));
    }
    let referenced = check(&mut transaction, &fields).await?;
    let after =
        write(&mut transaction, id, &fields, caller.id()).await.map_err(ApiError::UpdateFailed)?;
    for change in changes(&before, &after, &referenced) {
        record(&mut transaction, id, &change, caller.id()).await?;
    }
    mark_seen(&mut transaction, id, caller.id()).await?;
    transaction.commit().await?;

    if after.type_id.is_none() {
        // Reading such a ticket back has always failed here, after the update was made.
        return Ok(Json(json!({
            "data": { "id": id },
            "message": "Ticket updated successfully",
            "success": true,
        }))
        .into_response());
    }
    Ok(success(after).into_response())
}

/// Refuses values that would leave the ticket unusable; users are not looked at.
async fn check(transaction: &mut PgConnection, fields: &Fields) -> Result<Referenced, ApiError> {
    match fields.title.as_deref() {
        Some("") => return Err(ApiError::invalid("Title cannot be empty")),
        Some(title) if title.len() > TITLE_BYTES_MAX => {
            return Err(ApiError::invalid("Title too long (max 255 characters)"));
        }
        _ => {}
    }
    let referenced: Referenced = sqlx::query_as(
        "SELECT $1 IS NULL OR EXISTS (SELECT 1 FROM queue WHERE id = $1) AS queue_exists,
                $2 IS NULL OR EXISTS (SELECT 1 FROM ticket_priority WHERE id = $2) AS priority_exists,
                $3 IS NULL OR EXISTS (SELECT 1 FROM ticket_type WHERE id = $3) AS type_exists,
                (SELECT name FROM ticket_state WHERE id = $4) AS state_name,
                (SELECT first_name || ' ' || last_name FROM users WHERE id = $5) AS owner_name",
    )
    .bind(fields.queue_id)
    .bind(fields.priority_id)
    .bind(fields.type_id)
    .bind(fields.state_id)
    .bind(fields.user_id)
    .fetch_one(transaction)
    .await?;
    for (is_known, message) in [
        (referenced.queue_exists, "Invalid queue_id"),
        (fields.state_id.is_none() || referenced.state_name.is_some(), "Invalid state_id"),
        (referenced.priority_exists, "Invalid priority_id"),
        (referenced.type_exists, "Invalid type_id"),
    ] {
        if !is_known {
            return Err(ApiError::invalid(message));
        }
    }
    Ok(referenced)
}

async fn write(
    transaction: &mut PgConnection,
    id: i64,
    fields: &Fields,
    user_id: i32,
) -> Result<Updated, sqlx::Error> {
    sqlx::query_as(
        "UPDATE ticket SET
             title = COALESCE($2, title), queue_id = COALESCE($3, queue_id),
             type_id = COALESCE($4, type_id), ticket_state_id = COALESCE($5, ticket_state_id),
             ticket_priority_id = COALESCE($6, ticket_priority_id),
             customer_user_id = COALESCE($7, customer_user_id), customer_id = COALESCE($8, customer_id),
             user_id = COALESCE($9, user_id),
             responsible_user_id = CASE WHEN $10 THEN $11 ELSE responsible_user_id END,
             ticket_lock_id = COALESCE($12, ticket_lock_id),
             change_time = now() AT TIME ZONE 'UTC', change_by = $13
         WHERE id = $1
         RETURNING id, tn, title, queue_id, type_id, ticket_state_id AS state_id,
                   ticket_priority_id AS priority_id, COALESCE(customer_user_id, '') AS customer_user_id,
                   COALESCE(customer_id, '') AS customer_id, user_id, responsible_user_id, ticket_lock_id,
                   create_time, create_by, change_time, change_by",
    )
    .bind(id)
    .bind(&fields.title)
    .bind(fields.queue_id)
    .bind(fields.type_id)
    .bind(fields.state_id)
    .bind(fields.priority_id)
    .bind(&fields.customer_user_id)
    .bind(&fields.customer_id)
    .bind(fields.user_id)
    .bind(fields.responsible_user_id.is_some())
    .bind(fields.responsible_user_id.flatten())
    .bind(fields.ticket_lock_id)
    .bind(user_id)
    .fetch_one(transaction)
    .await
}

fn changes<'a>(
    before: &'a LockedTicket,
    after: &Updated,
    referenced: &'a Referenced,
) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    if after.state_id != before.ticket_state_id {
        let to = referenced.state_name.as_deref().unwrap_or_default();
        changes.push(Change::State { from: &before.state_name, to });
    }
    if after.user_id != before.user_id {
        changes.push(Change::Owner { to: referenced.owner_name.as_deref().unwrap_or("nobody") });
    }
    if changes.is_empty() {
        changes.push(Change::Other);
    }
    changes
}

/// Tells a null from a missing field.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<i32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}
